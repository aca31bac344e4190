"""Persists complete readings: punches, quarantined records, user lists and poll records."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from zk_pipeline.attendance.clock_errors import (
    MAX_CLOCK_ERROR_SECONDS,
    doubtful_punches,
    drift_in_zone,
    is_wrong,
    seconds_ahead,
)
from zk_pipeline.data_libraries import np, pa, pc, pd
from zk_pipeline.devices.models import Device, Reading, punches_frame
from zk_pipeline.devices.protocol.events import LivePunch
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.terminals.devices import Registration, check_registrations, record_successes, registration
from zk_pipeline.store.terminals.ingest import (
    PUNCHES,
    REJECTED,
    FetchedTable,
    Inserted,
    insert_punches,
    insert_rejected,
    mark_released,
    next_poll_id,
    punches_table,
    rejected_table,
    replace_users,
    users_table,
)
from zk_pipeline.store.terminals.log_positions import keep_positions, records_accounted_for
from zk_pipeline.store.terminals.punch_versions import punch_versions
from zk_pipeline.store.terminals.slots import attribute, record_lists

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class IngestResult:
    """Result of one stored reading: counts as in `device_polls`, and new punches per work date.

    `punch_version`: as in `punch_versions`, after this poll.
    """

    poll_id: int
    fetched: int
    stored: int
    new: int
    quarantined: int
    touched: dict[date, int]
    punch_version: str | None = None
    warnings: tuple[str, ...] = ()  # of the reading and of its content


@dataclass(frozen=True, kw_only=True)
class FinishedReading:
    """A complete reading of a device's log, with its start and end."""

    device: Device
    reading: Reading
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class FailedPoll:
    """A failed poll; `mode` is `live` for a failure of live capture."""

    device: str
    started_at: datetime
    finished_at: datetime
    error_code: str
    error: str
    mode: str | None = None


@dataclass(frozen=True)
class PreparedReading:
    """A reading as Arrow tables, prepared before the lock; `users` is None if no list was read. Instants are those of
    `zone`. `fetched`: number of records read; `accounted_for`: as in `device_polls`; `has_frames`: False for a reading
    of another process, of which `finished` has empty frames.
    """

    finished: FinishedReading
    zone: str
    punches: pa.Table
    rejected: pa.Table
    users: pa.Table | None
    fetched: int
    accounted_for: int
    run_id: str | None = None
    has_frames: bool = True

    @classmethod
    def of(cls, finished: FinishedReading) -> PreparedReading:
        reading, zone = finished.reading, finished.device.timezone
        return cls(
            finished,
            zone,
            punches=punches_table(reading.punches, zone),
            rejected=rejected_table(reading.rejected),
            users=None if reading.users is None else users_table(reading.users),
            fetched=len(reading.punches) + len(reading.rejected),
            accounted_for=records_accounted_for(reading),
        )

    def in_zone(self, zone: str) -> PreparedReading:
        """The same with the instants of another zone, to which the device was changed since the reading.

        Raises RuntimeError without frames: then the process that has them must store the reading.
        """
        if zone == self.zone:
            return self
        if not self.has_frames:
            raise RuntimeError(f"{self.finished.device.name}: its zone changed, and its frames are in another process")
        reading = self.finished.reading
        info = reading.info
        drift = drift_in_zone(info.clock_drift_seconds, info.clock_local, zone=self.zone, other=zone)
        finished = replace(self.finished, reading=replace(reading, info=replace(info, clock_drift_seconds=drift)))
        return replace(self, finished=finished, zone=zone, punches=punches_table(reading.punches, zone))


