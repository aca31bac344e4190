"""Attendance days of one user, or of all users of a site, in a range of dates.

`operations.files.month_sheet` formats them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.enrolled_users import NAMES
from zk_pipeline.store.shifts.leaves import leave_on
from zk_pipeline.store.work_dates.roster import ASSIGNMENT_LEVEL


@dataclass(frozen=True)
class PersonDay:
    """A row of `daily_attendance`; wall clocks are those of the site's terminals.

    `worked_minutes` are those of the sheet: from the minute of the clock-in to the minute of the clock-out, as both are
    shown, less the break, or the stored ones if they come from pairs of punches or are rounded. `attendance_status` is
    None, as `late_minutes` and `early_leave_minutes`, in a row that was processed before the store had these columns.
    """

    site: str
    work_date: date
    device: str
    timezone: str
    clock_in_local: datetime
    clock_out_local: datetime | None
    punch_count: int
    worked_minutes: int | None
    is_outlier: bool
    outlier_reason: str
    revision: int
    shift: str | None
    shift_start: time | None
    shift_end: time | None
    day_off: str | None
    late_minutes: int | None
    early_leave_minutes: int | None
    attendance_status: str | None
    break_minutes: int | None
    overtime_minutes: int | None
    leave: str | None


@dataclass(frozen=True)
class EmptyDate:
    """A work date without a row at a site: holiday, assigned shift, whether it works, whether the user was absent, and
    the user's leave.
    """

    site: str
    work_date: date
    holiday: str | None
    shift: str | None
    shift_start: time | None
    shift_end: time | None
    is_working_day: bool
    is_absent: bool
    leave: str | None


@dataclass(frozen=True)
class PersonMonth:
    """Days of a user, and all sites with days or an enrolment, each with the name as enrolled last ("" without one).

    `last_named` are the sites, that of the latest name first.
    """

    user_id: str
    names: dict[str, str]
    last_named: list[str]
    days: list[PersonDay]
    empty: list[EmptyDate]


@dataclass(frozen=True)
class PersonMonthStore:
    database: Database

    def read(self, user_id: str, first: date, last: date) -> PersonMonth:
        """Read the days of a user from `first` to `last`, ordered by site and date, from one state of the store.

        A user without enrolment and days has no sites.
        """
        with self.database.read("list a user's days") as connection:
            sites = connection.execute(_SITES, {"user_id": user_id}).fetchall()
            names = {site: name or "" for site, name, _ in sites}
            scope = _Scope("user_id = $user_id", {"user_id": user_id}, [(site, user_id) for site in names])
            days, empty = _read_days(connection, scope, first, last)
        last_named = [site for site, *_ in sorted(sites, key=lambda one: one[2], reverse=True)]
        return PersonMonth(user_id, names, last_named, days.get(user_id, []), empty.get(user_id, []))

    def read_site(self, site: str, first: date, last: date) -> list[PersonMonth]:
        """Read the days at one site of each user who is enrolled there or has days in these dates, by user id.

        Each result has this site only.
        """
        with self.database.read("list the days of a site") as connection:
            users = connection.execute(_USERS, {"site": site, "first": first, "last": last}).fetchall()
            scope = _Scope("site = $site", {"site": site}, [(site, user_id) for user_id, _ in users])
            days, empty = _read_days(connection, scope, first, last)
        return [
            PersonMonth(user_id, {site: name}, [site], days.get(user_id, []), empty.get(user_id, []))
            for user_id, name in users
        ]


@dataclass(frozen=True)
class _Scope:
    """Rows to read: a constant condition on site or user, which DuckDB applies inside views too, its values, and the
    pairs of site and user id.
    """

    condition: str
    values: dict[str, Any]
    pairs: Sequence[tuple[str, str]]


def _read_days(
    connection: Connection, scope: _Scope, first: date, last: date
) -> tuple[dict[str, list[PersonDay]], dict[str, list[EmptyDate]]]:
    """Days and dates without a row by user id, each by site and date."""
    dates = {"first": first, "last": last}
    days, empty = defaultdict(list), defaultdict(list)
    for user_id, *row in connection.execute(_DAYS.format(scope=scope.condition), scope.values | dates).fetchall():
        days[user_id].append(PersonDay(*row))
    pairs = {"sites": [site for site, _ in scope.pairs], "users": [user_id for _, user_id in scope.pairs]}
    for user_id, *row in connection.execute(
        _EMPTY.format(scope=scope.condition), scope.values | dates | pairs
    ).fetchall():
        empty[user_id].append(EmptyDate(*row))
    return days, empty


_DAYS = f"""
SELECT user_id, site, work_date, device, timezone, clock_in_local, clock_out_local, punch_count,
       CASE WHEN worked_minutes_source IN ('punch_states', 'alternation')
              OR worked_minutes + break_minutes
                 <> (epoch_us(clock_out) - epoch_us(clock_in)) // 60_000_000 THEN worked_minutes
            ELSE epoch_us(clock_out) // 60_000_000 - epoch_us(clock_in) // 60_000_000 - break_minutes
       END,
       is_outlier, outlier_reason, revision, shift, shift_start, shift_end, day_off,
       late_minutes, early_leave_minutes, attendance_status, break_minutes, overtime_minutes,
       {leave_on(site="day.site", user_id="day.user_id", work_date="day.work_date")}
