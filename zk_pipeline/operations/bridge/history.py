"""Import of the Django bridge's history: a plan, then one transaction. A repeated import applies only differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from zk_pipeline.data_libraries import np, pa, pc, pd
from zk_pipeline.devices.addresses import check_fields, check_timezone
from zk_pipeline.devices.models import Device, punches_frame
from zk_pipeline.devices.networks import Network, check_host_in_networks
from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.bridge.database import (
    BridgeDatabase,
    BridgeDevice,
    BridgePunch,
    BridgeUser,
    punches_by_day,
    read_bridge,
)
from zk_pipeline.operations.bridge.delivered import delivered_content
from zk_pipeline.store.deliveries.earlier_deliveries import EARLIER_DELIVERIES
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.bridge_history import UNKNOWN_UID, HistoryRows
from zk_pipeline.store.terminals.ingest import USERS_OF_DEVICES, punches_table, rejected_lines
from zk_pipeline.store.terminals.punch_files import FileRows

if TYPE_CHECKING:
    import numpy.typing as npt

SOURCE = "django-bridge"
_MAX_BYTE = 255


@dataclass(frozen=True, kw_only=True)
class ImportedDevice:
    """A device of the bridge. `is_new`: the import registers it. Times are its wall clocks.

    `in_repeated_hour`, `before_history`: as in `PunchImport`.
    """

    name: str
    is_new: bool
    timezone: str
    punches: int
    new: int
    known: int
    purged: int
    in_repeated_hour: int
    before_history: int
    users: int
    first: datetime | None
    last: datetime | None


@dataclass(frozen=True, kw_only=True)
class BridgeImport:
    """Summary of an import, or of its plan.

    `delivered`: days that the CRM has from the bridge; `outdated`: those of them that the bridge changed after their
    delivery; `uncertain`: delivered days whose delivered content cannot be known. `undelivered`: days that the bridge
    has not delivered. Days that differ from what the CRM has are sent by `zk-pipeline sync`. `settled`: due deliveries
    that need no request any more, None in a plan. `unreadable`: punches that were left out, one line each.
    """

    database: str
    devices: list[ImportedDevice]
    delivered: int
    outdated: int
    uncertain: int
    undelivered: int
    is_stored: bool = False
    settled: int | None = None
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class BridgeOptions:
    """`timezone`: zone of the terminals of a bridge without zones per device. `names`: name here by name in the bridge,
    of devices. `skip_unreadable`: import the other rows. `history_start`: first work date that is processed.
    `networks`: those in which new devices may be registered, None for all.
    """

    timezone: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    skip_unreadable: bool = False
    history_start: date = date.min
    networks: tuple[Network, ...] | None = None


@dataclass(frozen=True)
class BridgePlan:
    """A history read and compared with the store; `apply_bridge` stores `rows`."""

    summary: BridgeImport
    rows: HistoryRows


@dataclass(frozen=True)
class _Deliveries:
    table: pa.Table
    outdated: int
    uncertain: int


def plan_bridge(store: Store, dsn: str, options: BridgeOptions) -> BridgePlan:
    """Read the database of the bridge and compare it with the store, without a change.

    Raises UsageError for a registered device in another zone than in the bridge and for a name that no device has;
    RowsRefused naming each row that cannot be a punch, unless they are skipped.
    """
    bridge = read_bridge(dsn)
    registered = {one.name: one for one in store.devices.all()}
    named = _renamed(bridge, options.names)
    devices = {one.id: _device(one, registered, options.timezone, bridge.name) for one in named}
    _check_networks([one for one in devices.values() if one.name not in registered], options.networks, bridge.name)
    punches, problems = _punches(bridge, devices)
    refused = RowsRefused(
        f"{bridge.name}: nothing was imported (--skip-unreadable imports the others); bad rows of core_rawattendance "
        "by their id",
        problems,
        number="id",
    )
    if problems and not options.skip_unreadable:
        raise refused
    files = [_file(one, punches.get(number, [])) for number, one in devices.items()]
    repeated = [_in_repeated_hour(punches.get(number, []), one.timezone) for number, one in devices.items()]
    users = _users(bridge.users, devices)
    deliveries = _deliveries(bridge, devices)
    summary = BridgeImport(
        database=bridge.name,
        devices=_summaries(store, files, users, registered, repeated, history_start=options.history_start),
        delivered=len(deliveries.table),
        outdated=deliveries.outdated,
        uncertain=deliveries.uncertain,
        undelivered=bridge.undelivered,
        unreadable=refused.rows,
    )
    new = [one for one in devices.values() if one.name not in registered]
    return BridgePlan(summary, HistoryRows(new, files, users, deliveries.table))


def apply_bridge(store: Store, plan: BridgePlan) -> BridgeImport:
    """Store the history of a plan in one transaction."""
    done = store.bridge_history.insert(plan.rows)
    devices = [
        replace(before, new=file.new, known=before.punches - before.purged - file.new)
        for before, file in zip(plan.summary.devices, done.files, strict=True)
    ]
    return replace(plan.summary, devices=devices, is_stored=True, settled=done.settled)


def _renamed(bridge: BridgeDatabase, names: Mapping[str, str]) -> list[BridgeDevice]:
    """Devices of the bridge with their names here."""
    known = {one.name for one in bridge.devices}
    if unknown := sorted(names.keys() - known):
        raise UsageError(f"{bridge.name}: the bridge has no device {unknown[0]!r}, but {', '.join(sorted(known))}")
    renamed = [one._replace(name=names.get(one.name, one.name)) for one in bridge.devices]
    if len({one.name for one in renamed}) < len(renamed):
        raise UsageError(f"{bridge.name}: two devices would have one name: choose others with --rename")
    return renamed


def _device(one: BridgeDevice, registered: Mapping[str, Device], timezone: str | None, name: str) -> Device:
    """The registered device of that name, or the one to register."""
    if one.timezone is None and timezone is None:
        raise UsageError(
            f"{name}: this version of the bridge has no time zone per device: name the zone of its terminals with "
            "--timezone (DEVICE_TIME_ZONE of the bridge, Africa/Nairobi unless it was set)"
        )
    if one.timezone is not None and timezone is not None:
        raise UsageError(f"{name}: the bridge has a time zone for each device: import it without --timezone")
    zone = check_timezone(one.timezone or timezone or "")
    known = registered.get(one.name)
    if known is None:
        address = {"name": one.name, "ip_address": one.ip_address, "port": one.port, "timezone": zone}
        try:
            return Device(enabled=one.enabled, **check_fields(address))
        except UsageError as error:
            raise UsageError(f"{name}: {error}: name it here with --rename, or correct the bridge") from None
    if known.timezone != zone:
        raise UsageError(
            f"device {one.name!r} has the time zone {known.timezone} here and {zone} in the bridge: correct one of "
            "them first, or its punches would be moved"
        )
    return known


def _check_networks(devices: Sequence[Device], networks: tuple[Network, ...] | None, name: str) -> None:
    for one in devices:
        try:
            check_host_in_networks(one.ip_address, networks)
        except UsageError as error:
            raise UsageError(f"{name}: device {one.name!r}: {error}") from None


def _punches(
    bridge: BridgeDatabase, devices: Mapping[int, Device]
) -> tuple[dict[int, list[BridgePunch]], dict[int, str]]:
    """Punches by the bridge's number of the device, and the problems of bad rows by their id."""
    found: dict[int, list[BridgePunch]] = {}
    problems: dict[int, str] = {}
    for one in bridge.punches:
        if problem := _problem(one, devices):
            problems[one.id] = problem
        else:
            found.setdefault(one.device_id, []).append(one)
    return found, problems


