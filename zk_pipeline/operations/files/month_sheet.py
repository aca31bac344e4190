"""Month sheet of one user, date by date, at one site or at all; content only, for all formats and interfaces."""

from __future__ import annotations

import calendar
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import combinations

from zk_pipeline.attendance.names import clearly_differ
from zk_pipeline.attendance.punctuality import AttendanceStatus
from zk_pipeline.attendance.shifts import DAY_OFF
from zk_pipeline.errors import UsageError
from zk_pipeline.store.queries.month_query import EmptyDate, PersonDay, PersonMonth, PersonMonthStore

COLUMNS = (
    "date", "day", "site", "shift", "in", "out", "break", "worked", "overtime", "late", "left early", "punches",
    "status", "remark",
)  # fmt: skip
FIGURES = ("in", "out", "break", "worked", "overtime", "late", "left early", "punches")  # right-aligned columns
_DURATIONS = {
    "break": "break_minutes",
    "worked": "worked_minutes",
    "overtime": "overtime_minutes",
    "late": "late_minutes",
    "left early": "early_leave_minutes",
}
_OFF = (AttendanceStatus.DAY_OFF, AttendanceStatus.HOLIDAY, AttendanceStatus.WORKED_ON_DAY_OFF)
# Of a date with rows at several sites, the first of these statuses counts in the totals.
_TOTALS = {
    AttendanceStatus.PRESENT: "present",
    AttendanceStatus.HALF_DAY: "half days",
    AttendanceStatus.WORKED_ON_DAY_OFF: "worked on a day off",
    AttendanceStatus.ABSENT: "absent",
    AttendanceStatus.HOLIDAY: "holidays",
    AttendanceStatus.DAY_OFF: "days off",
}


class DifferentEmployees(UsageError):
    """A user id of different employees at several sites, which has no sheet of all of them."""

    def __init__(self, user_id: str, names: list[str], sites: tuple[str, ...]) -> None:
        super().__init__(
            f"user id {user_id!r} belongs to different employees ({', '.join(names)}): "
            f"choose a site: {', '.join(sites)}"
        )
        self.sites = sites


@dataclass(frozen=True)
class SheetDay:
    """One date of the month at a site. `day` is None without a row in the store; `remark` has the reason.

    `status` is None on a date without a row on which no shift is expected, and on one to come. `shift` is the name of
    the assigned shift, or empty; `hours` are the shift's, HH:MM-HH:MM; `leave` is the user's leave on the date.
    """

    work_date: date
    site: str
    day: PersonDay | None
    status: AttendanceStatus | None
    remark: str
    shift: str = ""
    hours: str = ""
    leave: str | None = None

    @property
    def weekday(self) -> str:
        return calendar.day_abbr[self.work_date.weekday()]

    @property
    def is_off(self) -> bool:
        """True on a holiday or a day off of the user's shift, worked or not; such dates are shaded."""
        return self.status in _OFF

    @property
    def came(self) -> timedelta | None:
        """Wall clock of the clock-in, since the midnight at which the work date begins, to the minute."""
        return None if self.day is None else timedelta(minutes=self._minutes(self.day.clock_in_local))

    @property
    def left(self) -> timedelta | None:
        """Wall clock of the clock-out, as `came`: 29:00 is 05:00 of the next calendar day."""
        if self.day is None or self.day.clock_out_local is None:
            return None
        return timedelta(minutes=self._minutes(self.day.clock_out_local))

    @property
    def worked(self) -> timedelta | None:
        return None if self.day is None else _duration(self.day.worked_minutes)

    @property
    def break_taken(self) -> timedelta | None:
        return None if self.day is None else _duration(self.day.break_minutes)

    @property
    def overtime(self) -> timedelta | None:
        return None if self.day is None else _duration(self.day.overtime_minutes)

    @property
    def late(self) -> timedelta | None:
        return None if self.day is None else _duration(self.day.late_minutes)

    @property
    def left_early(self) -> timedelta | None:
        return None if self.day is None else _duration(self.day.early_leave_minutes)

    def _minutes(self, at: datetime) -> int:
        return (at.date() - self.work_date).days * 1440 + at.hour * 60 + at.minute


