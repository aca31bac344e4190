"""Polls and their content: rows of `device_polls`, `raw_punches`, `quarantined_records` and `device_users`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from itertools import islice

import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.models import Device, LogPosition, Reading
from zk_pipeline.devices.protocol.events import LivePunch
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.engine.shared_write import SharedWrite
from zk_pipeline.store.terminals.ingest import batches_without_repeats, count_missing, next_poll_id, punches_table
from zk_pipeline.store.terminals.log_positions import usable_positions
from zk_pipeline.store.terminals.poll_results import (
    FailedPoll,
    FinishedReading,
    IngestResult,
    PreparedReading,
    ingest,
    ingest_live,
    record_failures,
)
from zk_pipeline.store.terminals.shared_readings import (
    KIND,
    decode_readings,
    decode_results,
    encode_readings,
    encode_results,
)
from zk_pipeline.store.work_dates.assignment import stored_workday_start
from zk_pipeline.store.work_dates.configured_hours import rejudge
from zk_pipeline.store.work_dates.settings_changes import apply_settings, is_applied
from zk_pipeline.store.work_dates.staleness import apply_workday_start


@dataclass(frozen=True)
class PollRecord:
    """A row of `device_polls`; the counts are None if the poll failed."""

    id: int
    device: str
    started_at: datetime
    finished_at: datetime
    status: str
    reported: int | None
    fetched: int | None
    stored: int | None
    new: int | None
    quarantined: int | None
    drift_seconds: float | None
    mode: str | None
    error_code: str | None
    error: str | None
    warnings: str | None


@dataclass(frozen=True)
class PunchStore:
    database: Database
    clock: Callable[[], datetime]

    def ingest(
        self, device: Device, reading: Reading, *, started_at: datetime, finished_at: datetime, run_id: str | None
    ) -> IngestResult:
        """Store one complete reading, in one transaction. Idempotent.

        A punch is new if its (user_id, punched_at_local) is not yet stored for the device. Punches of purged work dates
        are skipped and not counted in `stored`: they are still in the terminal's log.
        """
        finished = FinishedReading(device=device, reading=reading, started_at=started_at, finished_at=finished_at)
        return self.ingest_all([finished], run_id=run_id)[0]

    def ingest_all(self, finished: Sequence[FinishedReading], *, run_id: str | None) -> list[IngestResult]:
        """As `ingest`, for several devices in one transaction with the statements of one: a statement costs more than
        the rows of most readings. On a shared store, also together with readings of other processes.
        """
        write = SharedWrite(
            item=[replace(PreparedReading.of(one), run_id=run_id) for one in finished],
            kind=KIND,
            encode=encode_readings,
            decode=decode_readings,
            store=self._store_readings,
            encode_result=encode_results,
            decode_result=decode_results,
        )
        return self.database.write_shared("store a poll", ", ".join(one.device.name for one in finished), write)

    def _store_readings(
        self, connection: Connection, groups: Sequence[Sequence[PreparedReading]]
    ) -> list[list[IngestResult]]:
        now = self.clock()
        readings = (one for group in groups for one in group)
        done = iter(
            [
                ingested
                for part in batches_without_repeats(readings, lambda one: one.finished.device.name)
                for ingested in ingest(connection, part, now=now)
            ]
        )
        return [list(islice(done, len(group))) for group in groups]

    def log_positions(self) -> dict[str, LogPosition]:
        """Log position by device; none for a device whose complete log is to be read."""
        with self.database.read("log positions") as connection:
            return usable_positions(connection, self.clock())

    def missing(self, device: Device, reading: Reading) -> int:
        """Number of punches of a reading that are not stored; those that name only a slot may be in quarantine."""
        punches = punches_table(reading.punches, device.timezone)
        with self.database.read("count missing punches", device.name) as connection:
            return count_missing(connection, device.name, punches)

    def begin_live(self, device: str) -> int:
        """Record the start of a live capture; returns the poll id for its punches."""
        now = self.clock()
        with self.database.write("begin live capture", device) as connection:
            poll_id = next_poll_id(connection)
            connection.execute(
                """
                INSERT INTO device_polls (id, device, started_at, finished_at, status, mode)
                VALUES (?, ?, ?, ?, 'success', 'live')
                """,
                [poll_id, device, now, now],
            )
        return poll_id

    def ingest_live(self, device: Device, punches: Sequence[LivePunch], *, poll_id: int) -> int:
        """Store punches of a live capture; returns the number of new ones. A later poll reads them again.

        A punch that names only a slot with an unknown holder is left to that poll. Uses the current zone of the device.
        Raises ReadingRefused for a device that is no longer registered.
        """
        with self.database.write("store live punches", device.name) as connection:
            return ingest_live(connection, device.name, punches, poll_id, self.clock())

    def record_failures(self, failed: Sequence[FailedPoll], *, run_id: str | None) -> list[int]:
        """Record failed polls, in one transaction; returns their ids in order."""
        with self.database.write("record failed polls", ", ".join(one.device for one in failed)) as connection:
            return record_failures(connection, failed, run_id)

    def apply_workday_start(self, starts_at: time) -> None:
        """Apply the start of work dates in the settings; only a read if it is unchanged."""
        with self.database.read("workday start") as connection:
            if stored_workday_start(connection) == starts_at:
                return
        with self.database.write("reassign work dates") as connection:
            apply_workday_start(connection, starts_at)

    def apply_settings(self, rules: WorkRules) -> None:
        """Apply changed hours of the settings, to the assignment of punches to work dates and to the evaluation of work
        dates from the current one on; only a read if they are unchanged.
        """
        with self.database.read("workday start") as connection:
            if is_applied(connection, rules):
                return
        with self.database.write("reassign work dates") as connection:
            apply_settings(connection, rules, self.clock())

    def rejudge(self, rules: WorkRules, first: date, last: date) -> None:
        """Apply the hours of `rules`, those of the settings, to past work dates too, which become stale."""
        self.apply_settings(rules)
        with self.database.write("rejudge work dates") as connection:
            rejudge(connection, rules, first, last)

    def preview(self, device: str, poll_id: int, limit: int = 5) -> pd.DataFrame:
        """Latest punches of a poll, for display: user_id, punched_at_local, punch_state, verify_type."""
        with self.database.read("preview punches") as connection:
            table = connection.execute(
                """
                SELECT user_id, punched_at_local, punch_state, verify_type
                FROM raw_punches
                WHERE device = ? AND first_poll_id = ?
                ORDER BY seq DESC LIMIT ?
                """,
                [device, poll_id, limit],
            ).to_arrow_table()
        return table.to_pandas()

    def polls_of(self, run_id: str) -> list[PollRecord]:
        """Polls of one Dagster run, by device."""
        with self.database.read("polls of a run") as connection:
            rows = connection.execute(
                """
                SELECT id, device, started_at, finished_at, status, reported, fetched, stored, "new", quarantined,
                       clock_drift_seconds, mode, error_code, error, warnings
                FROM device_polls WHERE run_id = ? ORDER BY device, id
                """,
                [run_id],
            ).fetchall()
        return [PollRecord(*row) for row in rows]

    def total(self) -> int:
        with self.database.read("count punches") as connection:
            row = connection.execute("SELECT count(*) FROM raw_punches").fetchone()
        assert row is not None
        return int(row[0])
