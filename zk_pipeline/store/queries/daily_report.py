"""Daily report: every user of a site on one work date, with or without punches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.enrolled_users import NAMES
from zk_pipeline.store.shifts.leaves import leave_on
from zk_pipeline.store.work_dates.assignment import assign_date_range, stored_workday_start
from zk_pipeline.store.work_dates.roster import ASSIGNMENT_LEVEL
from zk_pipeline.store.work_dates.sequence import IS_STALE


@dataclass(frozen=True)
class ReportLine:
    """One user at a site. `status`: the attendance status of the day; without a day `absent`, `day_off`, `holiday`,
    `not_processed` (there are punches) or `no_punches`. Wall clocks and minutes are null without a day.
    """

    site: str
    user_id: str
    name: str  # "" without one
    status: str
    clock_in_local: datetime | None
    clock_out_local: datetime | None
    worked_minutes: int | None
    late_minutes: int
    early_leave_minutes: int
    is_incomplete: bool
    remark: str  # holiday, leave, outliers
    shift: str | None
    leave: str | None  # on this date, as in the view `absences`

    @property
    def is_present(self) -> bool:
        return self.status in ("present", "half_day", "worked_on_day_off")


@dataclass(frozen=True)
class DailyReport:
    """`lines` by site and name; `is_stale`: the date has punches or rules at these sites that are not processed yet."""

    work_date: date
    lines: list[ReportLine]
    is_stale: bool

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of users. Late, early and incomplete ones are also present."""
        return {
            "users": len(self.lines),
            "present": sum(one.is_present for one in self.lines),
            "late": sum(one.late_minutes > 0 for one in self.lines),
            "left early": sum(one.early_leave_minutes > 0 for one in self.lines),
            "incomplete": sum(one.is_incomplete for one in self.lines),
            "absent": sum(one.status == "absent" for one in self.lines),
            "of these on leave": sum(one.status == "absent" and one.leave is not None for one in self.lines),
            "day off or holiday": sum(one.status in ("day_off", "holiday") for one in self.lines),
            "no punches": sum(one.status == "no_punches" for one in self.lines),
            "not processed": sum(one.status == "not_processed" for one in self.lines),
        }

    @property
    def worked_minutes(self) -> int:
        return sum(one.worked_minutes or 0 for one in self.lines)


@dataclass(frozen=True)
class DailyReportStore:
    database: Database
    clock: Callable[[], datetime]

    def read(self, work_date: date, *, site: str | None = None) -> DailyReport:
        """The report of a work date at one site or all: users enrolled on a terminal, with a shift or punches there."""
        span = {"begin": work_date, "end": work_date + timedelta(days=2)}
        with self.database.read("daily report") as connection:
            placing = assign_date_range(
                connection, span["begin"], span["end"], workday_starts_at=stored_workday_start(connection)
            )
            rows = connection.execute(
                _REPORT.format(
                    punches=placing.punches,
                    join=placing.join,
                    work_date=placing.work_date,
                    names=NAMES,
                    level=ASSIGNMENT_LEVEL,
                    leave=leave_on(site="asked.site", user_id="asked.user_id", work_date="$date::DATE"),
                ),
                span | {"date": work_date, "site": site},
            ).fetchall()
            stale = connection.execute(
                f"SELECT {IS_STALE} FROM work_dates WHERE work_date = $date",  # noqa: S608 (constant SQL)
                {"date": work_date, "site": site, "now": self.clock()},
            ).fetchone()
        lines = [ReportLine(*row) for row in rows]
        lines.sort(key=lambda one: (one.site, (one.name or one.user_id).casefold(), one.user_id))
        return DailyReport(work_date, lines, bool(stale and stale[0]))


