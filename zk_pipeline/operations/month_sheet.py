"""The month of one person at one site, date by date: what every face shows, however it draws it. No drawing here."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta

from zk_pipeline.errors import UsageError
from zk_pipeline.store.person_days import PersonDay, PersonDays

COLUMNS = ("date", "day", "in", "out", "worked", "punches", "remark")


@dataclass(frozen=True)
class SheetDay:
    """One date of the month. `day` is None where the store has no row: `remark` says why, nothing is invented."""

    work_date: date
    day: PersonDay | None
    remark: str

    @property
    def weekday(self) -> str:
        return calendar.day_abbr[self.work_date.weekday()]

    @property
    def came(self) -> str:
        """Wall clock of the clock-in, HH:MM; empty without a row."""
        return "" if self.day is None else f"{self.day.clock_in_local:%H:%M}"

    @property
    def left(self) -> str:
        """Wall clock of the clock-out; `+1` where it is on the next calendar day. Empty while there is none."""
        if self.day is None or self.day.clock_out_local is None:
            return ""
        after = (self.day.clock_out_local.date() - self.work_date).days
        return f"{self.day.clock_out_local:%H:%M}" + (f" +{after}" if after > 0 else "")

    @property
    def worked(self) -> str:
        return "" if self.day is None else hours(self.day.worked_minutes)


@dataclass(frozen=True)
class MonthSheet:
    """Every date of the month, in order, and what they come to."""

    user_id: str
    name: str
    site: str
    month: date  # its first date
    days: tuple[SheetDay, ...]

    @property
    def title(self) -> str:
        who = f"{self.name} ({self.user_id})" if self.name else self.user_id
        return f"{who}, {self.site}, {calendar.month_name[self.month.month]} {self.month.year}"

    @property
    def present(self) -> int:
        """Dates with a row."""
        return sum(one.day is not None for one in self.days)

    @property
    def incomplete(self) -> int:
        """Dates with a clock-in and no clock-out: nothing of them is in `worked_minutes`."""
        return sum(one.day is not None and one.day.clock_out_local is None for one in self.days)

    @property
    def unusual(self) -> int:
        return sum(one.day is not None and one.day.is_outlier for one in self.days)

    @property
    def worked_minutes(self) -> int:
        return sum(one.day.worked_minutes or 0 for one in self.days if one.day is not None)

    @property
    def totals(self) -> dict[str, str]:
        """What stands under the sheet: words and figures."""
        return {
            "dates with punches": str(self.present),
            "hours worked": hours(self.worked_minutes),
            "without clock-out": str(self.incomplete),
            "unusual": str(self.unusual),
        }


def month_sheet(store: PersonDays, user_id: str, month: date, *, site: str | None, today: date) -> MonthSheet:
    """The sheet of the month that begins on `month`; dates after `today` have not come yet.

    Raises UsageError for a person never heard of, a site they were never seen at, and for one with days at several
    sites in that month while none is named.
    """
    last = month.replace(day=calendar.monthrange(month.year, month.month)[1])
    person = store.read(user_id, month, last)
    if not person.sites:
        raise UsageError(f"no person {user_id!r}: neither enrolled on a terminal nor with any day")
    chosen = _site(person.sites, [day.site for day in person.days], user_id, site)
    held = {day.work_date: day for day in person.days if day.site == chosen}
    dates = [month + timedelta(days=number) for number in range(last.day)]
    rows = tuple(SheetDay(one, held.get(one), _remark(held.get(one), one > today)) for one in dates)
    return MonthSheet(user_id, person.name, chosen, month, rows)


def cells(one: SheetDay) -> tuple[str, ...]:
    """A date as texts, in the order of COLUMNS."""
    count = "" if one.day is None else str(one.day.punch_count)
    return one.work_date.isoformat(), one.weekday, one.came, one.left, one.worked, count, one.remark


def hours(minutes: int | None) -> str:
    """H:MM; empty for None."""
    return "" if minutes is None else f"{minutes // 60}:{minutes % 60:02}"


def _site(known: list[str], present: list[str], user_id: str, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in known:
            raise UsageError(f"person {user_id!r} was never seen at {wanted!r}, only at: {', '.join(known)}")
        return wanted
    sites = sorted(set(present)) or known
    if len(sites) > 1:
        raise UsageError(f"person {user_id!r} has days at several sites: choose one with --site: {', '.join(sites)}")
    return sites[0]


def _remark(day: PersonDay | None, is_to_come: bool) -> str:
    if day is None:
        return "" if is_to_come else "no punches"
    if day.clock_out_local is None and not day.outlier_reason:
        return "no clock-out yet"
    return day.outlier_reason
