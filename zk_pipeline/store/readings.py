"""One complete reading of a terminal, kept: its punches, records that are none, people, and the poll itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.store.database import Connection
from zk_pipeline.store.devices import record_success
from zk_pipeline.store.ingest import insert_punches, insert_rejected, next_poll_id, punches_table, replace_users
from zk_pipeline.store.tails import accounted, keep_tail


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
class Incoming:
    """The tables of a reading; `users` is None where no list was read."""

    punches: pa.Table
    rejected: pa.Table
    users: pa.Table | None


def incoming(finished: FinishedReading) -> Incoming:
    """What a reading brings, as tables: prepared before the store is held."""
    reading = finished.reading
    return Incoming(
        punches=punches_table(reading.punches, finished.device.timezone),
        rejected=pa.Table.from_pandas(reading.rejected[["raw", "reason"]], preserve_index=False),
        users=None if reading.users is None else pa.Table.from_pandas(reading.users, preserve_index=False),
    )


def ingest(
    connection: Connection, finished: FinishedReading, come: Incoming, *, now: datetime, run_id: str | None
) -> Ingested:
    """Store one reading, in the caller's transaction."""
    device, reading = finished.device.name, finished.reading
    poll_id = next_poll_id(connection)
    stored, new, touched = insert_punches(connection, device, come.punches, poll_id, now)
    insert_rejected(connection, device, come.rejected, poll_id, now)
    if come.users is not None:
        replace_users(connection, device, come.users, now)
    record_success(connection, device, reading.info, finished.finished_at)
    keep_tail(connection, device, reading, now)
    rejected = len(come.rejected)
    ingested = Ingested(poll_id, len(reading.punches) + rejected, stored, new, rejected, touched)
    connection.execute(
        """
        INSERT INTO device_polls (id, device, started_at, finished_at, status, reported, reported_after,
            fetched, stored, "new", quarantined, clock_drift_seconds, round_trip_ms, transport, layout,
            bytes_read, mode, accounted, run_id)
        VALUES (?, ?, ?, ?, 'success', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        [
            poll_id, device, finished.started_at, finished.finished_at,
            reading.info.record_count, reading.reported_after, ingested.fetched, stored, new, rejected,
            reading.info.clock_drift_seconds, reading.info.round_trip_ms, reading.info.transport,
            reading.layout, reading.bytes_read, reading.mode, accounted(reading), run_id,
        ],
    )  # fmt: skip
    return ingested
