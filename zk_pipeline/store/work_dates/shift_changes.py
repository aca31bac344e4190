"""Invalidation of exactly the work dates that a change of shifts, assignments, holidays or configured hours affects.

The small rosters before and after give the differences; punches are read only to find the dates on which an affected
user has punches. One affected user makes a date stale, so a few users settle most dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

from zk_pipeline.attendance.shifts import minutes
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.assignment import stored_hours, stored_workday_start, valid_punches
from zk_pipeline.store.work_dates.retention_boundaries import RETENTION_BOUNDARIES, pairs
from zk_pipeline.store.work_dates.roster import make_roster, shift_content
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq

_SOME_PEOPLE = 100  # checked before all users whose shifts differ


@contextmanager
def changing_shifts(connection: Connection) -> Iterator[None]:
    """Wrap a change inside its transaction: work dates become stale whose rows get other punches or other rules.

    A nested call leaves the work to the outer one. Purged dates stay unchanged.
    """
    is_nested = connection.execute("SELECT EXISTS (FROM duckdb_tables() WHERE table_name = 'held_before')").fetchall()
    if is_nested[0][0]:
        yield
        return
    connection.execute(f"CREATE TEMP TABLE punched AS {pairs(connection)}")
    _remember(connection, "before")
    yield
    _remember(connection, "after")
    usual = minutes(stored_workday_start(connection))
    connection.execute(_DIFFERING.format(usual=usual))
    if connection.execute(_FIX_BORDERS).fetchall()[0][0]:
        for table in ("held_after", "holidays_after", "differing"):
            connection.execute(f"DROP TABLE {table}")
        _remember(connection, "after")
        connection.execute(_DIFFERING.format(usual=usual))
    connection.execute(_OTHER_HOLIDAYS)
    connection.execute("CREATE TEMP TABLE touched_dates (work_date DATE, seq BIGINT)")
    placed = _PLACED.replace("{punches}", valid_punches(connection)).replace("{usual}", str(usual))
    _touch_by_holidays(connection, placed)
    _touch_by_people(connection, placed)
    connection.execute("UPDATE touched_dates SET seq = ?", [next_seq(connection)])
    mark_stale(connection, "touched_dates")
    for table in _TABLES:
        connection.execute(f"DROP TABLE {table}")


_TABLES = (
    "punched", "held_before", "held_after", "holidays_before", "holidays_after", "differing", "other_holidays",
    "touched_dates",
)  # fmt: skip


def _remember(connection: Connection, when: str) -> None:
    """Create `held_…`, the shifts of all users with assignments and their rules, and `holidays_…`."""
    usual = stored_workday_start(connection)
    make_roster(connection, "FROM punched", {}, settings=stored_hours(connection, usual), workday_starts_at=usual)
    connection.execute(
        f"""
        CREATE TEMP TABLE held_{when} AS
        SELECT roster.*, weekdays,
               CASE WHEN shift IS NOT NULL
                    THEN hash({", ".join(shift_content("shifts"))}) END AS judged
        FROM roster LEFT JOIN shifts ON shifts.name = roster.shift
        """  # noqa: S608 (constant names)
    )
    connection.execute(f"CREATE TEMP TABLE holidays_{when} AS FROM holidays")


def _touch_by_holidays(connection: Connection, placed: str) -> None:
    first, last = connection.execute("SELECT min(work_date), max(work_date) FROM other_holidays").fetchall()[0]
    if first is not None:
        _touch(
            connection,
            placed.format(within="") + _AT_OTHER_HOLIDAYS,
            first,
            last,
            people="SELECT DISTINCT user_id FROM punched",
        )


def _touch_by_people(connection: Connection, placed: str) -> None:
    first, last = connection.execute("SELECT min(first), max(last) FROM differing").fetchall()[0]
    done = 0
    for many in (_SOME_PEOPLE, None):
        dates = [] if first is None else _open_dates(connection, first, last)
        people = _PEOPLE.format(many="ALL" if many is None else many, done=done)
        if not dates or not connection.execute(f"SELECT EXISTS ({people})").fetchall()[0][0]:
            return
        within = placed.format(within=_WITHIN if done else "")
        _touch(connection, within + _DIFFERENTLY, dates[0], dates[-1], people=people, dates=dates)
        done = many or done


def _open_dates(connection: Connection, first: date, last: date) -> list[date]:
    """Work dates from the one before `first` to `last` that can have rows and are not yet affected."""
    rows = connection.execute(
        """
        SELECT DISTINCT unnest([work_date - 1, work_date, work_date + 1])::DATE AS day FROM work_dates
        WHERE raw_purged_at IS NULL
        """
    ).fetchall()
    touched = {row[0] for row in connection.execute("SELECT work_date FROM touched_dates").fetchall()}
    return sorted(day for (day,) in rows if first <= _next(day) and day <= last and day not in touched)


def _next(day: date) -> date:
    return day if day == date.max else date.fromordinal(day.toordinal() + 1)


def _touch(
    connection: Connection, select: str, first: date, last: date, *, people: str, dates: Sequence[date] = ()
) -> None:
    """Add the work dates that `select` finds, from `first` to `last`, for the users in `people`."""
    connection.execute(
        f"""
        INSERT INTO touched_dates (work_date)
        WITH people AS MATERIALIZED ({people}), dates AS MATERIALIZED (SELECT unnest($dates::DATE[]) AS day), {select}
        EXCEPT SELECT work_date FROM touched_dates
        EXCEPT SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL
        """,  # noqa: S608 (constant SQL)
        {"first": first, "last": last, "dates": list(dates)},
    )


# A user in only one roster has the hours of the settings in the other. Most users have the same rows in both, which a
# hash comparison finds faster than the join by dates.
_DIFFERING = """
CREATE TEMP TABLE differing AS
WITH changed AS MATERIALIZED (
    SELECT DISTINCT device, user_id FROM (
        (FROM held_before EXCEPT FROM held_after) UNION ALL (FROM held_after EXCEPT FROM held_before)
    )
),
before AS (
    FROM held_before SEMI JOIN changed USING (device, user_id)
    UNION ALL BY NAME
    SELECT DISTINCT device, user_id, DATE '0001-01-01' AS first, DATE '9999-12-31' AS last, {usual} AS begins,
           NULL AS judged
    FROM held_after ANTI JOIN held_before USING (device, user_id)
),
after AS (
    FROM held_after SEMI JOIN changed USING (device, user_id)
    UNION ALL BY NAME
    SELECT DISTINCT device, user_id, DATE '0001-01-01' AS first, DATE '9999-12-31' AS last, {usual} AS begins,
           NULL AS judged
    FROM held_before ANTI JOIN held_after USING (device, user_id)
)
SELECT device, user_id,
       greatest(before.first, after.first, DATE '0001-01-01') AS first, least(before.last, after.last) AS last,
       before.begins AS begins_before, before.begins <> after.begins AS by_begin,
       before.judged IS DISTINCT FROM after.judged AS by_hours,
       coalesce(before.weekdays, '') AS weekdays_before, coalesce(after.weekdays, '') AS weekdays_after