def ingest(connection: Connection, come: Sequence[PreparedReading], *, now: datetime) -> list[IngestResult]:
    """Store one reading each of different devices, in the caller's transaction; returns results in order.

    Registrations are read in this transaction, because the zone of a device may have changed since the start of the
    poll. Raises ReadingRefused if another terminal was read, or a device whose registration changed.
    """
    registered = check_registrations(connection, [(one.finished.device, one.finished.reading.info) for one in come])
    come = [one.in_zone(registered[one.finished.device.name].timezone) for one in come]
    first = next_poll_id(connection)
    numbered = [(first + number, one.finished.device.name, one) for number, one in enumerate(come)]
    _record_users(connection, numbered, now)
    polled = {
        name: (one.finished.reading.info, one.finished.reading.log_layout, one.finished.finished_at)
        for _, name, one in numbered
    }
    record_successes(connection, polled)
    attributed = [_attributed(connection, poll, one, registered[name], now) for poll, name, one in numbered]
    inserted = insert_punches(connection, [punches for punches, _ in attributed], now)
    insert_rejected(connection, [rejected for _, rejected in attributed], now)
    keep_positions(connection, {name: one.finished.reading for _, name, one in numbered}, now)
    drifts = [
        _doubted_drift(one.finished.reading.info.clock_drift_seconds, registered[name]) for _, name, one in numbered
    ]
    new_polls = {name: poll for (poll, name, _), done in zip(numbered, inserted, strict=True) if done.new}
    versions = punch_versions(connection, [name for _, name, _ in numbered], new_polls=new_polls)
    ingested = [
        _ingested(
            poll,
            one,
            done,
            len(rejected.table),
            drift=drift,
            punch_version=versions.get(name),
        )
        for (poll, name, one), done, (_, rejected), drift in zip(numbered, inserted, attributed, drifts, strict=True)
    ]
    polls = [
        _poll(one, done) | {"doubted_drift_seconds": drift}
        for one, done, drift in zip(come, ingested, drifts, strict=True)
    ]
    _insert_polls(connection, polls)
    return ingested


def _record_users(connection: Connection, numbered: Sequence[tuple[int, str, PreparedReading]], now: datetime) -> None:
    listed = [FetchedTable(name, poll, one.users) for poll, name, one in numbered if one.users is not None]
    if not listed:
        return
    lists = pa.concat_tables([_of_device(one.table, one.device) for one in listed])
    read_at = {name: one.finished.finished_at for _, name, one in numbered if one.users is not None}
    current = record_lists(connection, lists, read_at)
    replace_users(connection, [one for one in listed if one.device in current], now)


def _attributed(
    connection: Connection, poll: int, come: PreparedReading, registered: Registration, now: datetime
) -> tuple[FetchedTable, FetchedTable]:
    """Punches of a reading with their users, and the records without a user."""
    device = come.finished.device.name
    punches, rejected = come.punches, come.rejected
    if punches["uid"].null_count < len(punches):
        punches, unattributed = attribute_slots(
            connection,
            device,
            punches,
            listed_before=registered.user_lists_at_reading,
            listed_after=registered.user_lists + 1,
        )
        mark_released(connection, device, punches["raw"].to_pylist(), now)
        rejected = pa.concat_tables([rejected, unattributed])
    doubt = None
    if registered.clock_right_at is not None:
        doubt = pa.array(
            doubtful_punches(
                _instants(punches),
                drift_seconds=come.finished.reading.info.clock_drift_seconds,
                wrong_by=registered.clock_wrong_by,
                read_before=registered.last_sync,
                read_at=come.finished.finished_at,
            )
        )
    return FetchedTable(device, poll, punches, doubt), FetchedTable(device, poll, rejected)


def _doubted_drift(drift_seconds: float | None, registered: Registration) -> float | None:
    """Drift that made new punches suspect; None if none can be."""
    if registered.clock_right_at is None:
        return None
    return drift_seconds if is_wrong(drift_seconds) else registered.clock_wrong_by


def attribute_slots(
    connection: Connection, device: str, records: pa.Table, *, listed_before: int, listed_after: int
) -> tuple[pa.Table, pa.Table]:
    """Records of `device` that name only a slot, split into punches with their users, each once, and rejected records.

    `listed_before` and `listed_after`: see `slots.attribute`.
    """
    rows = len(records)
    asked = records.drop_columns(["user_id"])
    for name, value in (("listed_before", listed_before), ("listed_after", listed_after)):
        asked = asked.append_column(name, pa.array([value] * rows, pa.int32()))
    attributed = attribute(connection, _of_device(asked, device))
    if pc.any(attributed["is_unslotted"]).as_py():
        _keep_slots(connection, attributed.filter(attributed["is_unslotted"]))
    has_user = pc.is_valid(attributed["user_id"])
    punches = attributed.filter(has_user).select(PUNCHES().names).cast(PUNCHES())
    return _once(punches), attributed.filter(pc.invert(has_user)).select(REJECTED().names).cast(REJECTED())


