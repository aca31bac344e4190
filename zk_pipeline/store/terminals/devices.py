"""Device registry: rows of `devices`. `zk_pipeline.devices.addresses` validates addresses and zones."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from zk_pipeline.attendance.clock_errors import MAX_CLOCK_ERROR_SECONDS, drift_in_zone
from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import pa
from zk_pipeline.devices.errors import SerialUnverified
from zk_pipeline.devices.models import Device, TerminalInfo
from zk_pipeline.store.apply_result import ApplyResult
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.errors import DeviceExists, ReadingRefused, UnknownDevice
from zk_pipeline.store.terminals.clock_corrections import correct
from zk_pipeline.store.terminals.ingest import AHEAD, CLOCK_WAS_RESET_BEFORE
from zk_pipeline.store.work_dates.device_changes import invalidating_affected_dates
from zk_pipeline.store.work_dates.manual_punches import follow_devices

EDITABLE = (
    "ip_address",
    "port",
    "protocol",
    "timezone",
    "site",
    "enabled",
    "polled",
    "comm_key_env",
    "encoding",
    "live",
    "trust_punch_states",
    "direction",
)
COLUMNS = (
    "id",
    "name",
    *EDITABLE,
    "serial_number",
    "last_transport",
    "log_layout",
    "last_sync",
    "keypad_locked_at",
    "created_at",
    "updated_at",
)

_SELECT = f"""
    SELECT {", ".join(COLUMNS)}, pushing.device IS NOT NULL AS pushes,
           greatest(last_sync, pushing.last_seen_at) AS last_contact
    FROM devices
    LEFT JOIN (SELECT device, last_seen_at FROM push_terminals WHERE device IS NOT NULL) AS pushing
        ON pushing.device = devices.name
    WHERE removed_at IS NULL
