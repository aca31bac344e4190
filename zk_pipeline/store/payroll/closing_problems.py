"""Problems of closing a payroll period: its figures would not be final."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from zk_pipeline.counted import counted
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.queries.reviews import REVIEWED
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.staleness import stale_dates

_MAX_NAMED = 3


def unprocessed_dates(connection: Connection, spans: Collection[tuple[date, date]], now: datetime) -> list[date]:
    """Stale work dates from the Monday of the first of these spans to their last date.

    They may change adjustments of any of them, the division of a week, and whether days between them exist.
    """
    days = [day for span in spans for day in span]
    if not days:
        return []
    return [one.work_date for one in stale_dates(connection, first=_monday(min(days)), last=max(days), now=now)]


def has_begun(connection: Connection, day: date, now: datetime) -> bool:
    """True if a work date has begun in the zones of all enabled terminals, or in UTC without one."""
    return _start(day, [zone for _, zone, _ in _terminals(connection)]) <= now


def closing_problems(
    connection: Connection, first: date, last: date, now: datetime, *, spans: Collection[tuple[date, date]]
) -> list[str]:
    """Each problem as one clause, in the order in which they are solved. `spans`: dates that the period pays, its own
    and those of closed periods.
    """
    span = {"first": first, "last": last}
    devices, following = _terminals(connection), last + timedelta(1)
    ends = {name: _start(following, [zone]) for name, zone, _ in devices}
    over = _start(following, [zone for _, zone, _ in devices])
    running = _count(connection, "FROM work_dates WHERE reprocess_after > $now AND work_date BETWEEN $first AND $last",
                     span | {"now": now})  # fmt: skip
    unread = [name for name, _, read in devices if read is None or read < ends[name]]
    stale = unprocessed_dates(connection, spans, now)
    gaps = _column(connection, _BETWEEN, {"first": first})
    before = _column(
        connection,
        "SELECT period FROM payroll_periods WHERE state = 'open' AND last_date < $first ORDER BY first_date",
        {"first": first},
    )
    blocked = _column(
        connection,
        "SELECT work_date FROM blocked_dates WHERE work_date BETWEEN $first AND $last ORDER BY 1",
        {"first": _monday(min(start for start, _ in spans)), "last": last},
    )
    reviews = _count(connection, _TO_REVIEW, span)
    placing = assign_work_dates(connection, punches="(FROM manual_punches WHERE decision IS NULL)")
    requests = _count(
        connection,
        f"FROM manual_punches AS punch {placing.join} "
        f"WHERE decision IS NULL AND {placing.work_date} BETWEEN $first AND $last",
        span,
    )
    found = [
        before and f"earlier periods are open: {_named(before)}",
        gaps and f"attendance days since the period before it belong to no period: {_named(gaps)}",
        (running or over > now) and f"its last date {last} is not over",
        unread and f"terminals were not read since its last date: {_named(unread)}",
        stale and f"{counted(len(stale), 'work date')} not processed: {_named(stale)}",
        blocked and f"work dates with inconsistent rows: {_named(blocked)}",
        requests and f"{counted(requests, 'punch request')} without a decision",
        reviews and f"{counted(reviews, 'outlier')} to review",
    ]
    return [one for one in found if one]


def _terminals(connection: Connection) -> list[tuple[str, str, datetime | None]]:
    """Name, zone and last reading of each enabled terminal."""
    return connection.execute(
        "SELECT name, timezone, last_sync FROM devices WHERE removed_at IS NULL AND enabled ORDER BY name"
    ).fetchall()


def _start(day: date, zones: Iterable[str]) -> datetime:
    """Midnight of a date in the last of these zones; in UTC without any."""
    starts = [datetime.combine(day, time(0), ZoneInfo(zone)) for zone in zones]
    return max(starts, default=datetime.combine(day, time(0), UTC))


_BETWEEN = """
SELECT DISTINCT work_date FROM daily_attendance
WHERE work_date < $first
  AND work_date > (SELECT max(last_date) FROM payroll_periods WHERE last_date < $first)
ORDER BY 1
"""
_TO_REVIEW = f"""
FROM daily_attendance WHERE work_date BETWEEN $first AND $last AND is_outlier
    AND (site, user_id, work_date, revision) NOT IN ({REVIEWED})
"""


def _monday(day: date) -> date:
    return day - timedelta(day.weekday())


def _named(names: Sequence[object]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(str(one) for one in names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _column(connection: Connection, query: str, values: Mapping[str, object]) -> list[object]:
    return [value for (value,) in connection.execute(query, values).fetchall()]


def _count(connection: Connection, source: str, values: Mapping[str, object]) -> int:
    return int(connection.execute(f"SELECT count(*) {source}", values).fetchall()[0][0])
