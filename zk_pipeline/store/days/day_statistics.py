"""Statistics of work dates for display: punches, outliers, and a preview of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from typing import Any

import pandas as pd

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.work_dates.assignment import assign_date_range

BEFORE = timedelta(days=29)  # outliers are counted from this long before a range, a month with its first date


@dataclass(frozen=True)
class DateStatistics:
    """Statistics of one work date. `hours`: valid punches by hour of the wall clock, 0 to 23."""

    punches: int = 0
    devices: int = 0
    hours: tuple[int, ...] = (0,) * 24
    incomplete: int = 0
    outliers: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)  # rows with an outlier code, by code


@dataclass(frozen=True)
class RangeStatistics:
    """`dates`: dates with punches or rows; `outliers`: number of outliers by date, also BEFORE the range; `previews`: a
    few rows of each date, outliers first.
    """

    dates: Mapping[date, DateStatistics]
    outliers: Mapping[date, int]
    previews: Mapping[date, pd.DataFrame]


def day_statistics(
    database: Database, first: date, last: date, *, workday_starts_at: time, rows: int
) -> RangeStatistics:
    """Statistics of the work dates from `first` to `last`, each with at most `rows` rows, in one read."""
    # A work date begins at its date's midnight or later, and ends within the next date.
    values = {"first": first, "last": last, "begin": first, "end": last + timedelta(days=2)}
    with database.read("summarize work dates") as connection:
        placing = assign_date_range(connection, values["begin"], values["end"], workday_starts_at=workday_starts_at)
        sql = _PUNCHES.format(punches=placing.punches, join=placing.join, work_date=placing.work_date)
        punches = connection.execute(sql, values).fetchall()
        kinds = connection.execute(_KINDS_OF_DAYS, [first - BEFORE, last]).fetchall()
        table = connection.execute(_PREVIEW, {"first": first, "last": last, "rows": rows}).to_arrow_table()
    shown = table.to_pandas()
    found: dict[date, dict[str, Any]] = {}
    for day, count, devices, hours in punches:
        by_hour = tuple(hours.get(hour, 0) for hour in range(24))
        found[day] = {"punches": count, "devices": devices, "hours": by_hour}
    outliers: dict[date, int] = {}
    for day, codes, count, incomplete in kinds:
        outliers[day] = outliers.get(day, 0) + (count if codes else 0)
        if day >= first:
            held = found.setdefault(day, {})
            held["incomplete"] = held.get("incomplete", 0) + incomplete
            held["outliers"] = outliers[day]
            by_code = held.setdefault("codes", {})
            for code in codes:
                by_code[code] = by_code.get(code, 0) + count
    previews = {pd.Timestamp(str(day)).date(): part.drop(columns="date") for day, part in shown.groupby("date")}
    return RangeStatistics({day: DateStatistics(**one) for day, one in sorted(found.items())}, outliers, previews)


_PUNCHES = """
SELECT {work_date} AS work_date, count(*), count(DISTINCT punch.device), histogram(hour(punch.punched_at_local))
FROM {punches} AS punch {join}
WHERE punch.punched_at_local >= $begin AND punch.punched_at_local < $end AND work_date BETWEEN $first AND $last
GROUP BY work_date
"""

# One row per combination of codes, whatever the number of users.
_KINDS_OF_DAYS = """
SELECT work_date, outlier_codes, count(*), count(*) FILTER (is_incomplete)
FROM daily_attendance WHERE work_date BETWEEN ? AND ?
GROUP BY ALL ORDER BY ALL
"""

_PREVIEW = """
SELECT work_date AS date, site, user_id, work_date::VARCHAR AS work_date, clock_in_local, clock_out_local, punch_count,
       outlier_reason, revision
FROM daily_attendance
WHERE work_date BETWEEN $first AND $last
QUALIFY row_number() OVER (PARTITION BY work_date ORDER BY is_outlier DESC, site, user_id) <= $rows
ORDER BY work_date, is_outlier DESC, site, user_id
"""