"""  # noqa: S608 (constant SQL)


@dataclass(frozen=True)
class DeviceRegistry:
    """Repository of devices. A removed device keeps its row, because its punches stay; adding it again restores it."""

    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[Device]:
        """Registered devices by name."""
        return list(self.database.once("devices", self._read_all))

    def _read_all(self) -> list[Device]:
        with self.database.read("list devices") as connection:
            rows = connection.execute(f"{_SELECT} ORDER BY name").fetchall()
        return [_device(row) for row in rows]

    def sites(self) -> list[str]:
        """Sites of registered devices by name."""
        return sorted({one.site for one in self.all()})

    def get(self, name: str) -> Device:
        """The device with that name. Raises UnknownDevice, with similar names."""
        return self.select([name])[0]

    def by_id(self, device_id: int) -> Device:
        """The device with that id. Raises UnknownDevice."""
        with self.database.read("look up a device") as connection:
            row = connection.execute(f"{_SELECT} AND id = ?", [device_id]).fetchone()
        if row is None:
            raise UnknownDevice(f"there is no device with the id {device_id}")
        return _device(row)

    def select(self, names: Iterable[str]) -> list[Device]:
        """The named devices, in the given order. Raises UnknownDevice."""
        known = {device.name: device for device in self.all()}
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in known:
                raise UnknownDevice(_unknown(name, known))
        return [known[name] for name in wanted]

    def add(self, device: Device) -> Device:
        """Register a device. Raises DeviceExists."""
        with self.database.write("add a device", device.name) as connection:
            if registered_or_none(connection, device.name):
                raise DeviceExists(
                    f"device {device.name!r} is registered already: choose another name, or change that device"
                )
            insert_device(connection, device, self.clock())
        return self.get(device.name)

    def update(self, name: str, **changes: Any) -> Device:
        """Change EDITABLE fields. A changed site, zone, direction or trust makes exactly the affected work dates stale.

        Raises UnknownDevice.
        """
        with self.database.write("update a device", name) as connection:
            update_device(connection, _registered(connection, name), changes, self.clock())
        return self.get(name)

    def forget_serial(self, name: str) -> None:
        """Let the next poll accept any terminal at the address of this device. Raises UnknownDevice."""
        self.get(name)
        with self.database.write("forget a serial number", name) as connection:
            connection.execute(
                """
                UPDATE device_slots SET last_list = device.user_lists, last_listed_at = device.users_listed_at
                FROM devices AS device
                WHERE device.name = ? AND device_slots.device = device.name AND device_slots.last_list IS NULL
                """,
                [name],
            )
            # Another terminal has other slots: count one empty user list.
            connection.execute(
                """
                UPDATE devices SET serial_number = NULL, log_layout = NULL, user_lists = user_lists + 1,
                    user_lists_at_reading = user_lists + 1, clock_right_at = NULL, clock_wrong_by = NULL
                WHERE name = ?
                """,
                [name],
            )
            connection.execute("DELETE FROM device_log_positions WHERE device = ?", [name])
            release_push(connection, name, self.clock())

    def record_clock(self, name: str, *, drift_before: float | None, drift_after: float) -> None:
        """Record that a terminal's clock was set: punches since its last reading may have the wrong time.

        Drifts in seconds, terminal minus true time.
        """
        with self.database.write("record a clock setting", name) as connection:
            connection.execute(
                """
                UPDATE devices SET clock_drift_seconds = $after,
                    clock_wrong_by = CASE WHEN abs($before) > $limit THEN $before ELSE clock_wrong_by END
                WHERE name = $name
                """,
                {"name": name, "before": drift_before, "after": drift_after, "limit": MAX_CLOCK_ERROR_SECONDS},
            )

    def record_test(self, name: str, info: TerminalInfo) -> None:
        """Record what a connection test found: firmware, platform, log capacity, transport and clock drift.

        Not the serial number, which the first poll records with the identity of the terminal. Nothing, if the polls
        have another serial number.
        """
        with self.database.write("record a connection test", name) as connection:
            connection.execute(
                """
                UPDATE devices SET firmware_version = coalesce(nullif($firmware_version, ''), firmware_version),
                    platform = coalesce(nullif($platform, ''), platform),
                    record_capacity = coalesce(nullif($record_capacity, 0), record_capacity),
                    last_transport = $transport,
                    clock_drift_seconds = coalesce($clock_drift_seconds, clock_drift_seconds)
                WHERE name = $name AND ($serial_number = '' OR coalesce(serial_number, $serial_number) = $serial_number)
                """,
                {"name": name} | {field: getattr(info, field) for field in ("serial_number", *_TESTED)},
            )

    def remove(self, name: str) -> None:
        """Remove a device from the registry; its punches, polls and days stay. Raises UnknownDevice."""
        with self.database.write("remove a device", name) as connection:
            _registered(connection, name)
            connection.execute(
                "UPDATE devices SET removed_at = $now, updated_at = $now WHERE name = $name AND removed_at IS NULL",
                {"now": self.clock(), "name": name},
            )
            release_push(connection, name, self.clock())

    def are_registered(self, devices: Sequence[Device]) -> bool:
        """Whether `apply` would change nothing. Does not write."""
        known = {device.name: device for device in self.all()} if devices else {}
        return all(
            one.name in known and not _is_changed(known[one.name], _declared(one, known[one.name])) for one in devices
        )

    def apply(self, devices: Iterable[Device]) -> ApplyResult[str]:
        """Apply the declared devices, in one transaction; others stay unchanged. Idempotent.

        A declared device without an address keeps the registered one.
        """
        applied = ApplyResult[str]()
        with self.database.write("apply devices") as connection:
            for device in devices:
                known = registered_or_none(connection, device.name)
                if known is None:
                    insert_device(connection, device, self.clock())
                    applied.added.append(device.name)
                elif _is_changed(known, _declared(device, known)):
                    _update(connection, _declared(device, known), self.clock())
                    applied.changed.append(device.name)
                else:
                    applied.unchanged.append(device.name)
        return applied


def release_push(connection: Connection, name: str, now: datetime) -> None:
    """Make the terminal that pushes for a device pending again; its open commands expire."""
    connection.execute(
        """
        UPDATE push_commands SET state = 'expired', finished_at = ?
        WHERE state IN ('queued', 'sent')
          AND serial_number IN (SELECT serial_number FROM push_terminals WHERE device = ?)
        """,
        [now, name],
    )
    connection.execute(
        "UPDATE push_terminals SET device = NULL, adopted_at = NULL, adopted_by = NULL WHERE device = ?", [name]
    )


def _declared(device: Device, known: Device) -> Device:
    return device if device.ip_address else replace(device, ip_address=known.ip_address)


def _is_changed(known: Device, device: Device) -> bool:
    return any(getattr(known, field) != getattr(device, field) for field in EDITABLE)


# Error codes of polls whose readings are rejected.
REGISTRATION_CHANGED = "registration_changed"
REGISTERED_TWICE = "registered_twice"


@dataclass(frozen=True)
class Registration:
    """A registered device, read in the transaction that stores its reading."""

    timezone: str
    last_sync: datetime | None
    clock_right_at: datetime | None  # last measurement of a correct clock; None: never in this zone
    clock_wrong_by: float | None  # seconds, if the clock was wrong at the last reading or since
    user_lists_at_reading: int
    user_lists: int


_REGISTRATION = "timezone, last_sync, clock_right_at, clock_wrong_by, user_lists_at_reading, user_lists"


def registration(connection: Connection, name: str) -> Registration:
    """The registration of a device. Raises ReadingRefused for a device that is no longer registered."""
    row = connection.execute(
        f"SELECT {_REGISTRATION} FROM devices WHERE name = ? AND removed_at IS NULL",  # noqa: S608 (constant names)
        [name],
    ).fetchone()
    if row is None:
        raise ReadingRefused(name, REGISTRATION_CHANGED, f"{name}: it is no longer registered")
    return Registration(*row)


def check_registrations(connection: Connection, read: Sequence[tuple[Device, TerminalInfo]]) -> dict[str, Registration]:
    """Registrations of these readings, by name. `read`: each device as at the start of its reading.

    Raises ReadingRefused for the first reading that must not be stored under its name: the registration changed during
    the reading, or the terminal is also registered under another name.
    """
    rows = connection.execute(
        f"SELECT id, name, ip_address, port, encoding, serial_number, removed_at, {_REGISTRATION} FROM devices"  # noqa: S608
    ).fetchall()
    known = {row[1]: row for row in rows}
    holders = {row[5]: row for row in sorted(rows, reverse=True) if row[5] and row[6] is None}  # the oldest of each
    found = {}
    for device, info in read:
        row = known.get(device.name)
        if row is None or row[6] is not None:
            problem = f"{device.name}: it was removed from the registry during the reading"
            raise ReadingRefused(device.name, REGISTRATION_CHANGED, problem)
        serial = row[5] or ""
        is_as_read = (row[2], row[3], row[4]) == (device.ip_address, device.port, device.encoding)
        if not is_as_read or serial not in (device.serial_number or "", info.serial_number):
            problem = f"{device.name}: it was changed in the registry during the reading; the next poll uses the change"
            raise ReadingRefused(device.name, REGISTRATION_CHANGED, problem)
        if serial and not info.serial_number:
            problem = f"{device.name}: it did not return its serial number, and {serial} is registered"
            raise ReadingRefused(device.name, SerialUnverified.code, problem)
        holder = holders.get(info.serial_number)
        if holder is not None and holder[1] != device.name:
            problem = (
                f"{device.name}: the terminal with serial number {info.serial_number} is registered as {holder[1]!r}, "
                f"too; keep one name: `zk-pipeline device remove {shlex.quote(device.name)}` or the other; punches stay"
            )
            raise ReadingRefused(device.name, REGISTERED_TWICE, problem)
        if info.serial_number:
            holders[info.serial_number] = row
        found[device.name] = Registration(*row[7:])
    return found


def record_successes(connection: Connection, polled: Mapping[str, tuple[TerminalInfo, str | None, datetime]]) -> None:
    """Record terminal info, log layout if any, and end of successful polls, by device name.

    An empty value never replaces a known one: terminals reject options at times.
    """
    rows = [
        {
            "device": name,
            "finished_at": finished_at,
            "log_layout": log_layout,
            **{field: getattr(info, field) for field in _POLLED().names[3:]},
        }
        for name, (info, log_layout, finished_at) in polled.items()
    ]
    connection.register("polled", pa.Table.from_pylist(rows, _POLLED()))
    connection.execute(
        """
        UPDATE devices
        SET last_sync = polled.finished_at,
            serial_number = coalesce(nullif(polled.serial_number, ''), devices.serial_number),
            firmware_version = coalesce(nullif(polled.firmware_version, ''), devices.firmware_version),
            platform = coalesce(nullif(polled.platform, ''), devices.platform),
            record_capacity = coalesce(nullif(polled.record_capacity, 0), devices.record_capacity),
            last_transport = polled.transport,
            user_lists_at_reading = devices.user_lists,
            clock_drift_seconds = polled.clock_drift_seconds,
            clock_right_at = CASE
                WHEN abs(polled.clock_drift_seconds) <= $limit THEN polled.finished_at ELSE devices.clock_right_at
            END,
            clock_wrong_by = CASE
                WHEN polled.clock_drift_seconds IS NULL THEN devices.clock_wrong_by
                WHEN abs(polled.clock_drift_seconds) > $limit THEN polled.clock_drift_seconds
            END,
            log_layout = coalesce(polled.log_layout, devices.log_layout)
        FROM polled WHERE polled.device = devices.name
        """,
        {"limit": MAX_CLOCK_ERROR_SECONDS},
    )
    connection.unregister("polled")


_TESTED = ("firmware_version", "platform", "record_capacity", "transport", "clock_drift_seconds")
_POLLED = cache(
    lambda: pa.schema(
        {
            "device": pa.string(),
            "finished_at": pa.timestamp("us", "UTC"),
            "log_layout": pa.string(),
            "serial_number": pa.string(),
            "firmware_version": pa.string(),
            "platform": pa.string(),
            "record_capacity": pa.int64(),
            "transport": pa.string(),
            "clock_drift_seconds": pa.float64(),
        }
    )
)


def _device(row: tuple[Any, ...]) -> Device:
    return Device(**dict(zip((*COLUMNS, "pushes", "last_contact"), row, strict=True)))


def registered_or_none(connection: Connection, name: str) -> Device | None:
    """The registered device with that name."""
    row = connection.execute(f"{_SELECT} AND name = ?", [name]).fetchone()
    return _device(row) if row else None


def _registered(connection: Connection, name: str) -> Device:
    device = registered_or_none(connection, name)
    if device is None:
        names = connection.execute("SELECT name FROM devices WHERE removed_at IS NULL ORDER BY name").fetchall()
        raise UnknownDevice(_unknown(name, [row[0] for row in names]))
    return device


def insert_device(connection: Connection, device: Device, now: datetime) -> None:
    """Register a device, in the caller's transaction; a removed one of that name is restored."""
    values = {field: asdict(device)[field] for field in EDITABLE} | {"name": device.name, "now": now}
    revived = connection.execute("SELECT id FROM devices WHERE name = ?", [device.name]).fetchone()
    if revived:
        _update(connection, device, now)
        connection.execute("UPDATE devices SET removed_at = NULL WHERE name = ?", [device.name])
        return
    connection.execute(
        """
        INSERT INTO devices (id, name, ip_address, port, protocol, timezone, site, enabled, polled, comm_key_env,
                             encoding, live, trust_punch_states, direction, created_at, updated_at)
        SELECT coalesce(max(id), 0) + 1, $name, $ip_address, $port, $protocol, $timezone, $site, $enabled, $polled,
               $comm_key_env, $encoding, $live, $trust_punch_states, $direction, $now, $now
        FROM devices
        """,
        values,
    )


