"""The registry of terminals: rows of `devices`. Checking addresses and zones is `zk_pipeline.devices.addresses`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.devices.models import Device, TerminalInfo
from zk_pipeline.store.applied import Applied
from zk_pipeline.store.corrections import correct
from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.errors import DeviceExists, UnknownDevice
from zk_pipeline.store.ingest import AHEAD, CLOCK_WAS_RESET_BEFORE
from zk_pipeline.store.regroup import regrouping

EDITABLE = (
    "ip_address",
    "port",
    "protocol",
    "timezone",
    "site",
    "enabled",
    "comm_key_env",
    "encoding",
    "live",
    "trust_punch_states",
)
COLUMNS = (
    "id",
    "name",
    *EDITABLE,
    "serial_number",
    "last_transport",
    "log_layout",
    "last_sync",
    "created_at",
    "updated_at",
)

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM devices WHERE removed_at IS NULL"  # noqa: S608 (names of ours)


@dataclass(frozen=True)
class DeviceRegistry:
    """Registered terminals. A removed one keeps its row, since its punches stay; adding it again revives it."""

    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[Device]:
        """Registered devices by name."""
        with self.database.read("list devices") as connection:
            rows = connection.execute(f"{_SELECT} ORDER BY name").fetchall()
        return [_device(row) for row in rows]

    def get(self, name: str) -> Device:
        """Raises UnknownDevice, with the nearest names."""
        return self.select([name])[0]

    def by_id(self, device_id: int) -> Device:
        """Raises UnknownDevice."""
        with self.database.read("look up a device") as connection:
            row = connection.execute(f"{_SELECT} AND id = ?", [device_id]).fetchone()
        if row is None:
            raise UnknownDevice(f"there is no device with the id {device_id}")
        return _device(row)

    def select(self, names: Iterable[str]) -> list[Device]:
        """The named devices, in the order asked. Raises UnknownDevice."""
        known = {device.name: device for device in self.all()}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in known:
                raise UnknownDevice(_unknown(name, known))
        return [known[name] for name in wanted]

    def add(self, device: Device) -> Device:
        """Register a device. Raises DeviceExists."""
        with self.database.write("add a device", device.name) as connection:
            if _find(connection, device.name):
                raise DeviceExists(f"device {device.name!r} is registered already: change it with `device update`")
            _insert(connection, device, self.clock())
        return self.get(device.name)

    def update(self, name: str, **changes: Any) -> Device:
        """Change EDITABLE fields. Another site, zone or trust makes exactly the work dates stale whose rows it touches.

        Raises UnknownDevice.
        """
        with self.database.write("update a device", name) as connection:
            _update(connection, replace(_registered(connection, name), **changes), self.clock())
        return self.get(name)

    def forget_serial(self, name: str) -> None:
        """Let the next poll take whatever terminal answers for this device. Raises UnknownDevice."""
        self.get(name)
        with self.database.write("forget a serial number", name) as connection:
            connection.execute("UPDATE devices SET serial_number = NULL, log_layout = NULL WHERE name = ?", [name])
            connection.execute("DELETE FROM device_tails WHERE device = ?", [name])

    def remove(self, name: str) -> None:
        """Take a device out of the registry; its punches, polls and days stay. Raises UnknownDevice."""
        with self.database.write("remove a device", name) as connection:
            _registered(connection, name)
            connection.execute(
                "UPDATE devices SET removed_at = $now, updated_at = $now WHERE name = $name AND removed_at IS NULL",
                {"now": self.clock(), "name": name},
            )

    def apply(self, devices: Iterable[Device]) -> Applied[str]:
        """Make the named devices as declared, in one transaction; others are left alone. Doing it twice changes
        nothing.
        """
        applied = Applied[str]()
        with self.database.write("apply devices") as connection:
            for device in devices:
                known = _find(connection, device.name)
                if known is None:
                    _insert(connection, device, self.clock())
                    applied.added.append(device.name)
                elif any(getattr(known, field) != getattr(device, field) for field in EDITABLE):
                    _update(connection, device, self.clock())
                    applied.changed.append(device.name)
                else:
                    applied.unchanged.append(device.name)
        return applied


def record_successes(connection: Connection, told: Mapping[str, tuple[TerminalInfo, str | None, datetime]]) -> None:
    """What successful polls tell about devices, the layout of their logs where they hold any, and when each poll was
    finished; by name.
    """
    rows = [
        {
            "device": name,
            "finished_at": finished_at,
            "log_layout": log_layout,
            **{field: getattr(info, field) for field in _TOLD.names[3:]},
        }
        for name, (info, log_layout, finished_at) in told.items()
    ]
    connection.register("told", pa.Table.from_pylist(rows, _TOLD))
    connection.execute(
        """
        UPDATE devices
        SET last_sync = told.finished_at, serial_number = told.serial_number, firmware_version = told.firmware_version,
            platform = told.platform, record_capacity = told.record_capacity, last_transport = told.transport,
            log_layout = coalesce(told.log_layout, devices.log_layout)
        FROM told WHERE told.device = devices.name
        """
    )
    connection.unregister("told")


_TOLD = pa.schema(
    {
        "device": pa.string(),
        "finished_at": pa.timestamp("us", "UTC"),
        "log_layout": pa.string(),
        "serial_number": pa.string(),
        "firmware_version": pa.string(),
        "platform": pa.string(),
        "record_capacity": pa.int64(),
        "transport": pa.string(),
    }
)


def _device(row: tuple[Any, ...]) -> Device:
    return Device(**dict(zip(COLUMNS, row, strict=True)))


def _find(connection: Connection, name: str) -> Device | None:
    row = connection.execute(f"{_SELECT} AND name = ?", [name]).fetchone()
    return _device(row) if row else None


def _registered(connection: Connection, name: str) -> Device:
    device = _find(connection, name)
    if device is None:
        names = connection.execute("SELECT name FROM devices WHERE removed_at IS NULL ORDER BY name").fetchall()
        raise UnknownDevice(_unknown(name, [row[0] for row in names]))
    return device


def _insert(connection: Connection, device: Device, now: datetime) -> None:
    values = {field: asdict(device)[field] for field in EDITABLE} | {"name": device.name, "now": now}
    revived = connection.execute("SELECT id FROM devices WHERE name = ?", [device.name]).fetchone()
    if revived:
        _update(connection, device, now)
        connection.execute("UPDATE devices SET removed_at = NULL WHERE name = ?", [device.name])
        return
    connection.execute(
        """
        INSERT INTO devices (id, name, ip_address, port, protocol, timezone, site, enabled, comm_key_env, encoding,
                             live, trust_punch_states, created_at, updated_at)
        SELECT coalesce(max(id), 0) + 1, $name, $ip_address, $port, $protocol, $timezone, $site, $enabled,
               $comm_key_env, $encoding, $live, $trust_punch_states, $now, $now
        FROM devices
        """,
        values,
    )


def _update(connection: Connection, device: Device, now: datetime) -> None:
    before = connection.execute(
        "SELECT site, timezone, trust_punch_states FROM devices WHERE name = ?", [device.name]
    ).fetchone()
    touches = before is not None and before != (device.site, device.timezone, device.trust_punch_states)
    with regrouping(connection, (before[0], device.site) if before and touches else None):
        _change(connection, device, now)
        if before and before[1] != device.timezone:
            _rezone(connection, device.name, device.timezone)


def _change(connection: Connection, device: Device, now: datetime) -> None:
    values = {field: asdict(device)[field] for field in EDITABLE} | {"name": device.name, "now": now}
    connection.execute(
        """
        UPDATE devices
        SET ip_address = $ip_address, port = $port, protocol = $protocol, timezone = $timezone, site = $site,
            enabled = $enabled, comm_key_env = $comm_key_env, encoding = $encoding, live = $live,
            trust_punch_states = $trust_punch_states, updated_at = $now
        WHERE name = $name
        """,
        values,
    )


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `zk-pipeline device list` shows them"
    return f"unknown device {name!r}{hint}"


def _rezone(connection: Connection, device: str, zone: str) -> None:
    """The wall-clock readings stay; the instants they stand for are made again. Rare, so done under the lock."""
    readings = connection.execute("SELECT DISTINCT punched_at_local FROM raw_punches WHERE device = ?", [device]).df()
    readings["punched_at"] = to_instants(readings["punched_at_local"], zone)
    connection.register("rezoned", readings)
    connection.execute(
        """
        UPDATE raw_punches
        SET punched_at = rezoned.punched_at,
            is_clock_suspect = raw_punches.punched_at_local < $earliest
                OR rezoned.punched_at > raw_punches.created_at + $ahead
        FROM rezoned
        WHERE raw_punches.device = $device AND raw_punches.punched_at_local = rezoned.punched_at_local
        """,
        {"device": device, "earliest": CLOCK_WAS_RESET_BEFORE, "ahead": AHEAD},
    )
    connection.unregister("rezoned")
    correct(connection, device)
