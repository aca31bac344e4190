"""Uploads of terminals that push: their punches, users, events and stamps, stored in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from zk_pipeline.attendance.clock_errors import MAX_CLOCK_ERROR_SECONDS, is_wrong, seconds_ahead
from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import np, pa, pd
from zk_pipeline.devices.push.uploads import ParsedUpload, PushedPunch
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.terminals.ingest import (
    PUNCHES,
    USERS_OF_DEVICES,
    FetchedTable,
    batches_without_repeats,
    insert_punches,
    insert_rejected,
    next_poll_id,
    rejected_lines,
)

if TYPE_CHECKING:
    import numpy.typing as npt

RESENT = "0"  # stamp of an upload that answers a query: it says nothing about the position in the log


@dataclass(frozen=True, kw_only=True)
class PushUpload:
    """One upload of an adopted terminal, parsed. `timezone` as registered when it was received; `drift_seconds`: its
    clock minus true time, if its arrival shows it.
    """

    serial_number: str
    device: str
    timezone: str
    table_name: str
    stamp: str | None
    parsed: ParsedUpload
    received_at: datetime
    drift_seconds: float | None = None


@dataclass(frozen=True)
class StoredUpload:
    """Counts of a stored upload, as in `push_batches`."""

    batch_id: int
    stored: int
    duplicates: int
    quarantined: int
    other: int


@dataclass(frozen=True)
class PreparedUpload:
    """An upload as Arrow tables, prepared before the lock. `doubted`: which punches its clock makes suspect;
    `punch_count`: lines with punches, repeated ones included.
    """

    upload: PushUpload
    punches: pa.Table
    doubted: npt.NDArray[np.bool_]
    punch_count: int
    drift_seconds: float | None  # of the doubted punches
    lag_seconds: float | None


def prepare(uploads: Sequence[PushUpload]) -> list[PreparedUpload]:
    """Convert the uploads together: a conversion costs more than the rows of most of them."""
    once = [_once(one.parsed.punches) for one in uploads]
    table = _table([punch for punches in once for punch in punches])
    zones = [one.timezone for one, punches in zip(uploads, once, strict=True) for _ in punches]
    instants = _instants(table["punched_at_local"].to_numpy(), np.array(zones, dtype=object))
    table = table.set_column(
        2, PUNCHES().field("punched_at"), pa.array(instants, pa.timestamp("us")).cast(PUNCHES().types[2])
    )
    prepared, begin = [], 0
    for one, punches in zip(uploads, once, strict=True):
        end = begin + len(punches)
        prepared.append(_prepared(one, table.slice(begin, end - begin), instants[begin:end]))
        begin = end
    return prepared


def store_uploads(
    connection: Connection, uploads: Sequence[PreparedUpload], now: datetime
) -> list[StoredUpload | None]:
    """Store uploads in the caller's transaction; returns the counts of each, in order.

    None for an upload that was not stored, because its terminal is no longer adopted or enabled, or its zone changed.
    """
    registered = _registered(connection)
    stored: list[StoredUpload | None] = [None] * len(uploads)
    accepted = [
        (number, one)
        for number, one in enumerate(uploads)
        if one.upload.serial_number in registered and registered[one.upload.serial_number].is_as_in(one.upload)
    ]
    for batch in batches_without_repeats(accepted, lambda one: one[1].upload.device):
        for (number, _), done in zip(
            batch, _store(connection, [one for _, one in batch], registered, now), strict=True
        ):
            stored[number] = done
    return stored


def read_stamps(connection: Connection, serials: Sequence[str] | None = None) -> dict[str, dict[str, str]]:
    """Saved stamp by serial number (of `serials`, if given) and table."""
    stamps: dict[str, dict[str, str]] = {}
    rows = connection.execute(
        """
        SELECT serial_number, table_name, stamp FROM push_stamps
        WHERE $serials IS NULL OR list_contains($serials, serial_number)
        """,
        {"serials": None if serials is None else list(serials)},
    ).fetchall()
    for serial, table, stamp in rows:
        stamps.setdefault(serial, {})[table] = stamp
    return stamps


@dataclass(frozen=True)
class _Registered:
    device: str
    timezone: str
    clock_right_at: datetime | None

    def is_as_in(self, upload: PushUpload) -> bool:
        return (self.device, self.timezone) == (upload.device, upload.timezone)


def _registered(connection: Connection) -> dict[str, _Registered]:
    rows = connection.execute(
        """
        SELECT terminal.serial_number, device.name, device.timezone, device.clock_right_at
        FROM push_terminals AS terminal JOIN devices AS device ON device.name = terminal.device
        WHERE device.removed_at IS NULL AND device.enabled
        """
    ).fetchall()
    return {serial: _Registered(*rest) for serial, *rest in rows}


def _store(
    connection: Connection, part: Sequence[PreparedUpload], registered: dict[str, _Registered], now: datetime
) -> list[StoredUpload]:
    polls = _polls(connection, [one.upload.device for one in part], now)
    punches = [
        FetchedTable(
            one.upload.device,
            polls[one.upload.device],
            one.punches,
            _doubt(one, registered[one.upload.serial_number]),
            source="push",
        )
        for one in part
    ]
    rejected = [
        FetchedTable(
            one.upload.device,
            polls[one.upload.device],
            rejected_lines(one.upload.parsed.rejected),
            record_format=one.upload.table_name,
        )
        for one in part
        if one.upload.parsed.rejected
    ]
    inserted = insert_punches(connection, punches, now)
    insert_rejected(connection, rejected, now)
    _record_clocks(connection, part, polls, registered)
    _record_users(connection, part, now)
    _record_events(connection, part)
    _record_stamps(connection, part)
    done = [_counts(one, inserted_one.new) for one, inserted_one in zip(part, inserted, strict=True)]
    return _record_batches(connection, part, done)


def _once(punches: Sequence[PushedPunch]) -> list[PushedPunch]:
    """The first punch of each user and second."""
    return list({(one.user_id, one.punched_at_local): one for one in reversed(punches)}.values())[::-1]


def _table(punches: Sequence[PushedPunch]) -> pa.Table:
    """As `ingest.PUNCHES`, without instants."""
    verify_types = [one.verify_type for one in punches]
    none = [None] * len(punches)
    columns = {
        "user_id": [one.user_id for one in punches],
        "uid": none,
        "punched_at": none,
        "punched_at_local": [one.punched_at_local for one in punches],
        "status": verify_types,
        "punch_state": [one.punch_state for one in punches],
        "verify_type": verify_types,
        "work_code": [one.work_code for one in punches],
        "raw": none,
    }
    return pa.table(columns, schema=PUNCHES())


def _instants(local: npt.NDArray[np.datetime64], zones: npt.NDArray[np.object_]) -> npt.NDArray[np.datetime64]:
    """Instants (datetime64[us], UTC) of wall-clock times, each in its zone."""
    instants = np.empty(len(local), dtype="datetime64[us]")
    for zone in set(zones.tolist()):
        own = zones == zone
        instants[own] = to_instants(pd.Series(local[own]), zone).to_numpy("datetime64[us]")
    return instants


def _prepared(upload: PushUpload, punches: pa.Table, instants: npt.NDArray[np.datetime64]) -> PreparedUpload:
    ahead = seconds_ahead(instants, upload.received_at)
    if is_wrong(upload.drift_seconds):
        doubted = np.ones(len(ahead), dtype=bool)
        drift = upload.drift_seconds
    else:
        doubted = ahead > MAX_CLOCK_ERROR_SECONDS  # no delay explains a punch of the future
        drift = float(np.median(ahead[doubted])) if doubted.any() else None
    return PreparedUpload(
        upload,
        punches,
        doubted,
        punch_count=len(upload.parsed.punches),
        drift_seconds=drift,
        lag_seconds=-float(ahead.max()) if len(ahead) else None,
    )


def _doubt(prepared: PreparedUpload, registered: _Registered) -> pa.Array | None:
    return pa.array(prepared.doubted) if registered.clock_right_at is not None else None


def _polls(connection: Connection, devices: Sequence[str], now: datetime) -> dict[str, int]:
    """The row of `device_polls` for the uploads of each device on the current UTC date; created if there is none."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    polls = dict(
        connection.execute(
            """
            SELECT device, max(id) FROM device_polls
            WHERE started_at >= ? AND mode = 'push' AND list_contains(?, device) GROUP BY device
            """,
            [today, list(devices)],
        ).fetchall()
    )
    missing = [name for name in devices if name not in polls]
    if missing:
        first = next_poll_id(connection)
        polls |= {name: first + number for number, name in enumerate(missing)}
        connection.execute(
            """
            INSERT INTO device_polls (id, device, started_at, finished_at, status, mode)
            SELECT unnest($ids), unnest($devices), $now, $now, 'success', 'push'
            """,
            {"ids": [polls[name] for name in missing], "devices": missing, "now": now},
        )
    return polls


