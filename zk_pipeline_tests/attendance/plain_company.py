"""Reference model of attendance days in plain Python: one user, one date, one punch at a time.

Written from the specification; it shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from typing import TypeAlias
from zoneinfo import ZoneInfo

ONE_DAY = timedelta(days=1)
OPENING, CLOSING = (0, 3, 4), (1, 2, 5)
Key: TypeAlias = "tuple[str, str, date]"  # site, user, work date


@dataclass(frozen=True)
class PlainShift:
    """`name` None: the hours of the settings. Bounds are early in, late in, early out, late out."""

    name: str | None = None
    start: time = time(9)
    end: time = time(18)
    workday_starts_at: time | None = None
    weekdays: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    bounds: tuple[timedelta, timedelta, timedelta, timedelta] = (
        timedelta(hours=2),
        timedelta(hours=2),
        timedelta(hours=2),
        timedelta(hours=3),
    )
    late_grace: int = 0  # minutes, as the other three
    early_grace: int = 0
    half_day_below: int = 0
    absent_below: int = 0


@dataclass(frozen=True)
class PlainAssignment:
    shift: PlainShift
    user: str | None = None
    site: str | None = None
    device: str | None = None
    first: date = date.min
    last: date = date.max


@dataclass(frozen=True)
class PlainSeason:
    """From `first` to `last`, `use` applies wherever the shift with the name `shift` is assigned."""

    shift: str
    use: PlainShift
    first: date
    last: date


@dataclass(frozen=True)
class PlainHoliday:
    day: date
    name: str
    site: str | None = None


@dataclass(frozen=True)
class PlainGate:
    name: str
    zone: str
    site: str
    trusted: bool = False


@dataclass(frozen=True)
class PlainPunch:
    gate: PlainGate
    user: str
    local: datetime
    state: int = 0

    @property
    def instant(self) -> datetime:
        return self.local.replace(tzinfo=ZoneInfo(self.gate.zone)).astimezone(UTC)


@dataclass(frozen=True)
class PlainCompany:
    settings: PlainShift = field(default_factory=PlainShift)
    debounce: timedelta = timedelta(seconds=60)
    assignments: tuple[PlainAssignment, ...] = ()
    holidays: tuple[PlainHoliday, ...] = ()
    seasons: tuple[PlainSeason, ...] = ()
    # Hours of the settings before a date, which is when they were changed: the earliest first.
    former: tuple[tuple[date, PlainShift], ...] = ()

    @cached_property
    def by_target(self) -> dict[tuple[str | None, str | None, str | None], list[PlainAssignment]]:
        """Assignments by (user, site, device): scanning all for each punch takes minutes."""
        found: dict[tuple[str | None, str | None, str | None], list[PlainAssignment]] = {}
        for one in self.assignments:
            found.setdefault((one.user, one.site, one.device), []).append(one)
        return found


@dataclass(frozen=True, order=True)
class PlainDay:
    site: str
    user: str
    work_date: date
    device: str
    zone: str
    clock_in: datetime
    clock_out: datetime | None
    clock_in_local: datetime
    clock_out_local: datetime | None
    punch_count: int
    worked_minutes: int | None
    codes: tuple[str, ...]
    reason: str
    shift: str | None
    shift_start: time | None
    shift_end: time | None
    day_off: str | None
    worked_minutes_source: str | None
    late_minutes: int
    early_leave_minutes: int | None
    status: str
    judged_by: str


def hours_of(company: PlainCompany, shift: PlainShift, day: date) -> PlainShift:
    """The shift with the hours that apply on `day`: those of the settings may have been others."""
    if shift.name is None:
        for until, hours in company.former:
            if day < until:
                return hours
    return shift


def shift_of(company: PlainCompany, site: str, user: str, device: str, day: date) -> PlainShift:
    for target in ((user, site, None), (user, None, None), (None, None, device), (None, site, None)):
        for one in company.by_target.get(target, ()):
            if one.first <= day <= one.last:
                return in_season(company, one.shift, day)
    return company.settings


def in_season(company: PlainCompany, shift: PlainShift, day: date) -> PlainShift:
    for season in company.seasons:
        if season.shift == shift.name and season.first <= day <= season.last:
            return season.use
    return shift


def begins(company: PlainCompany, site: str, user: str, device: str, day: date) -> time:
    """Time of day at which the work date `day` begins."""
    on = shift_of(company, site, user, device, day)
    if on.workday_starts_at is not None:
        return on.workday_starts_at
    before = shift_of(company, site, user, device, day - ONE_DAY)
    if not before.weekdays:  # off: nothing can last until today
        return time(0)
    nominal = datetime.combine(date(2001, 1, 1), time())  # stands for day - 1
    ended = datetime.combine(nominal, before.end)
    if before.end <= before.start:
        ended += ONE_DAY
    if before.workday_starts_at is not None and before.start < before.workday_starts_at:
        ended += ONE_DAY
    midnight, started = nominal + ONE_DAY, datetime.combine(nominal + ONE_DAY, on.start)
    if not on.weekdays:  # off: there is time until the midnight at its end
        started = midnight + ONE_DAY
    if ended < midnight:
        return time(0)
    if ended >= started:
        return on.start if on.weekdays else time(23, 59)
    middle = ended + (started - ended) / 2
    return middle.time().replace(second=0, microsecond=0)


def work_date(company: PlainCompany, punch: PlainPunch) -> date:
    day = punch.local.date()
    begin = begins(company, punch.gate.site, punch.user, punch.gate.name, day)
    return day if punch.local.time() >= begin else day - ONE_DAY


def plain_days(company: PlainCompany, punches: Iterable[PlainPunch], now: datetime) -> list[PlainDay]:
    found = by_day(company, punches)
    return sorted(_day(company, *key, punches=of_day, now=now) for key, of_day in found.items())


def by_day(company: PlainCompany, punches: Iterable[PlainPunch]) -> dict[Key, list[PlainPunch]]:
    """Punches per site, user and work date, in order, without duplicates of a gate."""
    found: dict[Key, list[PlainPunch]] = {}
    seen = set()
    for punch in punches:
        if (punch.gate.name, punch.user, punch.local) not in seen:
            seen.add((punch.gate.name, punch.user, punch.local))
            found.setdefault((punch.gate.site, punch.user, work_date(company, punch)), []).append(punch)
    for of_day in found.values():
        of_day.sort(key=lambda one: (one.instant, one.gate.name, one.local))
    return found


def count_of(company: PlainCompany, punches: list[PlainPunch]) -> int:
    count = 1
    for before, one in pairwise(punches):
        if one.instant - before.instant >= company.debounce:
            count += 1
    return count


def _day(
    company: PlainCompany, site: str, user: str, day: date, *, punches: list[PlainPunch], now: datetime
) -> PlainDay:
    first, last, count = punches[0], punches[-1], count_of(company, punches)
    shift = hours_of(company, shift_of(company, site, user, first.gate.name, day), day)
    day_off = holiday_of(company, site, day) or (None if day.weekday() in shift.weekdays else "day off")
    codes, reasons = _unusual(
        company, shift, site, user, day, first=first, last=last if count > 1 else None, now=now, day_off=day_off
    )
    minutes, worked_minutes_source = _worked(company, punches) if count > 1 else (None, None)
    late, early = 0, None if count == 1 else 0
    starts, ends = hours_on(company, shift, site, user, day, first=first)
    if day_off is None:
        late = _minutes_beyond(starts, _to_the_minute(first.instant), shift.late_grace)
        if count > 1:
            early = _minutes_beyond(_to_the_minute(last.instant), ends, shift.early_grace)
    return PlainDay(
        site=site,
        user=user,
        work_date=day,
        device=first.gate.name,
        zone=first.gate.zone,
        clock_in=first.instant,
        clock_out=last.instant if count > 1 else None,
        clock_in_local=first.local,
        clock_out_local=last.local if count > 1 else None,
        punch_count=count,
        worked_minutes=minutes,
        codes=tuple(codes),
        reason="; ".join(reasons),
        shift=shift.name,
        shift_start=shift.start if shift.name and shift.weekdays else None,
        shift_end=shift.end if shift.name and shift.weekdays else None,
        day_off=day_off,
        worked_minutes_source=worked_minutes_source,
        late_minutes=late,
        early_leave_minutes=early,
        status=_status(shift, day_off, minutes),
        judged_by=(f"{shift.start:%H:%M}-{shift.end:%H:%M} " if shift.weekdays else "off ")
        + ("(settings)" if shift.name is None else f"(shift {shift.name})"),
    )


def _to_the_minute(instant: datetime) -> datetime:
    return instant.replace(second=0, microsecond=0)


def _minutes_beyond(due: datetime, came: datetime, grace: int) -> int:
    minutes = int((came - due).total_seconds()) // 60
    return minutes if minutes > grace else 0


def _status(shift: PlainShift, day_off: str | None, worked: int | None) -> str:
    if day_off is not None:
        return "worked_on_day_off"
    if worked is not None and worked < shift.absent_below:
        return "absent"
    if worked is not None and worked < shift.half_day_below:
        return "half_day"
    return "present"


def hours_on(
    company: PlainCompany, shift: PlainShift, site: str, user: str, day: date, *, first: PlainPunch
) -> tuple[datetime, datetime]:
    """Instants at which the shift of work date `day` starts and ends, in the zone of the first punch."""
    starts_on = day + ONE_DAY if shift.start < begins(company, site, user, first.gate.name, day) else day
    ends_on = starts_on if shift.end > shift.start else starts_on + ONE_DAY
    zone = ZoneInfo(first.gate.zone)
    starts, ends = datetime.combine(starts_on, shift.start), datetime.combine(ends_on, shift.end)
    return starts.replace(tzinfo=zone).astimezone(UTC), ends.replace(tzinfo=zone).astimezone(UTC)


def holiday_of(company: PlainCompany, site: str, day: date) -> str | None:
    for where in (site, None):
        for one in company.holidays:
            if one.day == day and one.site == where:
                return one.name
    return None


def _unusual(
    company: PlainCompany,
    shift: PlainShift,
    site: str,
    user: str,
    day: date,
    *,
    first: PlainPunch,
    last: PlainPunch | None,
    now: datetime,
    day_off: str | None,
) -> tuple[list[str], list[str]]:
    starts, ends = hours_on(company, shift, site, user, day, first=first)
    ended = datetime.combine(day + ONE_DAY, begins(company, site, user, first.gate.name, day + ONE_DAY))
    over = now >= ended.replace(tzinfo=ZoneInfo(first.gate.zone)).astimezone(UTC)
    early_in, late_in, early_out, late_out = shift.bounds
    codes, reasons = [], []
    if day_off is None:
        if first.instant < starts - early_in:
            codes.append("CLOCK_IN_TOO_EARLY")
            reasons.append(_reason("Clock-in", first.local, early_in, "before", shift.start))
        if first.instant > starts + late_in:
            codes.append("CLOCK_IN_TOO_LATE")
            reasons.append(_reason("Clock-in", first.local, late_in, "after", shift.start))
        if last is not None and last.instant < ends - early_out and over:
            codes.append("CLOCK_OUT_TOO_EARLY")
            reasons.append(_reason("Clock-out", last.local, early_out, "before", shift.end))
        if last is not None and last.instant > ends + late_out:
            codes.append("CLOCK_OUT_TOO_LATE")
            reasons.append(_reason("Clock-out", last.local, late_out, "after", shift.end))
    if last is None and over:
        codes.append("MISSING_CLOCK_OUT")
        reasons.append(f"No clock-out after the punch at {first.local:%H:%M}")
    return codes, reasons


def _reason(what: str, reading: datetime, bound: timedelta, side: str, hour: time) -> str:
    nominal = datetime.combine(date(2001, 1, 2), hour)
    edge = nominal + bound if side == "after" else nominal - bound
    shown = f"{reading:%H:%M:%S}" if f"{reading:%H:%M}" == f"{edge:%H:%M}" else f"{reading:%H:%M}"
    hours, minutes = divmod(int(bound.total_seconds()) // 60, 60)
    length = f"{hours} h {minutes} min" if hours and minutes else f"{minutes} min" if minutes else f"{hours} h"
    return f"{what} {shown}, more than {length} {side} {hour:%H:%M}"


def _worked(company: PlainCompany, punches: list[PlainPunch]) -> tuple[int, str | None]:
    whole = int((punches[-1].instant - punches[0].instant).total_seconds() // 60)
    if not is_trusted(punches):
        return whole, None
    at_work = time_at_work(company, punches)
    return (whole, "unmatched") if at_work is None else (int(at_work.total_seconds() // 60), "punch_states")


def is_trusted(punches: list[PlainPunch]) -> bool:
    return all(one.gate.trusted for one in punches)


def time_at_work(company: PlainCompany, punches: list[PlainPunch]) -> timedelta | None:
    """Time at work by the punch states of one day; None if they do not pair."""
    pressed = punches[:1]
    for before, one in pairwise(punches):
        again = one.state == before.state and one.instant - before.instant < company.debounce
        if not again:
            pressed.append(one)
    at_work, opened = timedelta(), None
    for one in pressed:
        if one.state in OPENING and opened is None:
            opened = one.instant
        elif one.state in CLOSING and opened is not None:
            at_work += one.instant - opened
            opened = None
        else:
            return None
    return at_work if opened is None else None
