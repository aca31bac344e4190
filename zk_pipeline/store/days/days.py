"""Attendance days: punch summaries for the rules, and writes with revisions and due deliveries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from types import MappingProxyType

import pandas as pd
import pyarrow as pa

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.days.day_statistics import RangeStatistics, day_statistics
from zk_pipeline.store.days.punch_summaries import Summaries, summarize
from zk_pipeline.store.days.revisions import (
    REVISED_AT,
    count_changes,
    mark_processed,
    stage,
    stage_people,
    write_revisions,
)
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.quality.integrity import block_inconsistent_dates, repair
from zk_pipeline.store.work_dates.configured_hours import ConfiguredHours, read_configured_hours
from zk_pipeline.store.work_dates.sequence import request_all_sites
from zk_pipeline.store.work_dates.settings_changes import is_applied
from zk_pipeline.store.work_dates.staleness import StaleDate, dates_outside, stale_dates


@dataclass(frozen=True)
class DateWritten:
    """Row counts of one written work date, of all sites. `revised_at`: when its rows last changed; `is_first`: whether
    the date was not processed before; `sites`: those that were processed, None for all.
    """

    work_date: date
    rows: int
    added: int
    changed: int
    unchanged: int
    retracted: int
    revised_at: datetime | None = field(default=None, compare=False)
    is_first: bool = field(default=False, compare=False)
    sites: Sequence[str] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class DayStore:
    database: Database
    clock: Callable[[], datetime]

    def stale(self, *, first: date, last: date) -> list[StaleDate]:
        """Stale work dates from `first` to `last`: with punches newer than their rows, or processed before they were
        over.
        """
        with self.database.read("stale dates") as connection:
            return stale_dates(connection, first=first, last=last, now=self.clock())

    def stale_by(self, rules: WorkRules, *, first: date, last: date) -> list[StaleDate] | None:
        """As `stale`, for the work dates by the hours of `rules`; None if the store has other hours of the settings."""
        with self.database.read("stale dates") as connection:
            if not is_applied(connection, rules):
                return None
            return stale_dates(connection, first=first, last=last, now=self.clock())

    def dates_outside(self, *, first: date, last: date) -> list[date]:
        """Work dates with punches outside the partitions: before the start of the history, or in the future."""
        with self.database.read("dates without a partition") as connection:
            return dates_outside(connection, first=first, last=last)

    def processed_dates(self) -> list[date]:
        """Work dates that have been processed."""
        with self.database.read("processed dates") as connection:
            rows = connection.execute(
                "SELECT work_date FROM work_dates WHERE processed_at IS NOT NULL ORDER BY 1"
            ).fetchall()
        return [day for (day,) in rows]

    def request_all_sites(self, dates: Sequence[date]) -> None:
        """Let the next processing of `dates`, also one by another run, cover all sites; makes no date stale."""
        with self.database.write("request work dates", f"{len(dates)} of them") as connection:
            request_all_sites(connection, dates)

    def evaluated_dates(self, first: date, last: date) -> list[date]:
        """Work dates from `first` to `last` with attendance days and their punches, in order."""
        with self.database.read("evaluated dates") as connection:
            rows = connection.execute(
                """
                SELECT work_date FROM work_dates
                WHERE work_date BETWEEN ? AND ? AND processed_at IS NOT NULL AND raw_purged_at IS NULL ORDER BY 1
                """,
                [first, last],
            ).fetchall()
        return [day for (day,) in rows]

    def judgements(self, dates: Sequence[date]) -> pd.DataFrame:
        """Columns that the rules of a shift decide (minutes, status, outlier reason), of each day on `dates`."""
        with self.database.read("judgements of days") as connection:
            table = connection.execute(
                """
                SELECT site, user_id, work_date::TIMESTAMP AS work_date, outlier_reason, late_minutes,
                       early_leave_minutes, attendance_status, judged_by, worked_minutes, break_minutes,
                       overtime_minutes, night_minutes
                FROM daily_attendance WHERE list_contains(?, work_date) ORDER BY work_date, site, user_id
                """,
                [list(dates)],
            ).to_arrow_table()
        return table.to_pandas(date_as_object=False).astype({"work_date": "datetime64[us]"})

    def configured_hours(self) -> list[ConfiguredHours]:
        """Versions of the hours of the settings, in order of their first work dates."""
        with self.database.read("hours of the settings") as connection:
            return read_configured_hours(connection)

    def purged_dates(self, dates: Sequence[date]) -> list[date]:
        """Work dates in `dates` whose punches retention has purged; their rows are final."""
        with self.database.read("dates under retention") as connection:
            rows = connection.execute(
                """
                SELECT work_date FROM work_dates
                WHERE raw_purged_at IS NOT NULL AND list_contains(?, work_date) ORDER BY 1
                """,
                [list(dates)],
            ).fetchall()
        return [row[0] for row in rows]

    def revised_at(self, dates: Sequence[date]) -> dict[date, datetime]:
        """When the rows of each work date last changed, retractions included."""
        with self.database.read("changes of work dates") as connection:
            return dict(connection.execute(REVISED_AT, {"dates": list(dates)}).fetchall())

    def summarize(
        self, dates: Sequence[date], *, workday_starts_at: time, debounce_seconds: int, only_stale_sites: bool = False
    ) -> Summaries:
        """Summarize the punches of every site, user and work date in `dates` for the rules; `only_stale_sites`: of a
        stale date, those of the sites that make it stale.
        """
        return summarize(
            self.database,
            dates,
            workday_starts_at=workday_starts_at,
            debounce_seconds=debounce_seconds,
            stale_at=self.clock() if only_stale_sites else None,
        )

    def write(
        self,
        days: pd.DataFrame,
        *,
        seq: Mapping[date, int],
        reprocess_after: Mapping[date, datetime],
        run_id: str | None,
        sites: Mapping[date, Sequence[str] | None] = MappingProxyType({}),
        merged: pd.DataFrame | None = None,
        apart: Collection[str] = (),
        per_site: bool = False,
    ) -> list[DateWritten]:
        """Replace the rows of the work dates in `seq` by `days` (schema `frames.EVALUATED_DAYS`) in one transaction: on
        a date with `sites`, only the rows of these.

        A row with equal content keeps its revision. A changed row gets the user's next revision; a row without punches
        gets a retraction. Each changed user and date gets one delivery: with rows at several sites, the record of
        `merged` (as `days`). Ids in `apart`, or with `per_site` all ids, get one delivery per site. A date that another
        run has processed from newer punches in the meantime is skipped. Returns one entry per written date, in order.
        Raises PunchesLost, with nothing written.
        """
        incoming = _table(days)
        over_sites = _table(days.iloc[:0] if merged is None else merged)
        made_from = pa.table(
            {
                "work_date": pa.array(list(seq), pa.date32()),
                "seq": pa.array(list(seq.values()), pa.int64()),
                "reprocess_after": pa.array([reprocess_after.get(day) for day in seq], pa.timestamp("us", "UTC")),
                "sites": pa.array([sites.get(day) for day in seq], pa.list_(pa.string())),
            }
        )
        now = self.clock()
        with self.database.write("write work dates", f"{len(seq)} of them") as connection:
            connection.register(
                "incoming_days", pa.Table.from_batches(incoming.to_batches(_ROWS_A_BATCH), incoming.schema)
            )
            connection.register("incoming_dates", made_from)
            connection.register("incoming_merged", over_sites)
            connection.register("incoming_apart", pa.table({"user_id": pa.array(sorted(apart), pa.string())}))
            held = repair(connection, [day for day in seq if sites.get(day) is None])  # deletes rows of any site
            stage(connection)
            stage_people(connection)
            write_revisions(connection, now=now, run_id=run_id, per_site=per_site)
            counted = count_changes(connection, list(seq))
            written = [replace(DateWritten(*row), sites=sites.get(row[0])) for row in counted]
            mark_processed(connection, now)
            block_inconsistent_dates(connection, held, now)
            for table in ("staged", "staged_dates", "others", "merged_days", "people_apart", "revised"):
                connection.execute(f"DROP TABLE {table}")
        return written

    def statistics(self, first: date, last: date, *, workday_starts_at: time, rows: int = 10) -> RangeStatistics:
        """Statistics of the work dates from `first` to `last`, each with a preview of its rows."""
        return day_statistics(self.database, first, last, workday_starts_at=workday_starts_at, rows=rows)


def _table(days: pd.DataFrame) -> pa.Table:
    known = [column for column in _DAYS if column.name in days]
    table = pa.Table.from_pandas(days, schema=pa.schema(known), preserve_index=False)
    for column in _DAYS:  # columns without values cost nothing
        if column.name not in days:
            table = table.append_column(column, pa.nulls(len(days), column.type))
    return table


_ROWS_A_BATCH = 20_480  # DuckDB reads the batches of an Arrow table on all cores, one batch on one

# Declared types, not inferred ones: a frame without rows, which empties a date, has none.
_DAYS = pa.schema(
    {
        "site": pa.string(),
        "device": pa.string(),
        "user_id": pa.string(),
        "work_date": pa.timestamp("us"),
        "clock_in": pa.timestamp("us", "UTC"),
        "clock_out": pa.timestamp("us", "UTC"),
        "clock_in_local": pa.timestamp("us"),
        "clock_out_local": pa.timestamp("us"),
        "timezone": pa.string(),
        "punch_count": pa.int32(),
        "worked_minutes": pa.int32(),
        "is_incomplete": pa.bool_(),
        "is_outlier": pa.bool_(),
        "outlier_codes": pa.list_(pa.string()),
        "outlier_reason": pa.string(),
        "shift": pa.string(),
        "shift_start": pa.time64("us"),
        "shift_end": pa.time64("us"),
        "day_off": pa.string(),
        "worked_minutes_source": pa.string(),
        "late_minutes": pa.int32(),
        "early_leave_minutes": pa.int32(),
        "attendance_status": pa.string(),
        "judged_by": pa.string(),
        "break_minutes": pa.int32(),
        "break_source": pa.string(),
        "overtime_minutes": pa.int32(),
        "overtime_class": pa.string(),
        "night_minutes": pa.int32(),
        "weekly_overtime_after_minutes": pa.int32(),
    }
)