def _problem(one: BridgePunch, devices: Mapping[int, Device]) -> str | None:
    if one.device_id not in devices:
        return f"its device {one.device_id} does not exist"
    if not one.user_id.strip():
        return "its user_id is empty"
    if not all(0 <= value <= _MAX_BYTE for value in (one.status, one.punch_state, one.verify_type)):
        return f"status, punch_state or verify_type is not between 0 and {_MAX_BYTE}"
    return None


def _file(device: Device, punches: Sequence[BridgePunch]) -> FileRows:
    """The punches of one device with its wall clocks.

    `verify_type` is always 0 in the bridge, because its library has no such field; `status` is the verification.
    """
    frame = punches_frame(
        user_id=[one.user_id.strip() for one in punches],
        punched_at_local=_local([one.at for one in punches], device.timezone),
        status=[one.status for one in punches],
        punch_state=[one.punch_state for one in punches],
        verify_type=[one.verify_type or one.status for one in punches],
    )
    table = punches_table(frame, device.timezone)
    return FileRows(
        device=device.name,
        zone=device.timezone,
        name="the Django bridge",
        read=len(punches),
        punches=table,
        rejected=rejected_lines([]),
        record_format=SOURCE,
        in_doubt=pa.repeat(pa.scalar(False), len(table)),
    )


