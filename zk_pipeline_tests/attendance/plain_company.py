"""Reference model of attendance days in plain Python: one user, one date, one punch at a time.

Written from the specification; it shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Literal, TypeAlias
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
    unpaid: tuple[tuple[time, time], ...] = ()  # windows of breaks
    paid: tuple[tuple[time, time], ...] = ()
    pauses: tuple[tuple[time, time], ...] = ()  # between the parts of a split shift
    automatic: tuple[tuple[int, int], ...] = ()  # more than these minutes at work, minutes of break
    breaks_from_punches: bool = False
    daily_overtime_after: int | None = None
    weekly_overtime_after: int | None = None
    overtime_before: bool = False
    overtime_after: bool = False
    overtime_at_least: int = 0
    overtime_step: int = 1
    night: tuple[time, time] | None = None
    round_punches: tuple[str, int] | None = None  # up, down or nearest; minutes
    round_day: tuple[str, int] | None = None
    core: tuple[time, time] | None = None
    alternatives: tuple[PlainShift, ...] = ()


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
    direction: Literal["in", "out"] | None = None  # of every punch


@dataclass(frozen=True)
class PlainPunch:
    gate: PlainGate
    user: str
    local: datetime
    state: int = 0

    @property
    def counted(self) -> int:
        """The state that counts: that of the gate if it has a direction."""
        return self.state if self.gate.direction is None else ("in", "out").index(self.gate.direction)

    @property
    def is_trusted(self) -> bool:
        return self.gate.trusted or self.gate.direction is not None

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
    break_minutes: int | None = None
    break_source: str | None = None
    overtime_minutes: int | None = None
    overtime_class: str | None = None
    night_minutes: int | None = None
    weekly_overtime_after: int | None = None


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
    shift = best_shift(company, shift, site, user, day, punches=punches)
    day_off = holiday_of(company, site, day) or (None if day.weekday() in shift.weekdays else "day off")
    codes, reasons = _unusual(
        company, shift, site, user, day, first=first, last=last if count > 1 else None, now=now, day_off=day_off
    )
    late, early = 0, None if count == 1 else 0
    due = hours_on(company, shift, site, user, day, first=first)
    starts, ends = core_on(shift, due, first)
    if day_off is None:
        late = _minutes_beyond(starts, _to_the_minute(first.instant), shift.late_grace)
        if count > 1:
            early = _minutes_beyond(_to_the_minute(last.instant), ends, shift.early_grace)
    pay = None
    if count > 1:
        pay = plain_pay(company, shift, day, punches, due=due, day_off=day_off)
        if day_off is None:
            late += pay.late
            early = (early or 0) + pay.early
    minutes = pay.worked if pay else None
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
        worked_minutes_source=pay.source if pay else None,
        late_minutes=late,
        early_leave_minutes=early,
        status=_status(shift, day_off, minutes),
        judged_by=(f"{shift.start:%H:%M}-{shift.end:%H:%M} " if shift.weekdays else "off ")
        + ("(settings)" if shift.name is None else f"(shift {shift.name})"),
        break_minutes=pay.breaks if pay else None,
        break_source=pay.break_source if pay else None,
        overtime_minutes=pay.overtime if pay else None,
        overtime_class=_class_of(day_off, holiday_of(company, site, day)) if pay and pay.overtime else None,
        night_minutes=pay.night if pay else None,
        weekly_overtime_after=shift.weekly_overtime_after,
    )


def _class_of(day_off: str | None, holiday: str | None) -> str:
    return "weekday" if day_off is None else "rest_day" if holiday is None else "holiday"


def best_shift(
    company: PlainCompany, shift: PlainShift, site: str, user: str, day: date, *, punches: list[PlainPunch]
) -> PlainShift:
    """The shift or its alternative whose hours are closest to the punches, among those that work on the weekday."""
    best, least = shift, None
    for one in (shift, *shift.alternatives):
        starts, ends = hours_on(company, one, site, user, day, first=punches[0])
        distance = abs(punches[0].instant - starts)
        if count_of(company, punches) > 1:
            distance += abs(punches[-1].instant - ends)
        rank = (day.weekday() not in one.weekdays, distance)
        if least is None or rank < least:
            best, least = one, rank
    return best


def core_on(shift: PlainShift, due: tuple[datetime, datetime], first: PlainPunch) -> tuple[datetime, datetime]:
    """From when a clock-in is late and until when a clock-out is early: the core time within the hours."""
    if shift.core is None:
        return due
    zone = ZoneInfo(first.gate.zone)
    came = due[0].astimezone(zone)
    found = []
    for at, is_end in zip(shift.core, (False, True), strict=True):
        moment = datetime.combine(came.date(), at)
        if at < shift.start or (is_end and at == shift.start):  # the end of a 24-hour duty
            moment += ONE_DAY
        found.append(moment.replace(tzinfo=zone).astimezone(UTC))
    return found[0], found[1]


@dataclass(frozen=True)
class PlainPay:
    """Minutes of a day with a clock-out; `late` and `early` are those of the parts of a split shift."""

    worked: int
    source: str | None
    breaks: int
    break_source: str | None
    overtime: int
    night: int
    late: int
    early: int


def plain_pay(
    company: PlainCompany,
    shift: PlainShift,
    day: date,
    punches: list[PlainPunch],
    *,
    due: tuple[datetime, datetime],
    day_off: str | None,
) -> PlainPay:
    """Worked minutes, breaks, overtime and night minutes."""
    zone = ZoneInfo(punches[0].gate.zone)
    pairs, source = pairs_of(company, shift, punches)
    first, last = punches[0].instant, punches[-1].instant
    late, early = _of_parts(shift, pairs, zone, day)
    if shift.round_punches:
        offset = punches[0].local - first.replace(tzinfo=None)
        pairs = [tuple(_rounded_at(at, offset, *shift.round_punches) for at in pair) for pair in pairs]
        first, last = (_rounded_at(at, offset, *shift.round_punches) for at in (first, last))
    spent = _spent(shift, pairs, [(first, last), due], zone, day)
    whole = int((last - first).total_seconds())
    net = spent["at work"] - spent["unpaid"] + spent["paid"]
    wanted = 0
    for more_than, minutes in sorted(shift.automatic):
        if net > more_than * 60:
            wanted = minutes * 60
    automatic = min(max(wanted - (whole - net), 0), net)
    worked = (net - automatic) // 60
    breaks = whole // 60 - worked
    sources = [
        name
        for name, is_one in (
            ("punches", (spent["at work"] + spent["paid"]) // 60 < whole // 60),
            ("windows", (spent["at work"] - spent["unpaid"]) // 60 < spent["at work"] // 60),
            ("automatic", automatic > 0),
        )
        if is_one
    ]
    if shift.round_day:
        worked = _rounded(worked, *shift.round_day)
    overtime = _overtime(shift, worked, spent["before"] // 60, spent["after"] // 60, day_off)
    return PlainPay(
        worked, source, breaks, ", ".join(sources) or None if breaks else None, overtime,
        min(spent["night"] // 60, worked), late, early,
    )  # fmt: skip


def _spent(
    shift: PlainShift,
    pairs: list[tuple[datetime, ...]],
    whole_and_due: list[tuple[datetime, datetime]],
    zone: ZoneInfo,
    day: date,
) -> dict[str, int]:
    """Seconds from first to last punch, piece by piece: within each piece nothing begins or ends."""
    spent = dict.fromkeys(["at work", "unpaid", "paid", "night", "before", "after"], 0)
    unpaid, paid = _windows(shift.unpaid + shift.pauses, zone, day), _windows(shift.paid, zone, day)
    nights = _windows([shift.night] if shift.night else [], zone, day, by_clock=True)
    whole, due = whole_and_due
    every = [whole, due, *pairs, *unpaid, *paid, *nights]
    for begin, end in pairwise(sorted({at for pair in every for at in pair})):
        if begin < whole[0] or end > whole[1]:
            continue

        def within(spans: Iterable[tuple[datetime, ...]], begin: datetime = begin, end: datetime = end) -> bool:
            return any(one <= begin and end <= other for one, other in spans)

        is_in = within(pairs)
        is_counted = (is_in and not within(unpaid)) or (not is_in and within(paid))
        seconds = int((end - begin).total_seconds())
        spent["at work"] += is_in * seconds
        spent["unpaid"] += (is_in and within(unpaid)) * seconds
        spent["paid"] += (not is_in and within(paid)) * seconds
        spent["night"] += (is_counted and within(nights)) * seconds
        spent["before"] += (is_counted and end <= due[0]) * seconds
        spent["after"] += (is_counted and begin >= due[1]) * seconds
    return spent


def _overtime(shift: PlainShift, worked: int, before: int, after: int, day_off: str | None) -> int:
    """Minutes of overtime, of which `before` and `after` the hours of the shift."""
    if not _has_overtime(shift):
        return 0
    least = shift.overtime_at_least
    outside = before if shift.overtime_before and before >= least else 0
    outside += after if shift.overtime_after and after >= least else 0
    excess = 0 if shift.daily_overtime_after is None else max(worked - shift.daily_overtime_after, 0)
    overtime = worked if day_off is not None else max(outside, excess if excess >= least else 0)
    if shift.round_day:
        overtime = _rounded(overtime, *shift.round_day)
    return min(overtime - overtime % shift.overtime_step, worked)


def _has_overtime(shift: PlainShift) -> bool:
    return shift.daily_overtime_after is not None or shift.overtime_before or shift.overtime_after


def _of_parts(shift: PlainShift, pairs: list[tuple[datetime, ...]], zone: ZoneInfo, day: date) -> tuple[int, int]:
    """Minutes that second parts began late, and first parts ended early, by the breaks that meet a pause."""
    late = early = 0
    for (_, left), (came, _) in pairwise(sorted(pairs)):
        for begin, end in _windows(shift.pauses, zone, day):
            if left < end and came > begin:
                late += _minutes_beyond(end, _to_the_minute(came), shift.late_grace)
                early += _minutes_beyond(_to_the_minute(left), begin, shift.early_grace)
    return late, early


def _windows(
    windows: Iterable[tuple[time, time]], zone: ZoneInfo, day: date, *, by_clock: bool = False
) -> list[tuple[datetime, datetime]]:
    """Each window on the dates around the work date, as instants: as long as ever, or until the clock shows its end."""
    found = []
    for start, end in windows:
        for on in (day - ONE_DAY, day, day + ONE_DAY):
            starts, ends = datetime.combine(on, start), datetime.combine(on if end > start else on + ONE_DAY, end)
            begin = starts.replace(tzinfo=zone).astimezone(UTC)
            stop = ends.replace(tzinfo=zone).astimezone(UTC) if by_clock else begin + (ends - starts)
            found.append((begin, max(begin, stop)))
    return found


def _rounded(value: int, mode: str, unit: int) -> int:
    below = value - value % unit
    rest = value - below
    return below + unit if (mode == "up" and rest) or (mode == "nearest" and 2 * rest >= unit) else below


def _rounded_at(instant: datetime, offset: timedelta, mode: str, unit: int) -> datetime:
    local = instant.replace(tzinfo=None) + offset
    zero = datetime.combine(date(2000, 1, 1), time())
    seconds = int((local - zero).total_seconds())
    return (zero + timedelta(seconds=_rounded(seconds, mode, unit * 60)) - offset).replace(tzinfo=UTC)


def pairs_of(
    company: PlainCompany, shift: PlainShift, punches: list[PlainPunch]
) -> tuple[list[tuple[datetime, ...]], str | None]:
    """Pairs of in and out, and where they come from."""
    whole: list[tuple[datetime, ...]] = [(punches[0].instant, punches[-1].instant)]
    if is_trusted(punches):
        pairs = pairs_by_states(company, punches)
        return (whole, "unmatched") if pairs is None else (pairs, "punch_states")
    if not shift.breaks_from_punches:
        return whole, None
    alternating = pairs_by_alternation(company, punches)
    return (whole, "unmatched") if alternating is None else (alternating, "alternation")


def pairs_by_alternation(company: PlainCompany, punches: list[PlainPunch]) -> list[tuple[datetime, ...]] | None:
    """In and out in turn; punches closer together than the debounce time are one, whose first is in, whose last out."""
    clusters = [[punches[0].instant, punches[0].instant]]
    for before, one in pairwise(punches):
        if one.instant - before.instant >= company.debounce:
            clusters.append([one.instant, one.instant])
        clusters[-1][1] = one.instant
    if len(clusters) % 2:
        return None
    return [(clusters[n][0], clusters[n + 1][1]) for n in range(0, len(clusters), 2)]


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
    company: PlainCompany,
    shift: PlainShift,
    site: str,
    user: str,
    day: date,
    *,
    first: PlainPunch,
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
    late_from, early_until = core_on(shift, (starts, ends), first)
    core_start, core_end = shift.core or (shift.start, shift.end)
    early_in, late_in, early_out, late_out = shift.bounds
    codes, reasons = [], []
    if day_off is None:
        if first.instant < starts - early_in:
            codes.append("CLOCK_IN_TOO_EARLY")
            reasons.append(_reason("Clock-in", first.local, early_in, "before", shift.start))
        if first.instant > late_from + late_in:
            codes.append("CLOCK_IN_TOO_LATE")
            reasons.append(_reason("Clock-in", first.local, late_in, "after", core_start))
        if last is not None and last.instant < early_until - early_out and over:
            codes.append("CLOCK_OUT_TOO_EARLY")
            reasons.append(_reason("Clock-out", last.local, early_out, "before", core_end))
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


def is_trusted(punches: list[PlainPunch]) -> bool:
    return all(one.is_trusted for one in punches)


def direction_of(company: PlainCompany, of_day: list[PlainPunch], punch: PlainPunch) -> tuple[str, str]:
    """In or out, and what says so, of one punch of a day."""
    if punch.gate.direction is not None:
        return punch.gate.direction, "device"
    if punch.gate.trusted and punch.state in OPENING:
        return "in", "punch_state"
    if punch.gate.trusted and punch.state in CLOSING:
        return "out", "punch_state"
    count = count_of(company, of_day[: of_day.index(punch) + 1])
    return "in" if count % 2 else "out", "alternation"


def pairs_by_states(company: PlainCompany, punches: list[PlainPunch]) -> list[tuple[datetime, ...]] | None:
    """In and out by the punch states of one day; None if they do not pair."""
    pressed = punches[:1]
    for before, one in pairwise(punches):
        again = one.counted == before.counted and one.instant - before.instant < company.debounce
        if not again:
            pressed.append(one)
    pairs: list[tuple[datetime, ...]] = []
    opened = None
    for one in pressed:
        if one.counted in OPENING and opened is None:
            opened = one.instant
        elif one.counted in CLOSING and opened is not None:
            pairs.append((opened, one.instant))
            opened = None
        else:
            return None
    return pairs if opened is None else None
