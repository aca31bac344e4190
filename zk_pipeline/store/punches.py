"""What polls bring: rows of `device_polls`, `raw_punches`, `quarantined_records` and `device_users`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time

import pandas as pd
import pyarrow as pa

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.devices import record_success
from zk_pipeline.store.work_dates import adopt_workday_start, minutes, next_seq, touch, workday_starts_at


@dataclass(frozen=True)
class Ingested:
    """What one reading changed: counts as in `device_polls`, and new punches per work date."""

    poll_id: int
    fetched: int
    stored: int
    new: int
    quarantined: int
    touched: dict[date, int]


@dataclass(frozen=True)
class FailedPoll:
    """A poll that brought nothing."""

    device: str
    started_at: datetime
    finished_at: datetime
    error_code: str
    error: str


@dataclass(frozen=True)
class PollRecord:
    """A row of `device_polls`; the counts are None where the poll failed."""

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
    error_code: str | None
    error: str | None


@dataclass(frozen=True)
class PunchStore:
    database: Database
    clock: Callable[[], datetime]

    def ingest(
        self, device: Device, reading: Reading, *, started_at: datetime, finished_at: datetime, run_id: str | None
    ) -> Ingested:
        """Store one complete reading, in one transaction; doing it again stores nothing new.

        New are the punches whose (user_id, punched_at_local) this device has not brought before. Those of work dates
        that retention has cleared are left out, since the terminal goes on holding them: `stored` does not count
        them.
        """
        punches = _punches_table(reading.punches, device.timezone)
        rejected = pa.Table.from_pandas(reading.rejected[["raw", "reason"]], preserve_index=False)
        users = None if reading.users is None else pa.Table.from_pandas(reading.users, preserve_index=False)
        now = self.clock()
        with self.database.write(f"store poll of {device.name}") as connection:
            poll_id = _next_poll_id(connection)
            stored, new, touched = _insert_punches(connection, device.name, punches, poll_id, now)
            _insert_rejected(connection, device.name, rejected, poll_id, now)
            if users is not None:
                _replace_users(connection, device.name, users, now)
            record_success(connection, device.name, reading.info, finished_at)
            ingested = Ingested(poll_id, len(reading.punches) + len(rejected), stored, new, len(rejected), touched)
            connection.execute(
                """
                INSERT INTO device_polls (id, device, started_at, finished_at, status, reported, reported_after,
                    fetched, stored, "new", quarantined, clock_drift_seconds, round_trip_ms, transport, layout,
                    bytes_read, run_id)
                VALUES (?, ?, ?, ?, 'success', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
                [
                    poll_id, device.name, started_at, finished_at,
                    reading.info.record_count, reading.reported_after, ingested.fetched, stored, new, len(rejected),
                    reading.info.clock_drift_seconds, reading.info.round_trip_ms, reading.info.transport,
                    reading.layout, reading.bytes_read, run_id,
                ],
            )  # fmt: skip
        return ingested

    def record_failure(self, failed: FailedPoll, *, run_id: str | None) -> int:
        """Put a failed poll on record; returns its id."""
        with self.database.write(f"record failed poll of {failed.device}") as connection:
            poll_id = _next_poll_id(connection)
            connection.execute(
                """
                INSERT INTO device_polls (id, device, started_at, finished_at, status, run_id, error_code, error)
                VALUES (?, ?, ?, ?, 'failed', ?, ?, ?)
                """,
                [
                    poll_id, failed.device, failed.started_at, failed.finished_at,
                    run_id, failed.error_code, failed.error,
                ],
            )  # fmt: skip
        return poll_id

    def adopt_workday_start(self, starts_at: time) -> None:
        """Make the stored grouping by work date that of the settings; free where it is already."""
        with self.database.read("workday start") as connection:
            if workday_starts_at(connection) == starts_at:
                return
        with self.database.write("regroup work dates") as connection:
            adopt_workday_start(connection, starts_at)

    def preview(self, device: str, poll_id: int, limit: int = 5) -> pd.DataFrame:
        """The newest punches that a poll brought, for people: user_id, punched_at_local, punch_state, verify_type."""
        with self.database.read("preview punches") as connection:
            return connection.execute(
                """
                SELECT user_id, punched_at_local, punch_state, verify_type
                FROM raw_punches
                WHERE device = ? AND first_poll_id = ?
                ORDER BY seq DESC LIMIT ?
                """,
                [device, poll_id, limit],
            ).df()

    def polls_of(self, run_id: str) -> list[PollRecord]:
        """The polls of one Dagster run, by device."""
        with self.database.read("polls of a run") as connection:
            rows = connection.execute(
                """
                SELECT id, device, started_at, finished_at, status, reported, fetched, stored, "new", quarantined,
                       clock_drift_seconds, error_code, error
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


def _punches_table(punches: pd.DataFrame, zone: str) -> pa.Table:
    """The frame as Arrow, with instants, each (user_id, punched_at_local) once: prepared before the lock is taken."""
    once = punches.drop_duplicates(["user_id", "punched_at_local"])
    once = once.assign(
        punched_at=to_instants(once["punched_at_local"], zone),
        punched_at_local=once["punched_at_local"].astype("datetime64[us]"),
    )
    return pa.Table.from_pandas(once, preserve_index=False)


def _next_poll_id(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM device_polls").fetchone()
    assert row is not None
    return int(row[0])


def _insert_punches(
    connection: Connection, device: str, punches: pa.Table, poll_id: int, now: datetime
) -> tuple[int, int, dict[date, int]]:
    if not len(punches):
        return 0, 0, {}
    connection.register("incoming", punches)
    seq, offset = next_seq(connection), minutes(workday_starts_at(connection))
    cleared = connection.execute(
        """
        SELECT count(*) FROM incoming
        WHERE CAST(punched_at_local - to_minutes(?) AS DATE)
              IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NOT NULL)
        """,
        [offset],
    ).fetchone()
    assert cleared is not None
    connection.execute(
        """
        CREATE TEMP TABLE fresh AS
        WITH span AS (SELECT min(punched_at_local) AS first, max(punched_at_local) AS last FROM incoming),
        known AS (
            SELECT user_id, punched_at_local
            FROM raw_punches, span
            WHERE device = $device AND punched_at_local BETWEEN span.first AND span.last
        )
        SELECT incoming.*,
               $seq + row_number() OVER (ORDER BY punched_at_local, user_id) - 1 AS seq,
               CAST(punched_at_local - to_minutes($offset) AS DATE) AS work_date
        FROM incoming ANTI JOIN known USING (user_id, punched_at_local)
        WHERE work_date NOT IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NOT NULL)
        """,
        {"device": device, "seq": seq, "offset": offset},
    )
    connection.execute(
        """
        INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type,
                                 first_poll_id, seq, created_at)
        SELECT $device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, $poll_id, seq, $now
        FROM fresh ORDER BY seq
        """,
        {"device": device, "poll_id": poll_id, "now": now},
    )
    touch(connection, "fresh")
    rows = connection.execute("SELECT work_date, count(*) FROM fresh GROUP BY 1 ORDER BY 1").fetchall()
    connection.execute("DROP TABLE fresh")
    connection.unregister("incoming")
    touched = dict(rows)
    return len(punches) - int(cleared[0]), sum(touched.values()), touched


def _insert_rejected(connection: Connection, device: str, rejected: pa.Table, poll_id: int, now: datetime) -> None:
    if not len(rejected):
        return
    connection.register("rejected", rejected)
    connection.execute(
        """
        INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at)
        SELECT DISTINCT $device, raw, reason, $poll_id, $now
        FROM rejected
        ANTI JOIN (SELECT raw, reason FROM quarantined_records WHERE device = $device) AS known USING (raw, reason)
        """,
        {"device": device, "poll_id": poll_id, "now": now},
    )
    connection.unregister("rejected")


def _replace_users(connection: Connection, device: str, users: pa.Table, now: datetime) -> None:
    connection.register("enrolled", users)
    connection.execute(
        """
        DELETE FROM device_users
        WHERE device = $device AND (user_id, uid, name, privilege, card) NOT IN (
            SELECT (user_id, uid::INTEGER, name, privilege::INTEGER, card::BIGINT) FROM enrolled
        )
        """,
        {"device": device},
    )
    connection.execute(
        """
        INSERT INTO device_users (device, user_id, uid, name, privilege, card, updated_at)
        SELECT $device, user_id, uid, name, privilege, card, $now
        FROM enrolled
        ANTI JOIN (SELECT user_id, uid FROM device_users WHERE device = $device) AS known USING (user_id, uid)
        """,
        {"device": device, "now": now},
    )
    connection.unregister("enrolled")