def update_device(connection: Connection, device: Device, changes: Mapping[str, Any], now: datetime) -> None:
    """Change EDITABLE fields, in the caller's transaction; affected work dates become stale."""
    _update(connection, replace(device, **changes), now)


def _update(connection: Connection, device: Device, now: datetime) -> None:
    before = connection.execute(
        "SELECT site, timezone, trust_punch_states, direction FROM devices WHERE name = ?", [device.name]
    ).fetchone()
    after = (device.site, device.timezone, device.trust_punch_states, device.direction)
    touches = before is not None and before != after
    with invalidating_affected_dates(connection, (before[0], device.site) if before and touches else None):
        _change(connection, device, now)
        if touches:
            follow_devices(connection)
        if before and before[1] != device.timezone:
            moved = drift_in_zone(0.0, now.replace(tzinfo=None), zone=before[1], other=device.timezone)
            apply_timezone(connection, device.name, device.timezone, moved=moved or 0.0)


def _change(connection: Connection, device: Device, now: datetime) -> None:
    values = {field: asdict(device)[field] for field in EDITABLE} | {"name": device.name, "now": now}
    connection.execute(
        """
        UPDATE devices
        SET ip_address = $ip_address, port = $port, protocol = $protocol, timezone = $timezone, site = $site,
            enabled = $enabled, polled = $polled, comm_key_env = $comm_key_env, encoding = $encoding, live = $live,
            trust_punch_states = $trust_punch_states, direction = $direction, updated_at = $now
        WHERE name = $name
        """,
        values,
    )


