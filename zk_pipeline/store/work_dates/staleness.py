"""Stale work dates, read from the store; no cursor that can be lost.

`work_dates.latest_punch_seq` is raised in the transaction that stores a punch; `processed_seq` is written with the
attendance days that are processed from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time

from zk_pipeline.attendance.shifts import Hours
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.assignment import assign_work_dates, stored_hours, stored_workday_start
from zk_pipeline.store.work_dates.retention_boundaries import freeze_boundaries
from zk_pipeline.store.work_dates.sequence import STALE_SITES, mark_stale, next_seq
from zk_pipeline.store.work_dates.shift_changes import changing_shifts


@dataclass(frozen=True)
class StaleDate:
    """A work date with punches newer than its rows, or processed before the day was over.

    `processed_seq`: of the punches that its rows were computed from; `processed_at`: None before the first processing;
    `ended_at`: the end of a day that was processed before it was over; `sites`: those whose rows are to be computed,
    None for all.
    """

    work_date: date
    latest_punch_seq: int
    processed_seq: int
    processed_at: datetime | None
    ended_at: datetime | None
    sites: list[str] | None = None

    @property
    def version(self) -> str:
        """Identifies the punches and the rows: a date that becomes stale again has another version."""
        ended = f" {self.ended_at.isoformat()}" if self.ended_at else ""
        return f"{self.latest_punch_seq}/{self.processed_seq}{ended}"


def apply_workday_start(connection: Connection, starts_at: time) -> None:
    """Apply a changed start of work dates: every date of the old and the new assignment becomes stale."""
    if starts_at == stored_workday_start(connection):
        return
    freeze_boundaries(connection)
    seq = next_seq(connection)
    keep_setting(connection, "workday_starts_at", starts_at.isoformat())
    placing = assign_work_dates(connection)
    connection.execute(
        f"""
        CREATE TEMP TABLE regrouped AS
        SELECT work_date, $seq::BIGINT AS seq FROM work_dates WHERE raw_purged_at IS NULL
        UNION
        SELECT DISTINCT {placing.work_date} AS work_date, $seq
        FROM {placing.punches} AS punch {placing.join}
        WHERE work_date NOT IN (SELECT work_date FROM work_dates)
        """,  # noqa: S608 (constant SQL)
        {"seq": seq},
    )
    mark_stale(connection, "regrouped")
    connection.execute("DROP TABLE regrouped")


def apply_work_hours(connection: Connection, hours: Hours) -> None:
    """Apply changed work hours, which determine the start of work dates next to those with shifts."""
    if hours == stored_hours(connection, stored_workday_start(connection)):
        return
    with changing_shifts(connection):
        is_set = hours.workday_starts_at is not None
        keep_setting(connection, "work_hours", f"{hours.start:%H:%M} {hours.end:%H:%M} {is_set}")


def keep_setting(connection: Connection, name: str, value: str) -> None:
    connection.execute("DELETE FROM store_settings WHERE name = ?", [name])
    connection.execute("INSERT INTO store_settings VALUES (?, ?)", [name, value])


def stale_dates(connection: Connection, *, first: date, last: date, now: datetime) -> list[StaleDate]:
    """Stale work dates from `first` to `last`, in order."""
    rows = connection.execute(
        f"""
        SELECT work_date, latest_punch_seq, processed_seq, processed_at,
               CASE WHEN reprocess_after <= $now THEN reprocess_after END, {STALE_SITES}
        FROM work_dates
        WHERE work_date BETWEEN $first AND $last
          AND raw_purged_at IS NULL
          AND (latest_punch_seq > processed_seq OR reprocess_after <= $now)
        ORDER BY work_date
        """,  # noqa: S608 (constant SQL)
        {"first": first, "last": last, "now": now},
    ).fetchall()
    return [StaleDate(*row) for row in rows]


def dates_outside(connection: Connection, *, first: date, last: date) -> list[date]:
    """Work dates with punches before `first` or after `last`, in order."""
    rows = connection.execute(
        "SELECT work_date FROM work_dates WHERE work_date NOT BETWEEN ? AND ? ORDER BY 1", [first, last]
    ).fetchall()
    return [row[0] for row in rows]