@dataclass(frozen=True)
class MonthSheet:
    """Every date of the month, in order, and the totals. A date with rows at several of `sites` is there for each."""

    user_id: str
    name: str
    sites: tuple[str, ...]
    month: date  # its first date
    days: tuple[SheetDay, ...]

    @property
    def title(self) -> str:
        user = f"{self.name} ({self.user_id})" if self.name else self.user_id
        return f"{user}, {', '.join(self.sites)}, {calendar.month_name[self.month.month]} {self.month.year}"

    @property
    def columns(self) -> tuple[str, ...]:
        """COLUMNS, with the site only if there are several, and break and overtime only if there are any."""
        shown = {
            "site": len(self.sites) > 1,
            "break": any(one.break_taken for one in self.days),
            "overtime": any(one.overtime for one in self.days),
        }
        return tuple(name for name in COLUMNS if shown.get(name, True))

    @property
    def statuses(self) -> dict[AttendanceStatus, int]:
        """Dates by status; each date counts once."""
        order = list(_TOTALS)
        best: dict[date, AttendanceStatus] = {}
        for one in self.days:
            if one.status is not None:
                best[one.work_date] = min(one.status, best.get(one.work_date, one.status), key=order.index)
        counts = Counter(best.values())
        return {status: counts[status] for status in AttendanceStatus}

    @property
    def dates_with_punches(self) -> int:
        return len({one.work_date for one in self.days if one.day is not None})

    @property
    def incomplete(self) -> int:
        """Rows with a clock-in and no clock-out: they do not count in `worked`."""
        return sum(one.day is not None and one.day.clock_out_local is None for one in self.days)

    @property
    def absent(self) -> int:
        """Absences without a leave."""
        return sum(one.status == AttendanceStatus.ABSENT and not one.leave for one in self.days)

    @property
    def outliers(self) -> int:
        return sum(one.day is not None and one.day.is_outlier for one in self.days)

    @property
    def durations(self) -> dict[str, timedelta]:
        """Sums of the columns with durations: those of the cells as shown."""
        days = [one.day for one in self.days if one.day is not None]
        return {
            label: timedelta(minutes=sum(getattr(day, column) or 0 for day in days))
            for label, column in _DURATIONS.items()
        }

    @property
    def totals(self) -> dict[str, str | int | timedelta]:
        """Labels and values below the sheet, and the hours of the shifts."""
        durations, statuses = self.durations, self.statuses
        absent = {one.work_date: one.leave for one in self.days if one.status == AttendanceStatus.ABSENT and one.leave}
        leaves = Counter(absent.values())
        shifts = sorted({f"{one.shift} {one.hours}" for one in self.days if one.shift})
        return {
            "dates with punches": self.dates_with_punches,
            "hours worked": durations["worked"],
            **({"overtime": durations["overtime"]} if durations["overtime"] else {}),
            "late": durations["late"],
            "left early": durations["left early"],
            **{label: statuses[status] for status, label in _TOTALS.items()},
            **({"absent on leave": ", ".join(f"{leaves[one]} {one}" for one in sorted(leaves))} if leaves else {}),
            "without clock-out": self.incomplete,
            "outliers": self.outliers,
            **({"shifts": ", ".join(shifts)} if shifts else {}),
        }


def month_sheet(store: PersonMonthStore, user_id: str, month: date, *, site: str | None, today: date) -> MonthSheet:
    """The sheet of the month that begins on `month`; dates after `today` are in the future.

    Without `site`, it has all sites with days of the user in that month, or else those that know the user. Raises
    UsageError for an unknown user, for a site without days or enrolment of the user, and without `site` for an id that
    belongs to different employees at several of those sites (DifferentEmployees).
    """
    last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    person = store.read(user_id, month, last)
    if not person.names:
        raise UsageError(f"no user {user_id!r}: neither enrolled on a terminal nor with an attendance day")
    sites = _sites_of(person, site)
    named = {one: person.names[one].strip() for one in sites if person.names[one].strip()}
    if any(clearly_differ(one, other, user_id) for one, other in combinations(dict.fromkeys(named.values()), 2)):
        raise DifferentEmployees(user_id, [f"{one}: {name}" for one, name in named.items()], sites)
    name = next((named[one] for one in person.last_named if one in named), "")
    return _sheet(person, name, sites, month, today)


def site_sheets(store: PersonMonthStore, site: str, month: date, *, today: date) -> list[MonthSheet]:
    """The sheets at one site of all users with a punch or an absence in the month, by name."""
    last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    sheets = [
        _sheet(person, person.names[site].strip(), (site,), month, today)
        for person in store.read_site(site, month, last)
        if person.days or any(one.is_absent for one in person.empty)
    ]
    return sorted(sheets, key=lambda one: ((one.name or one.user_id).casefold(), one.user_id))