def ingest_live(connection: Connection, device: str, punches: Sequence[LivePunch], poll_id: int, now: datetime) -> int:
    """Store live punches of one device, in the caller's transaction; returns the number of new ones."""
    registered = registration(connection, device)
    tables = [punches_table(_live_frame([one for one in punches if one.uid is None]), registered.timezone)]
    tables += [_attributed_live(connection, device, events, poll_id, now) for events in _by_list(punches)]
    named = _once(pa.concat_tables(tables))  # the same punch may be reported twice
    doubt = None
    if registered.clock_right_at is not None:
        received_at = max(one.received_at for one in punches)
        ahead = seconds_ahead(_instants(named), received_at)
        doubted = np.abs(ahead) > MAX_CLOCK_ERROR_SECONDS
        doubt = pa.array(doubted)
        if doubted.any():
            drift = float(np.median(ahead[doubted]))
            connection.execute("UPDATE device_polls SET doubted_drift_seconds = ? WHERE id = ?", [drift, poll_id])
    return insert_punches(connection, [FetchedTable(device, poll_id, named, doubt, source="live")], now)[0].new


def _attributed_live(
    connection: Connection, device: str, punches: Sequence[LivePunch], poll_id: int, now: datetime
) -> pa.Table:
    """Live punches that name a slot, with the user of that slot in the user list read directly after them.

    Empty if a later list is stored: the poll that read it has also read these records and attributes them.
    """
    before = registration(connection, device)
    assert punches[0].users is not None
    listed = FetchedTable(device, poll_id, users_table(punches[0].users))
    table = _of_device(listed.table, device)
    records = punches_table(_live_frame(punches), before.timezone)
    if not record_lists(connection, table, {device: max(one.received_at for one in punches)}):
        return records.slice(0, 0)
    replace_users(connection, [listed], now)
    number = before.user_lists + 1
    attributed, _ = attribute_slots(connection, device, records, listed_before=number, listed_after=number)
    return attributed


def _by_list(punches: Sequence[LivePunch]) -> list[list[LivePunch]]:
    """Punches that name only a slot, grouped by the user list read after them; those without one are left out."""
    by_slot = [one for one in punches if one.uid is not None and one.users is not None]
    return [list(events) for _, events in groupby(by_slot, key=lambda one: id(one.users))]


def _of_device(table: pa.Table, device: str) -> pa.Table:
    """The table with the column `device`."""
    return table.append_column("device", pa.array([device] * len(table), pa.string()))


def _once(punches: pa.Table) -> pa.Table:
    """The first of each (user_id, punched_at_local)."""
    numbered = punches.append_column("row", pa.array(range(len(punches)), pa.int64()))
    firsts = numbered.group_by(["user_id", "punched_at_local"]).aggregate([("row", "min")])["row_min"]
    return punches.take(firsts.combine_chunks().sort())


def _instants(punches: pa.Table) -> npt.NDArray[np.datetime64]:
    """`punched_at` as datetime64[us], UTC."""
    instants: npt.NDArray[np.datetime64] = punches["punched_at"].to_numpy().astype("datetime64[us]")
    return instants


def _live_frame(punches: Sequence[LivePunch]) -> pd.DataFrame:
    """As Reading.punches."""
    verify_types = [one.verify_type for one in punches]
    return punches_frame(
        user_id=[one.user_id for one in punches],
        uid=[one.uid for one in punches],
        punched_at_local=[one.punched_at_local for one in punches],
        status=verify_types,
        punch_state=[one.punch_state for one in punches],
        verify_type=verify_types,
    )


