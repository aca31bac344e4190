"""Complete readings of terminals, kept: their punches, records that are none, people, and the polls themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.store.database import Connection
from zk_pipeline.store.devices import record_successes
from zk_pipeline.store.ingest import (
    Brought,
    Inserted,
    insert_punches,
    insert_rejected,
    next_poll_id,
    punches_table,
    rejected_table,
    replace_users,
    users_table,
)
from zk_pipeline.store.tails import accounted, keep_tails


@dataclass(frozen=True)
class Ingested:
    """What one reading changed: counts as in `device_polls`, and new punches per work date."""

    poll_id: int
    fetched: int
    stored: int
    new: int
    quarantined: int
    touched: dict[date, int]


@dataclass(frozen=True, kw_only=True)
class FinishedReading:
    """A complete reading of a device's log, and when it was made."""

    device: Device
    reading: Reading
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True)
class FailedPoll:
    """A poll that brought nothing."""

    device: str
    started_at: datetime
    finished_at: datetime
    error_code: str
    error: str


@dataclass(frozen=True)
class Incoming:
    """A reading with what it brings as tables, prepared before the store is held; `users` is None where no list was
    read.
    """

    finished: FinishedReading
    punches: pa.Table
    rejected: pa.Table
    users: pa.Table | None

    @classmethod
    def of(cls, finished: FinishedReading) -> Incoming:
        reading = finished.reading
        return cls(
            finished,
            punches=punches_table(reading.punches, finished.device.timezone),
            rejected=rejected_table(reading.rejected),
            users=None if reading.users is None else users_table(reading.users),
        )


def rounds(come: Sequence[Incoming]) -> Iterator[list[Incoming]]:
    """In order, those that can be stored together: a device that was read twice comes in two of them."""
    together: list[Incoming] = []
    devices: set[str] = set()
    for one in come:
        name = one.finished.device.name
        if name in devices:
            yield together
            together, devices = [], set()
        together.append(one)
        devices.add(name)
    if together:
        yield together


def ingest(connection: Connection, come: Sequence[Incoming], *, now: datetime, run_id: str | None) -> list[Ingested]:
    """Store one reading each of different devices, in the caller's transaction; what each changed, in order."""
    first = next_poll_id(connection)
    numbered = [(first + number, one.finished.device.name, one) for number, one in enumerate(come)]
    inserted = insert_punches(connection, [Brought(name, poll, one.punches) for poll, name, one in numbered], now)
    insert_rejected(connection, [Brought(name, poll, one.rejected) for poll, name, one in numbered], now)
    listed = [Brought(name, poll, one.users) for poll, name, one in numbered if one.users is not None]
    replace_users(connection, listed, now)
    told = {name: (one.finished.reading, one.finished.finished_at) for _, name, one in numbered}
    record_successes(connection, {name: (reading.info, reading.log_layout, at) for name, (reading, at) in told.items()})
    keep_tails(connection, {name: one.finished.reading for _, name, one in numbered}, now)
    ingested = [_ingested(poll, one, done) for (poll, _, one), done in zip(numbered, inserted, strict=True)]
    polls = [_poll(one.finished, done, run_id) for one, done in zip(come, ingested, strict=True)]
    _insert_polls(connection, polls)
    return ingested


def record_failures(connection: Connection, failed: Sequence[FailedPoll], run_id: str | None) -> list[int]:
    """Put failed polls on record, in the caller's transaction; their ids, in order."""
    ids = list(range(first := next_poll_id(connection), first + len(failed)))
    _insert_polls(
        connection,
        [
            {
                "id": poll_id, "device": one.device, "started_at": one.started_at, "finished_at": one.finished_at,
                "status": "failed", "run_id": run_id, "error_code": one.error_code, "error": one.error,
            }
            for poll_id, one in zip(ids, failed, strict=True)
        ],
    )  # fmt: skip
    return ids


_POLLS = pa.schema(
    {
        "id": pa.int64(),
        "device": pa.string(),
        "started_at": pa.timestamp("us", "UTC"),
        "finished_at": pa.timestamp("us", "UTC"),
        "status": pa.string(),
        "reported": pa.int64(),
        "reported_after": pa.int64(),
        "fetched": pa.int64(),
        "stored": pa.int64(),
        "new": pa.int64(),
        "quarantined": pa.int64(),
        "clock_drift_seconds": pa.float64(),
        "round_trip_ms": pa.float64(),
        "transport": pa.string(),
        "layout": pa.int32(),
        "bytes_read": pa.int64(),
        "mode": pa.string(),
        "accounted": pa.int64(),
        "run_id": pa.string(),
        "error_code": pa.string(),
        "error": pa.string(),
    }
)


def _ingested(poll_id: int, come: Incoming, inserted: Inserted) -> Ingested:
    return Ingested(
        poll_id=poll_id,
        fetched=len(come.finished.reading.punches) + len(come.rejected),
        stored=inserted.stored,
        new=inserted.new,
        quarantined=len(come.rejected),
        touched=inserted.touched,
    )


def _poll(finished: FinishedReading, ingested: Ingested, run_id: str | None) -> dict[str, object]:
    """A row of `device_polls`."""
    reading = finished.reading
    return {
        "id": ingested.poll_id,
        "device": finished.device.name,
        "started_at": finished.started_at,
        "finished_at": finished.finished_at,
        "status": "success",
        "reported": reading.info.record_count,
        "reported_after": reading.reported_after,
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
        "accounted": accounted(reading),
        "run_id": run_id,
    }


def _insert_polls(connection: Connection, polls: list[dict[str, object]]) -> None:
    connection.register("polls", pa.Table.from_pylist(polls, _POLLS))
    connection.execute("INSERT INTO device_polls BY NAME FROM polls")
    connection.unregister("polls")