def site_days(person: PersonMonth, site: str, first: date, last: date, *, today: date) -> list[SheetDay]:
    """Every date from `first` to `last` at one site of the user; `person` covers these dates."""
    dates = (first + timedelta(days=number) for number in range((last - first).days + 1))
    known = {one.work_date: _present(one) for one in person.days if one.site == site}
    empty = {one.work_date: one for one in person.empty if one.site == site}
    return [known.get(one) or _empty(empty[one], is_future=one > today) for one in dates]


def cells(one: SheetDay) -> dict[str, str]:
    """The cells of a date as text, by the names in COLUMNS."""
    return {
        "date": one.work_date.isoformat(),
        "day": one.weekday,
        "site": one.site,
        "shift": one.shift,
        "in": _clock(one.came),
        "out": _clock(one.left),
        "break": shown(one.break_taken),
        "worked": shown(one.worked),
        "overtime": shown(one.overtime),
        "late": shown(one.late),
        "left early": shown(one.left_early),
        "punches": "" if one.day is None else str(one.day.punch_count),
        "status": (one.status or "").replace("_", " "),
        "remark": one.remark,
    }


def shown(value: str | int | timedelta | None) -> str:
    """A total or a duration as text: durations as H:MM, empty for None."""
    if isinstance(value, timedelta):
        minutes = value // timedelta(minutes=1)
        return f"{minutes // 60}:{minutes % 60:02}"
    return "" if value is None else str(value)


def _clock(value: timedelta | None) -> str:
    """HH:MM, with `+1` on the next calendar day."""
    if value is None:
        return ""
    minutes = value.seconds // 60
    return f"{minutes // 60:02}:{minutes % 60:02}" + (f" {value.days:+}" if value.days else "")


def _duration(minutes: int | None) -> timedelta | None:
    return None if minutes is None else timedelta(minutes=minutes)


def _sheet(person: PersonMonth, name: str, sites: tuple[str, ...], month: date, today: date) -> MonthSheet:
    days = calendar.monthrange(month.year, month.month)[1]
    present, empty = defaultdict(list), defaultdict(list)
    for day in person.days:
        if day.site in sites:
            present[day.work_date].append(_present(day))
    for gap in person.empty:
        if gap.site in sites:
            empty[gap.work_date].append(_empty(gap, is_future=gap.work_date > today))
    dates = (month + timedelta(days=number) for number in range(days))
    rows = tuple(row for one in dates for row in present.get(one) or [_main_row(empty[one])])
    return MonthSheet(person.user_id, name, sites, month, rows)


def _sites_of(person: PersonMonth, wanted: str | None) -> tuple[str, ...]:
    """The sites of the sheet. Raises UsageError if the user is unknown at the wanted one."""
    if wanted is None:
        return tuple(sorted({day.site for day in person.days})) or tuple(person.names)
    if wanted not in person.names:
        raise UsageError(f"user {person.user_id!r} is unknown at {wanted!r}; known at: {', '.join(person.names)}")
    return (wanted,)


def _main_row(empty: list[SheetDay]) -> SheetDay:
    """The row of a date without punches, which has one for each site: an absence, a day off, a shift."""
    return min(empty, key=lambda one: (one.status != AttendanceStatus.ABSENT, one.status is None, not one.shift))


def _present(day: PersonDay) -> SheetDay:
    is_open = day.clock_out_local is None and not day.outlier_reason
    holiday = None if day.day_off == DAY_OFF else day.day_off
    remarks = [holiday, day.leave, "no clock-out yet" if is_open else day.outlier_reason]
    usual = AttendanceStatus.WORKED_ON_DAY_OFF if day.day_off else AttendanceStatus.PRESENT
    status = AttendanceStatus[day.attendance_status.upper()] if day.attendance_status else usual
    remark = "; ".join(one for one in remarks if one)
    return SheetDay(
        day.work_date, day.site, day, status, remark, day.shift or "", _hours(day.shift_start, day.shift_end), day.leave
    )


def _empty(one: EmptyDate, *, is_future: bool) -> SheetDay:
    status = None
    if one.holiday:
        status = AttendanceStatus.HOLIDAY
    elif one.shift and not one.is_working_day:
        status = AttendanceStatus.DAY_OFF
    elif one.is_absent:
        status = AttendanceStatus.ABSENT
    leave = None if status == AttendanceStatus.DAY_OFF else one.leave
    remark = one.holiday or leave or ("" if is_future or status else "no punches")
    return SheetDay(
        one.work_date,
        one.site,
        None,
        status,
        remark,
        one.shift or "",
        _hours(one.shift_start, one.shift_end),
        one.leave,
    )


@cache
def _hours(start: time | None, end: time | None) -> str:
    return "" if start is None or end is None else f"{start:%H:%M}-{end:%H:%M}"