FROM daily_attendance AS day WHERE {{scope}} AND work_date BETWEEN $first AND $last ORDER BY site, work_date
"""  # noqa: S608 (constant SQL)

_USERS = f"""
SELECT known.user_id, coalesce(named.name, '')
FROM (
    SELECT user_id FROM daily_attendance WHERE site = $site AND work_date BETWEEN $first AND $last
    UNION
    SELECT one.user_id FROM device_users AS one JOIN devices AS device ON device.name = one.device
    WHERE device.site = $site AND device.removed_at IS NULL
) AS known LEFT JOIN ({NAMES}) AS named ON named.site = $site AND named.user_id = known.user_id
ORDER BY known.user_id
"""  # noqa: S608 (constant SQL)

_SITES = """
WITH enrolled AS (
    SELECT coalesce(device.site, enrolled.device) AS site, enrolled.name, enrolled.updated_at, enrolled.device
    FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
    WHERE user_id = $user_id
),
own AS (SELECT site FROM daily_attendance WHERE user_id = $user_id UNION SELECT site FROM enrolled)
SELECT own.site, arg_max(enrolled.name, (enrolled.updated_at, enrolled.device)) FILTER (enrolled.name <> ''),
    coalesce(epoch_us(max(enrolled.updated_at) FILTER (enrolled.name <> '')), 0)
FROM own LEFT JOIN enrolled USING (site) GROUP BY own.site ORDER BY own.site
"""

# A date without punches has the shift of the device used last before it, and is an absence, as in the view `absences`,
# which evaluates the whole history of a site.
_EMPTY = f"""
WITH pairs AS (SELECT unnest($sites::VARCHAR[]) AS site, unnest($users::VARCHAR[]) AS user_id),
dates AS (
    SELECT site, user_id,
           CAST(unnest(generate_series($first::DATE, $last::DATE, INTERVAL 1 DAY)) AS DATE) AS work_date
    FROM pairs
),
own AS (
    SELECT site, user_id, work_date, device FROM daily_attendance
    WHERE {{scope}} AND work_date BETWEEN $first AND $last
    UNION ALL
    SELECT site, user_id, max(work_date), arg_max(device, work_date) FROM daily_attendance
    WHERE {{scope}} AND work_date < $first GROUP BY site, user_id
),
empty AS (
    SELECT dates.site, dates.user_id, dates.work_date, arg_max(earlier.device, earlier.work_date) AS device
    FROM dates ANTI JOIN own USING (site, user_id, work_date)
    LEFT JOIN own AS earlier
        ON earlier.site = dates.site AND earlier.user_id = dates.user_id AND earlier.work_date < dates.work_date
    GROUP BY ALL
),
held AS (
    SELECT empty.site, empty.user_id, empty.work_date, arg_min(held.shift, {ASSIGNMENT_LEVEL}) AS shift
    FROM empty JOIN effective_assignments AS held
        ON coalesce(held.user_id, empty.user_id) = empty.user_id AND coalesce(held.site, empty.site) = empty.site
        AND (held.device IS NULL OR held.device = empty.device)
        AND empty.work_date BETWEEN coalesce(held.valid_from, empty.work_date)
                            AND coalesce(held.valid_to, empty.work_date)
    GROUP BY ALL
),
newest AS (
    SELECT site, max(work_date) AS last FROM daily_attendance WHERE site IN (SELECT site FROM pairs) GROUP BY site
),
enrolled AS (
    SELECT DISTINCT coalesce(device.site, enrolled.device) AS site, enrolled.user_id
    FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
),
employed AS (
    SELECT day.site, day.user_id, min(day.work_date) AS first,
           CASE WHEN any_value(enrolled.user_id) IS NULL THEN max(day.work_date)
                ELSE any_value(newest.last) - 1 END AS last
    FROM daily_attendance AS day JOIN newest USING (site)
    LEFT JOIN enrolled ON enrolled.site = day.site AND enrolled.user_id = day.user_id
    WHERE day.{{scope}} GROUP BY day.site, day.user_id
)
SELECT
    empty.user_id, empty.site, empty.work_date, coalesce(own_day.name, common.name), held.shift,
    CASE WHEN shift.weekdays <> '' THEN shift.start_time END, CASE WHEN shift.weekdays <> '' THEN shift.end_time END,
    coalesce(contains(shift.weekdays, lower(strftime(empty.work_date, '%a'))), false) AS works,
    works AND coalesce(own_day.name, common.name) IS NULL
        AND coalesce(empty.work_date BETWEEN employed.first AND employed.last, false),
    {leave_on(site="empty.site", user_id="empty.user_id", work_date="empty.work_date")}
FROM empty
LEFT JOIN held USING (site, user_id, work_date)
LEFT JOIN shifts AS shift ON shift.name = held.shift
LEFT JOIN holidays AS own_day ON own_day.holiday_date = empty.work_date AND own_day.site = empty.site
LEFT JOIN holidays AS common ON common.holiday_date = empty.work_date AND common.site IS NULL
LEFT JOIN employed ON employed.site = empty.site AND employed.user_id = empty.user_id
ORDER BY empty.site, empty.work_date
"""  # noqa: S608 (constant SQL)