FROM before JOIN after USING (device, user_id)
WHERE before.first <= after.last AND after.first <= before.last
  AND (before.begins, before.judged, before.weekdays) IS DISTINCT FROM (after.begins, after.judged, after.weekdays)
"""

_FIX_BORDERS = f"""
WITH {RETENTION_BOUNDARIES}
INSERT INTO frozen_work_date_starts
SELECT device, user_id, on_date, begins_before
FROM differing JOIN borders ON by_begin AND on_date BETWEEN first AND last
"""  # noqa: S608 (constant SQL)

_OTHER_HOLIDAYS = """
CREATE TEMP TABLE other_holidays AS
WITH days AS (SELECT holiday_date FROM holidays_before UNION SELECT holiday_date FROM holidays_after),
sites AS (
    SELECT DISTINCT coalesce(device.site, punched.device) AS site
    FROM punched LEFT JOIN devices AS device ON device.name = punched.device
),
named AS (
    SELECT days.holiday_date AS work_date, sites.site,
           (SELECT arg_min(name, site IS NULL) FROM holidays_before AS one
            WHERE one.holiday_date = days.holiday_date AND coalesce(one.site, sites.site) = sites.site) AS before,
           (SELECT arg_min(name, site IS NULL) FROM holidays_after AS one
            WHERE one.holiday_date = days.holiday_date AND coalesce(one.site, sites.site) = sites.site) AS after
    FROM days CROSS JOIN sites
)
SELECT site, work_date FROM named WHERE before IS DISTINCT FROM after
"""

# The punches of a work date are on its own calendar date and on the next. The filter runs before any join.
_PLACED = """
chosen AS MATERIALIZED (
    SELECT device, user_id, punched_at, punched_at_local
    FROM {punches} AS punch
    WHERE punched_at_local >= $first::DATE AND punched_at_local < $last::DATE + 2
      AND user_id IN (SELECT user_id FROM people) {within}
),
placed AS (
    SELECT
        coalesce(device.site, punch.device) AS site, punch.user_id, punch.device, punch.punched_at,
        CAST(punch.punched_at_local - to_minutes(coalesce(before.begins, {usual})) AS DATE) AS came_from,
        CAST(punch.punched_at_local - to_minutes(coalesce(after.begins, {usual})) AS DATE) AS work_date
    FROM chosen AS punch
    LEFT JOIN devices AS device ON device.name = punch.device
    LEFT JOIN held_before AS before ON before.device = punch.device AND before.user_id = punch.user_id
        AND punch.punched_at_local::DATE BETWEEN before.first AND before.last
    LEFT JOIN held_after AS after ON after.device = punch.device AND after.user_id = punch.user_id
        AND punch.punched_at_local::DATE BETWEEN after.first AND after.last
)
"""
_WITHIN = "AND punched_at_local::DATE IN (SELECT unnest([day, day + 1])::DATE FROM dates)"

_AT_OTHER_HOLIDAYS = "SELECT DISTINCT work_date FROM placed SEMI JOIN other_holidays USING (site, work_date)"

# If the punches of a day stay together, the shift of its clock-in device decides.
_DIFFERENTLY = """,
row AS (
    SELECT site, user_id, work_date, arg_min(device, (punched_at, device)) AS device FROM placed GROUP BY ALL
)
SELECT DISTINCT unnest([came_from, work_date]) AS work_date FROM placed WHERE came_from <> work_date
UNION
SELECT work_date FROM row JOIN differing USING (device, user_id)
WHERE (work_date BETWEEN first AND last AND (
        by_begin OR by_hours
        OR contains(weekdays_before, lower(strftime(work_date, '%a')))
            <> contains(weekdays_after, lower(strftime(work_date, '%a')))
    )) OR (by_begin AND work_date + 1 BETWEEN first AND last)
"""

# Users with the most differences first.
_PEOPLE = """
SELECT user_id FROM differing GROUP BY user_id ORDER BY sum(last - first) DESC, hash(user_id) LIMIT {many} OFFSET {done}
"""
