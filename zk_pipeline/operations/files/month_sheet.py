"""Month sheet of one user at one site, date by date; content only, for all formats and interfaces."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

from zk_pipeline.attendance.shifts import DAY_OFF
from zk_pipeline.errors import UsageError
from zk_pipeline.store.queries.month_query import EmptyDate, PersonDay, PersonMonthStore
from zk_pipeline.time_text import time_of_day

COLUMNS = ("date", "day", "shift", "in", "out", "worked", "punches", "remark")
FIGURES = ("in", "out", "worked", "punches")  # right-aligned columns


@dataclass(frozen=True)
class SheetDay:
    """One date of the month. `day` is None without a row in the store; `remark` has the reason.

    `shift` is the name of the assigned shift, or empty; `hours` are the shift's, HH:MM-HH:MM.
    """

    work_date: date
    day: PersonDay | None
    remark: str
    shift: str = ""
    hours: str = ""
    is_absent: bool = False

    @property
    def weekday(self) -> str:
        return calendar.day_abbr[self.work_date.weekday()]

    @property
    def came(self) -> str:
        """Wall clock of the clock-in, HH:MM; empty without a row."""
        return "" if self.day is None else time_of_day(self.day.clock_in_local)

    @property
    def left(self) -> str:
        """Wall clock of the clock-out; with `+1` if on the next calendar day. Empty without one."""
        if self.day is None or self.day.clock_out_local is None:
            return ""
        after = (self.day.clock_out_local.date() - self.work_date).days
        return time_of_day(self.day.clock_out_local) + (f" +{after}" if after > 0 else "")

    @property
    def worked(self) -> str:
        return "" if self.day is None else hours(self.day.worked_minutes)


@dataclass(frozen=True)
class MonthSheet:
    """Every date of the month, in order, and the totals."""

    user_id: str
    name: str
    site: str
    month: date  # its first date
    days: tuple[SheetDay, ...]

    @property
    def title(self) -> str:
        user = f"{self.name} ({self.user_id})" if self.name else self.user_id
        return f"{user}, {self.site}, {calendar.month_name[self.month.month]} {self.month.year}"

    @property
    def present(self) -> int:
        """Dates with a row."""
        return sum(one.day is not None for one in self.days)

    @property
    def incomplete(self) -> int:
        """Dates with a clock-in and no clock-out: they do not count in `worked_minutes`."""
        return sum(one.day is not None and one.day.clock_out_local is None for one in self.days)

    @property
    def absent(self) -> int:
        """Dates with an expected shift and no punches."""
        return sum(one.is_absent for one in self.days)

    @property
    def outliers(self) -> int:
        return sum(one.day is not None and one.day.is_outlier for one in self.days)

    @property
    def worked_minutes(self) -> int:
        return sum(one.day.worked_minutes or 0 for one in self.days if one.day is not None)

    @property
    def totals(self) -> dict[str, str]:
        """Labels and values below the sheet, and the hours of the shifts."""
        shifts = sorted({f"{one.shift} {one.hours}" for one in self.days if one.shift})
        return {
            "dates with punches": str(self.present),
            "hours worked": hours(self.worked_minutes),
            "without clock-out": str(self.incomplete),
            "absent": str(self.absent),
            "outliers": str(self.outliers),
            **({"shifts": ", ".join(shifts)} if shifts else {}),
        }


def month_sheet(store: PersonMonthStore, user_id: str, month: date, *, site: str | None, today: date) -> MonthSheet:
    """The sheet of the month that begins on `month`; dates after `today` are in the future.

    Raises UsageError for an unknown user, for a site without days or enrolment of the user, and without `site` for a
    user with days at several sites in that month.
    """
    last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    person = store.read(user_id, month, last)
    if not person.sites:
        raise UsageError(f"no user {user_id!r}: neither enrolled on a terminal nor with an attendance day")
    chosen = _site(person.sites, [day.site for day in person.days], user_id, site)
    days = {day.work_date: day for day in person.days if day.site == chosen}
    empty = {one.work_date: one for one in person.empty if one.site == chosen}
    dates = [month + timedelta(days=number) for number in range(last.day)]
    rows = tuple(
        _present(one, days[one]) if one in days else _empty(one, empty[one], is_future=one > today) for one in dates
    )
    return MonthSheet(user_id, person.name, chosen, month, rows)


def cells(one: SheetDay) -> tuple[str, ...]:
    """The cells of a date as text, in the order of COLUMNS."""
    count = "" if one.day is None else str(one.day.punch_count)
    return one.work_date.isoformat(), one.weekday, one.shift, one.came, one.left, one.worked, count, one.remark


def hours(minutes: int | None) -> str:
    """H:MM; empty for None."""
    return "" if minutes is None else f"{minutes // 60}:{minutes % 60:02}"


def _site(known: list[str], present: list[str], user_id: str, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in known:
            raise UsageError(f"user {user_id!r} is unknown at {wanted!r}; known at: {', '.join(known)}")
        return wanted
    sites = sorted(set(present)) or known
    if len(sites) > 1:
        raise UsageError(
            f"user {user_id!r} has attendance days at several sites: choose one with --site: {', '.join(sites)}"
        )
    return sites[0]


def _present(work_date: date, day: PersonDay) -> SheetDay:
    is_open = day.clock_out_local is None and not day.outlier_reason
    remarks = [day.day_off, "no clock-out yet" if is_open else day.outlier_reason]
    return SheetDay(work_date, day, "; ".join(one for one in remarks if one), day.shift or "", _hours(day))


def _empty(work_date: date, one: EmptyDate, *, is_future: bool) -> SheetDay:
    if one.holiday:
        remark = one.holiday
    elif one.shift and not one.is_working_day:
        remark = DAY_OFF
    elif one.is_absent:
        remark = "absent"
    else:
        remark = "" if is_future else "no punches"
    return SheetDay(work_date, None, remark, one.shift or "", _hours(one), one.is_absent)


def _hours(one: PersonDay | EmptyDate) -> str:
    return "" if one.shift_start is None or one.shift_end is None else f"{one.shift_start:%H:%M}-{one.shift_end:%H:%M}"