def _record_clocks(
    connection: Connection, part: Sequence[PreparedUpload], polls: dict[str, int], registered: dict[str, _Registered]
) -> None:
    measured = [one.upload for one in part if one.upload.drift_seconds is not None]
    for one in part:
        if one.doubted.any() and registered[one.upload.serial_number].clock_right_at is not None:
            connection.execute(
                "UPDATE device_polls SET doubted_drift_seconds = ? WHERE id = ?",
                [one.drift_seconds, polls[one.upload.device]],
            )
    if not measured:
        return
    rows = [{"device": one.device, "at": one.received_at, "drift": one.drift_seconds} for one in measured]
    connection.register("measured", pa.Table.from_pylist(rows, _MEASURED()))
    connection.execute(
        """
        UPDATE devices SET clock_drift_seconds = measured.drift,
            clock_right_at = CASE WHEN abs(measured.drift) <= $limit THEN measured."at" ELSE clock_right_at END,
            clock_wrong_by = CASE WHEN abs(measured.drift) > $limit THEN measured.drift END
        FROM measured WHERE measured.device = devices.name
        """,
        {"limit": MAX_CLOCK_ERROR_SECONDS},
    )
    connection.unregister("measured")


def _record_users(connection: Connection, part: Sequence[PreparedUpload], now: datetime) -> None:
    """Add or change users; those that the terminal does not mention stay."""
    users = {
        (one.upload.device, user.user_id): {
            "device": one.upload.device, "user_id": user.user_id, "uid": user.uid or 0, "name": user.name,
            "privilege": user.privilege, "card": user.card,
        }
        for one in part for user in one.upload.parsed.users
    }  # fmt: skip
    if not users:
        return
    connection.register("pushed_users", pa.Table.from_pylist(list(users.values()), USERS_OF_DEVICES()))
    connection.execute(
        """
        UPDATE device_users SET name = pushed.name, privilege = pushed.privilege, card = pushed.card, updated_at = $now
        FROM pushed_users AS pushed
        WHERE pushed.device = device_users.device AND pushed.user_id = device_users.user_id
          AND (pushed.name, pushed.privilege, pushed.card)
              <> (device_users.name, device_users.privilege, device_users.card)
        """,
        {"now": now},
    )
    connection.execute(
        """
        INSERT INTO device_users (device, user_id, uid, name, privilege, card, updated_at)
        SELECT device, user_id, uid, name, privilege, card, $now
        FROM pushed_users ANTI JOIN device_users USING (device, user_id)
        """,
        {"now": now},
    )
    connection.unregister("pushed_users")


