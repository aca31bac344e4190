"""Attendance days of one user in a range of dates. `operations.files.month_sheet` formats them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time

from zk_pipeline.store.engine.database import Database
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
            rows = connection.execute(
                f"""
                SELECT site, work_date, device, timezone, clock_in_local, clock_out_local, punch_count,
                       CASE WHEN worked_minutes_source IN ('punch_states', 'alternation')
                              OR worked_minutes + break_minutes
                                 <> (epoch_us(clock_out) - epoch_us(clock_in)) // 60_000_000 THEN worked_minutes
                            ELSE epoch_us(clock_out) // 60_000_000 - epoch_us(clock_in) // 60_000_000 - break_minutes
                       END,
                       is_outlier, outlier_reason, revision, shift, shift_start, shift_end, day_off,
                       late_minutes, early_leave_minutes, attendance_status, break_minutes, overtime_minutes,
                       {leave_on(site="day.site", user_id="day.user_id", work_date="day.work_date")}
                FROM daily_attendance AS day WHERE user_id = ? AND work_date BETWEEN ? AND ? ORDER BY site, work_date
                """,  # noqa: S608 (constant SQL)
                [user_id, first, last],
            ).fetchall()
            names = {site: name or "" for site, name, _ in sites}
            empty = connection.execute(
                _EMPTY, {"user_id": user_id, "first": first, "last": last, "sites": list(names)}
            ).fetchall()
        days, without = [PersonDay(*row) for row in rows], [EmptyDate(*row) for row in empty]
        last_named = [site for site, *_ in sorted(sites, key=lambda one: one[2], reverse=True)]
        return PersonMonth(user_id, names, last_named, days, without)


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

# A date without punches has the shift of the device used last before it, as in the view `absences`.
_EMPTY = f"""
WITH dates AS (
    SELECT site, CAST(unnest(generate_series($first::DATE, $last::DATE, INTERVAL 1 DAY)) AS DATE) AS work_date
    FROM (SELECT unnest($sites::VARCHAR[]) AS site)
),
own AS (SELECT site, work_date, device FROM daily_attendance WHERE user_id = $user_id AND work_date <= $last),
empty AS (
    SELECT dates.site, dates.work_date, last.device
    FROM dates ANTI JOIN own USING (site, work_date)
    ASOF LEFT JOIN own AS last ON last.site = dates.site AND last.work_date <= dates.work_date
),
held AS (
    SELECT empty.site, empty.work_date, arg_min(held.shift, {ASSIGNMENT_LEVEL}) AS shift
    FROM empty JOIN effective_assignments AS held
        ON coalesce(held.user_id, $user_id) = $user_id AND coalesce(held.site, empty.site) = empty.site
        AND (held.device IS NULL OR held.device = empty.device)
        AND empty.work_date BETWEEN coalesce(held.valid_from, empty.work_date)
                            AND coalesce(held.valid_to, empty.work_date)
    GROUP BY ALL
)
SELECT
    empty.site, empty.work_date, coalesce(own_day.name, common.name), held.shift,
    CASE WHEN shift.weekdays <> '' THEN shift.start_time END, CASE WHEN shift.weekdays <> '' THEN shift.end_time END,
    coalesce(contains(shift.weekdays, lower(strftime(empty.work_date, '%a'))), false),
    absent.work_date IS NOT NULL,
    {leave_on(site="empty.site", user_id="$user_id", work_date="empty.work_date")}
FROM empty
LEFT JOIN held USING (site, work_date)
LEFT JOIN shifts AS shift ON shift.name = held.shift
LEFT JOIN holidays AS own_day ON own_day.holiday_date = empty.work_date AND own_day.site = empty.site
LEFT JOIN holidays AS common ON common.holiday_date = empty.work_date AND common.site IS NULL
LEFT JOIN (SELECT site, work_date FROM absences WHERE user_id = $user_id) AS absent
    ON absent.site = empty.site AND absent.work_date = empty.work_date
ORDER BY empty.site, empty.work_date
"""  # noqa: S608 (constant SQL)