# Absences and the shift in force without a day are those of the view `absences`.
_REPORT = """
WITH enrolled AS (
    SELECT DISTINCT coalesce(device.site, one.device) AS site, one.user_id, device.removed_at IS NULL AS is_registered
    FROM device_users AS one LEFT JOIN devices AS device ON device.name = one.device
),
spans AS (
    SELECT site, user_id, min(work_date) AS first, max(work_date) AS last,
           arg_max(device, work_date) FILTER (WHERE work_date < $date) AS device
    FROM daily_attendance WHERE $site IS NULL OR site = $site GROUP BY ALL
),
newest AS (SELECT site, max(last) AS last FROM spans GROUP BY site),
punched AS (
    SELECT DISTINCT coalesce(device.site, punch.device) AS site, punch.user_id
    FROM {punches} AS punch {join}
    LEFT JOIN devices AS device ON device.name = punch.device
    WHERE punch.punched_at_local >= $begin AND punch.punched_at_local < $end AND {work_date} = $date
),
people AS (
    SELECT site, user_id FROM enrolled WHERE is_registered
    UNION SELECT site, user_id FROM punched
    UNION SELECT site, user_id FROM spans WHERE $date BETWEEN first AND last
    UNION SELECT coalesce(held.site, spans.site), held.user_id
    FROM shift_assignments AS held LEFT JOIN spans ON spans.user_id = held.user_id AND held.site IS NULL
    WHERE held.user_id IS NOT NULL AND coalesce(held.site, spans.site) IS NOT NULL
      AND $date BETWEEN coalesce(held.valid_from, $date) AND coalesce(held.valid_to, $date)
),
asked AS (SELECT * FROM people WHERE $site IS NULL OR site = $site),
held AS (
    SELECT asked.site, asked.user_id, arg_min(held.shift, {level}) AS shift
    FROM asked
    LEFT JOIN spans USING (site, user_id)
    JOIN effective_assignments AS held
        ON coalesce(held.user_id, asked.user_id) = asked.user_id AND coalesce(held.site, asked.site) = asked.site
        AND (held.device IS NULL OR held.device = spans.device)
        AND $date BETWEEN coalesce(held.valid_from, $date) AND coalesce(held.valid_to, $date)
    GROUP BY ALL
)
SELECT
    asked.site, asked.user_id, coalesce(named.name, ''),
    CASE WHEN day.id IS NOT NULL THEN coalesce(day.attendance_status, 'present')
         WHEN punched.user_id IS NOT NULL THEN 'not_processed'
         WHEN coalesce(own.name, common.name) IS NOT NULL THEN 'holiday'
         WHEN shift.name IS NULL THEN 'no_punches'
         WHEN NOT contains(shift.weekdays, lower(strftime($date::DATE, '%a'))) THEN 'day_off'
         WHEN $date BETWEEN spans.first
              AND CASE WHEN enrolled.user_id IS NULL THEN spans.last ELSE newest.last - 1 END THEN 'absent'
         ELSE 'no_punches' END,
    day.clock_in_local, day.clock_out_local, day.worked_minutes, coalesce(day.late_minutes, 0),
    coalesce(day.early_leave_minutes, 0), coalesce(day.is_incomplete, false),
    CASE WHEN day.id IS NULL THEN concat_ws('; ', coalesce(own.name, common.name), leave)
         ELSE concat_ws('; ', nullif(day.day_off, 'day off'), leave, nullif(day.outlier_reason, '')) END,
    CASE WHEN day.id IS NULL THEN shift.name ELSE day.shift END,
    leave
FROM (SELECT *, {leave} AS leave FROM asked) AS asked
LEFT JOIN daily_attendance AS day
    ON day.site = asked.site AND day.user_id = asked.user_id AND day.work_date = $date
LEFT JOIN punched ON punched.site = asked.site AND punched.user_id = asked.user_id
LEFT JOIN spans ON spans.site = asked.site AND spans.user_id = asked.user_id
LEFT JOIN newest ON newest.site = asked.site
LEFT JOIN (SELECT DISTINCT site, user_id FROM enrolled) AS enrolled
    ON enrolled.site = asked.site AND enrolled.user_id = asked.user_id
LEFT JOIN held ON held.site = asked.site AND held.user_id = asked.user_id
LEFT JOIN shifts AS shift ON shift.name = held.shift
LEFT JOIN holidays AS own ON own.holiday_date = $date AND own.site = asked.site
LEFT JOIN holidays AS common ON common.holiday_date = $date AND common.site IS NULL
LEFT JOIN ({names}) AS named ON named.site = asked.site AND named.user_id = asked.user_id
"""