def _record_events(connection: Connection, part: Sequence[PreparedUpload]) -> None:
    events = [
        {**event._asdict(), "device": one.upload.device, "received_at": one.upload.received_at}
        for one in part
        for event in one.upload.parsed.events
    ]
    if not events:
        return
    connection.register("pushed_events", pa.Table.from_pylist(events, _EVENTS()))
    connection.execute(
        """
        INSERT INTO device_events (device, occurred_at_local, code, is_operation, user_id, detail, received_at)
        SELECT device, occurred_at_local, code, is_operation, user_id, detail, min(received_at)
        FROM pushed_events
        ANTI JOIN (
            FROM device_events WHERE occurred_at_local >= (SELECT min(occurred_at_local) FROM pushed_events)
        ) AS known USING (device, occurred_at_local, code, is_operation, user_id, detail)
        GROUP BY ALL
        """
    )
    connection.unregister("pushed_events")


def _record_stamps(connection: Connection, part: Sequence[PreparedUpload]) -> None:
    saved = read_stamps(connection, [one.upload.serial_number for one in part])
    stamped = [
        one.upload
        for one in part
        if one.upload.stamp not in (None, RESENT, saved.get(one.upload.serial_number, {}).get(one.upload.table_name))
    ]
    if not stamped:  # newer firmware has a constant stamp
        return
    rows = [
        {"serial_number": one.serial_number, "table_name": one.table_name, "stamp": one.stamp, "at": one.received_at}
        for one in stamped
    ]
    connection.register("stamped", pa.Table.from_pylist(rows, _STAMPS()))
    connection.execute(
        """
        UPDATE push_stamps SET stamp = stamped.stamp, updated_at = stamped."at" FROM stamped
        WHERE stamped.serial_number = push_stamps.serial_number AND stamped.table_name = push_stamps.table_name
          AND stamped.stamp <> push_stamps.stamp
        """
    )
    connection.execute(
        """
        INSERT INTO push_stamps (serial_number, table_name, stamp, updated_at)
        SELECT serial_number, table_name, stamp, "at"
        FROM stamped ANTI JOIN push_stamps USING (serial_number, table_name)
        """
    )
    connection.unregister("stamped")