def _local(instants: Sequence[datetime], zone: str) -> npt.NDArray[np.datetime64]:
    """Wall clocks of `zone`, to the second."""
    moments = pd.DatetimeIndex(np.array([one.replace(tzinfo=None) for one in instants], "datetime64[us]"), tz="UTC")
    local: npt.NDArray[np.datetime64] = (
        moments.tz_convert(ZoneInfo(zone)).tz_localize(None).floor("s").to_numpy().astype("datetime64[s]")
    )
    return local


def _in_repeated_hour(punches: Sequence[BridgePunch], zone: str) -> int:
    """Number of punches in the second occurrence of a repeated hour of `zone`."""
    return sum(one.at.astimezone(ZoneInfo(zone)).fold for one in punches)


def _users(users: Sequence[BridgeUser], devices: Mapping[int, Device]) -> pa.Table:
    rows = [
        {
            "device": devices[one.device_id].name,
            "user_id": one.user_id.strip(),
            "uid": UNKNOWN_UID,
            "name": one.name,
            "privilege": one.privilege,
            "card": int(one.card) if one.card.isdecimal() and len(one.card) < 19 else 0,
        }
        for one in users
        if one.device_id in devices and one.user_id.strip()
    ]
    return pa.Table.from_pylist(rows, USERS_OF_DEVICES())


def _deliveries(bridge: BridgeDatabase, devices: Mapping[int, Device]) -> _Deliveries:
    punches = punches_by_day(bridge.punches)
    rows, outdated, uncertain = [], 0, 0
    for day in bridge.delivered:
        content = delivered_content(day, punches.get((day.device_id, day.user_id), []))
        if content is None or day.device_id not in devices:
            uncertain += 1
            continue
        outdated += content != (day.clock_in, day.clock_out)
        rows.append(
            {
                "source": SOURCE,
                "device": devices[day.device_id].name,
                "user_id": day.user_id.strip(),
                "work_date": day.date,
                "clock_in": content[0],
                "clock_out": content[1],
                "delivered_at": day.delivered_at or day.updated_at,
            }
        )
    return _Deliveries(pa.Table.from_pylist(rows, EARLIER_DELIVERIES()), outdated, uncertain)


def _summaries(
    store: Store,
    files: Sequence[FileRows],
    users: pa.Table,
    registered: Mapping[str, Device],
    repeated: Sequence[int],
    *,
    history_start: date,
) -> list[ImportedDevice]:
    enrolled = {one["values"]: one["counts"] for one in pc.value_counts(users["device"]).to_pylist()}
    found = []
    for file, compared, in_repeated_hour in zip(files, store.bridge_history.compare(files), repeated, strict=True):
        local = file.punches["punched_at_local"].to_pylist()
        found.append(
            ImportedDevice(
                name=file.device,
                is_new=file.device not in registered,
                timezone=file.zone,
                punches=len(local),
                new=compared.new,
                known=len(local) - compared.new - compared.purged,
                purged=compared.purged,
                in_repeated_hour=in_repeated_hour,
                before_history=sum(at.date() < history_start for at in local),
                users=enrolled.get(file.device, 0),
                first=min(local, default=None),
                last=max(local, default=None),
            )
        )
    return found