def _keep_slots(connection: Connection, attributed: pa.Table) -> None:
    """Add slots to punches that an earlier version stored without them, when a reading contains them again."""
    connection.register("attributed", attributed)
    connection.execute(
        """
        UPDATE raw_punches SET uid = attributed.uid FROM attributed
        WHERE raw_punches.device = attributed.device AND raw_punches.user_id = attributed.user_id
          AND raw_punches.punched_at_local = attributed.punched_at_local AND raw_punches.uid IS NULL
        """
    )
    connection.unregister("attributed")


def record_failures(connection: Connection, failed: Sequence[FailedPoll], run_id: str | None) -> list[int]:
    """Record failed polls, in the caller's transaction; returns their ids in order."""
    ids = list(range(first := next_poll_id(connection), first + len(failed)))
    _insert_polls(
        connection,
        [
            {
                "id": poll_id, "device": one.device, "started_at": one.started_at, "finished_at": one.finished_at,
                "status": "failed", "mode": one.mode, "run_id": run_id, "error_code": one.error_code,
                "error": one.error,
            }
            for poll_id, one in zip(ids, failed, strict=True)
        ],
    )  # fmt: skip
    return ids


_POLLS = cache(
    lambda: pa.schema(
        {
            "id": pa.int64(),
            "device": pa.string(),
            "started_at": pa.timestamp("us", "UTC"),
            "finished_at": pa.timestamp("us", "UTC"),
            "status": pa.string(),
            "reported": pa.int64(),
            "record_count_after": pa.int64(),
            "fetched": pa.int64(),
            "stored": pa.int64(),
            "new": pa.int64(),
            "quarantined": pa.int64(),
            "clock_drift_seconds": pa.float64(),
            "doubted_drift_seconds": pa.float64(),
            "round_trip_ms": pa.float64(),
            "transport": pa.string(),
            "layout": pa.int32(),
            "bytes_read": pa.int64(),
            "mode": pa.string(),
            "records_accounted_for": pa.int64(),
            "run_id": pa.string(),
            "error_code": pa.string(),
            "error": pa.string(),
            "warnings": pa.string(),
        }
    )
)


def _doubts(device: str, punches: int, drift: float | None) -> list[str]:
    if not punches:
        return []
    why = "have an implausible time" if drift is None else f"came while its clock was {drift:+,.0f} s off"
    return [
        f"{device}: {punches} new punches {why}: they are part of no day. `zk-pipeline device set-clock "
        f"{shlex.quote(device)}` sets the clock; `zk-pipeline doctor` shows how to correct them."
    ]


def _ingested(
    poll_id: int,
    come: PreparedReading,
    inserted: Inserted,
    quarantined: int,
    *,
    drift: float | None,
    punch_version: str | None,
) -> IngestResult:
    return IngestResult(
        poll_id=poll_id,
        fetched=come.fetched,
        stored=inserted.stored,
        new=inserted.new,
        quarantined=quarantined,
        touched=inserted.touched,
        punch_version=punch_version,
        warnings=(*come.finished.reading.warnings, *_doubts(come.finished.device.name, inserted.in_doubt, drift)),
    )


def _poll(come: PreparedReading, ingested: IngestResult) -> dict[str, object]:
    """A row of `device_polls`."""
    finished, reading = come.finished, come.finished.reading
    return {
        "id": ingested.poll_id,
        "device": finished.device.name,
        "started_at": finished.started_at,
        "finished_at": finished.finished_at,
        "status": "success",
        "reported": reading.info.record_count,
        "record_count_after": reading.record_count_after,
        "fetched": ingested.fetched,
        "stored": ingested.stored,
        "new": ingested.new,
        "quarantined": ingested.quarantined,
        "clock_drift_seconds": reading.info.clock_drift_seconds,
        "round_trip_ms": reading.info.round_trip_ms,
        "transport": reading.info.transport,
        "layout": reading.layout,
        "bytes_read": reading.bytes_read,
        "mode": reading.mode,
        "records_accounted_for": come.accounted_for,
        "run_id": come.run_id,
        "warnings": "\n".join(ingested.warnings) or None,
    }


def _insert_polls(connection: Connection, polls: list[dict[str, object]]) -> None:
    connection.register("polls", pa.Table.from_pylist(polls, _POLLS()))
    connection.execute("INSERT INTO device_polls BY NAME FROM polls")
    connection.unregister("polls")