def _counts(prepared: PreparedUpload, new: int) -> StoredUpload:
    parsed = prepared.upload.parsed
    punches, quarantined = prepared.punch_count, len(parsed.rejected)
    return StoredUpload(
        batch_id=0,
        stored=new,
        duplicates=punches - new,
        quarantined=quarantined,
        other=parsed.lines - punches - quarantined,
    )


def _record_batches(
    connection: Connection, part: Sequence[PreparedUpload], done: Sequence[StoredUpload]
) -> list[StoredUpload]:
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM push_batches").fetchone()
    assert newest is not None
    numbered = [replace(one, batch_id=newest[0] + number) for number, one in enumerate(done, start=1)]
    rows = [
        {
            "id": counts.batch_id, "serial": one.upload.serial_number, "device": one.upload.device,
            "table_name": one.upload.table_name, "stamp": one.upload.stamp, "received_at": one.upload.received_at,
            "lines": one.upload.parsed.lines, "stored": counts.stored, "duplicates": counts.duplicates,
            "quarantined": counts.quarantined, "other": counts.other, "lag_seconds": one.lag_seconds,
        }
        for one, counts in zip(part, numbered, strict=True)
    ]  # fmt: skip
    connection.register("batches", pa.Table.from_pylist(rows, _BATCHES()))
    connection.execute("INSERT INTO push_batches BY NAME FROM batches")
    connection.unregister("batches")
    return numbered


_MEASURED = cache(lambda: pa.schema({"device": pa.string(), "at": pa.timestamp("us", "UTC"), "drift": pa.float64()}))
_EVENTS = cache(
    lambda: pa.schema(
        {
            "device": pa.string(),
            "occurred_at_local": pa.timestamp("us"),
            "code": pa.int32(),
            "is_operation": pa.bool_(),
            "user_id": pa.string(),
            "detail": pa.string(),
            "received_at": pa.timestamp("us", "UTC"),
        }
    )
)
_STAMPS = cache(
    lambda: pa.schema(
        {
            "serial_number": pa.string(),
            "table_name": pa.string(),
            "stamp": pa.string(),
            "at": pa.timestamp("us", "UTC"),
        }
    )
)
_BATCHES = cache(
    lambda: pa.schema(
        {
            "id": pa.int64(),
            "serial": pa.string(),
            "device": pa.string(),
            "table_name": pa.string(),
            "stamp": pa.string(),
            "received_at": pa.timestamp("us", "UTC"),
            "lines": pa.int32(),
            "stored": pa.int32(),
            "duplicates": pa.int32(),
            "quarantined": pa.int32(),
            "other": pa.int32(),
            "lag_seconds": pa.float64(),
        }
    )
)
