"""Calendar, weekly charts and monthly totals of one user at one site, from the dates of a year."""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from markupsafe import Markup

from zk_pipeline.attendance.punctuality import AttendanceStatus
from zk_pipeline.operations.files.month_sheet import SheetDay, cells
from zk_pipeline.web.charts import Bar, CalendarDay, Cell, bar_chart, calendar_heat_map
from zk_pipeline.web.formatting import duration
from zk_pipeline.web.list_pages import day_address

# CSS class and meaning of the colours of the calendar.
LEGEND = (
    ("ok", "present"),
    ("warn", "late, left early, incomplete or an outlier"),
    ("bad", "absent"),
    ("off", "day off, holiday or leave"),
    ("none", "no punches"),
)
_ON_TIME = Markup('<p class="muted">Never late.</p>')
_OFF = (AttendanceStatus.DAY_OFF, AttendanceStatus.HOLIDAY)


@dataclass(frozen=True)
class MonthTotals:
    """Totals of a month; minutes are sums."""

    month: date
    present: int
    worked_minutes: int
    late: int
    late_minutes: int
    left_early: int
    absent: int
    outliers: int

    @property
    def title(self) -> str:
        return f"{calendar.month_name[self.month.month]} {self.month.year}"


def person_calendar(days: Sequence[SheetDay], user_id: str) -> Markup:
    """The dates as small calendars of months; a date with content links to its page."""
    return calendar_heat_map("attendance days", [_calendar_day(one, user_id) for one in days])


def hours_by_week(days: Sequence[SheetDay]) -> Markup:
    """Hours worked per week, from Monday."""
    bars = [
        Bar(_label(monday), sum(one.worked.total_seconds() for one in week if one.worked) / 3600)
        for monday, week in _weeks(days)
    ]
    return bar_chart("Hours worked by week", bars, shown=lambda hours: duration(round(hours * 60)))


def lateness_by_week(days: Sequence[SheetDay]) -> Markup:
    """Late minutes per week, from Monday."""
    bars = [
        Bar(_label(monday), sum(one.late.total_seconds() for one in week if one.late) / 60)
        for monday, week in _weeks(days)
    ]
    if not any(bar.value for bar in bars):
        return _ON_TIME
    return bar_chart("Late minutes by week", bars, shown=lambda minutes: f"{minutes:.0f} min")


def month_totals(days: Sequence[SheetDay]) -> list[MonthTotals]:
    """Totals of each month with a punch or an absence, newest first."""
    months = [
        _totals(month, list(found)) for month, found in groupby(days, key=lambda one: one.work_date.replace(day=1))
    ]
    return [one for one in reversed(months) if one.present or one.absent]


def _totals(month: date, days: Sequence[SheetDay]) -> MonthTotals:
    return MonthTotals(
        month=month,
        present=sum(one.day is not None for one in days),
        worked_minutes=sum(one.day.worked_minutes or 0 for one in days if one.day),
        late=sum(bool(one.late) for one in days),
        late_minutes=sum(one.day.late_minutes or 0 for one in days if one.day),
        left_early=sum(bool(one.left_early) for one in days),
        absent=sum(one.status == AttendanceStatus.ABSENT and not one.leave for one in days),
        outliers=sum(one.day is not None and one.day.is_outlier for one in days),
    )


def _calendar_day(one: SheetDay, user_id: str) -> CalendarDay:
    has_page = one.day is not None or one.status is not None or bool(one.remark.replace("no punches", ""))
    return CalendarDay(
        one.work_date,
        Cell(_kind(one), _text(one)),
        address=day_address(one.site, user_id, one.work_date) if has_page else None,
    )


def _kind(one: SheetDay) -> str:
    if one.day is not None:
        is_plain = not (one.late or one.left_early or one.day.is_outlier or one.day.clock_out_local is None)
        return "ok" if is_plain else "warn"
    if one.status in _OFF or one.leave:
        return "off"
    return "bad" if one.status == AttendanceStatus.ABSENT else "none"


def _text(one: SheetDay) -> str:
    """The date in words: status, times, hours, lateness, remark."""
    texts = cells(one)
    times = f"{texts['in']}–{texts['out'] or '?'}" if one.day else ""
    worked = duration(one.day.worked_minutes) if one.day and one.day.worked_minutes is not None else ""
    late = f"{texts['late']} h late" if one.late else ""
    return ", ".join(part for part in (texts["status"], times, worked, late, one.remark) if part) or "no punches"


def _weeks(days: Sequence[SheetDay]) -> Iterable[tuple[date, list[SheetDay]]]:
    for monday, week in groupby(days, key=lambda one: one.work_date - timedelta(days=one.work_date.weekday())):
        yield monday, list(week)


def _label(monday: date) -> str:
    return f"{monday.day} {calendar.month_abbr[monday.month]}"