def _unknown(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `zk-pipeline device list` shows them"
    return f"unknown device {name!r}{hint}"


def apply_timezone(connection: Connection, device: str, zone: str, *, moved: float = 0.0) -> None:
    """Recompute the instants of all recorded times of a device in its zone. Rare, therefore under the lock.

    `moved`: seconds to add to a drift that was measured against the former zone. Punches that were suspect only because
    of the former zone no longer are.
    """
    readings = connection.execute("SELECT DISTINCT punched_at_local FROM raw_punches WHERE device = ?", [device]).df()
    readings["punched_at"] = to_instants(readings["punched_at_local"], zone)
    connection.register("rezoned", readings)
    connection.execute(
        """
        UPDATE raw_punches
        SET punched_at = rezoned.punched_at,
            is_clock_suspect = raw_punches.punched_at_local < $earliest
                OR rezoned.punched_at > raw_punches.created_at + $ahead
                OR (
                    raw_punches.is_clock_suspect AND raw_punches.punched_at <= raw_punches.created_at + $ahead
                    AND raw_punches.first_poll_id NOT IN (
                        SELECT id FROM device_polls
                        WHERE device = $device AND abs(doubted_drift_seconds + $moved) <= $limit
                    )
                )
        FROM rezoned
        WHERE raw_punches.device = $device AND raw_punches.punched_at_local = rezoned.punched_at_local
        """,
        {
            "device": device,
            "earliest": CLOCK_WAS_RESET_BEFORE,
            "ahead": AHEAD,
            "limit": MAX_CLOCK_ERROR_SECONDS,
            "moved": moved,
        },
    )
    connection.unregister("rezoned")
    if moved:
        connection.execute(
            "UPDATE device_polls SET doubted_drift_seconds = doubted_drift_seconds + ? "
            "WHERE device = ? AND doubted_drift_seconds IS NOT NULL",
            [moved, device],
        )
        connection.execute(
            """
            UPDATE devices SET clock_drift_seconds = clock_drift_seconds + $moved, clock_wrong_by = NULL,
                clock_right_at = CASE WHEN abs(clock_drift_seconds + $moved) <= $limit THEN last_sync END
            WHERE name = $device
            """,
            {"device": device, "limit": MAX_CLOCK_ERROR_SECONDS, "moved": moved},
        )
    correct(connection, device)
