"""The rules of attendance as the plainest possible Python, one punch at a time: what the vectorised code must equal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from itertools import groupby
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from zk_pipeline.attendance.rules import WorkRules

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # used to change at midnight
    "Africa/Casablanca",  # changes for Ramadan
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # changes by half an hour
    "Pacific/Kiritimati",  # UTC+14
]
CHANGES = [
    date(2026, 3, 29),
    date(2026, 10, 25),
    date(2026, 3, 8),
    date(2018, 11, 4),
    date(2026, 4, 5),
    date(2026, 2, 15),
]


@dataclass(frozen=True)
class Punch:
    site: str
    device: str
    zone: str
    user_id: str
    local: datetime


@dataclass(frozen=True)
class Day:
    site: str
    user_id: str
    work_date: date
    device: str
    zone: str
    clock_in: datetime
    clock_out: datetime | None
    clock_in_local: datetime
    clock_out_local: datetime | None
    punch_count: int
    worked_minutes: int | None
    codes: list[str]
    reason: str


def instant(local: datetime, zone: str) -> datetime:
    return local.replace(tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)


def work_date(punch: Punch, rules: WorkRules) -> date:
    begins = timedelta(hours=rules.workday_starts_at.hour, minutes=rules.workday_starts_at.minute)
    return (punch.local - begins).date()


def grouped(punches: Iterable[Punch], rules: WorkRules) -> list[tuple[date, list[Punch], int]]:
    """Per site, person and work date: its punches in order, and how many count."""

    def key(punch: Punch) -> tuple[str, str, date]:
        return punch.site, punch.user_id, work_date(punch, rules)

    def moment(punch: Punch) -> tuple[datetime, str, datetime, str]:
        return instant(punch.local, punch.zone), punch.device, punch.local, punch.zone

    days = []
    for (_, _, day), group in groupby(sorted(set(punches), key=lambda p: (key(p), moment(p))), key):
        held = list(group)
        count, before = 0, None
        for punch in held:
            now = instant(punch.local, punch.zone)
            if before is None or (now - before).total_seconds() >= rules.debounce_seconds:
                count += 1
            before = now
        days.append((day, held, count))
    return days


def plain_days(punches: Iterable[Punch], rules: WorkRules, now: datetime) -> list[Day]:
    return sorted(
        (_day(*found, rules, now) for found in grouped(punches, rules)), key=lambda d: (d.site, d.user_id, d.work_date)
    )


def _day(day: date, held: list[Punch], count: int, rules: WorkRules, now: datetime) -> Day:
    first, last = held[0], held[-1]
    came, left = instant(first.local, first.zone), instant(last.local, last.zone)
    starts_on = day + timedelta(days=1) if rules.start < rules.workday_starts_at else day
    starts_local = datetime.combine(starts_on, rules.start)
    ends_local = datetime.combine(starts_on, rules.end)
    if ends_local <= starts_local:
        ends_local += timedelta(days=1)
    starts, ends = instant(starts_local, first.zone), instant(ends_local, first.zone)
    is_over = now >= instant(datetime.combine(day + timedelta(days=1), rules.workday_starts_at), first.zone)
    has_left = count > 1
    codes, words = [], []
    if came < starts - rules.early_clock_in:
        codes.append("CLOCK_IN_TOO_EARLY")
        words.append(_words("Clock-in", first.local, rules.early_clock_in, "before", rules.start))
    if came > starts + rules.late_clock_in:
        codes.append("CLOCK_IN_TOO_LATE")
        words.append(_words("Clock-in", first.local, rules.late_clock_in, "after", rules.start))
    if has_left and left < ends - rules.early_clock_out and is_over:
        codes.append("CLOCK_OUT_TOO_EARLY")
        words.append(_words("Clock-out", last.local, rules.early_clock_out, "before", rules.end))
    if has_left and left > ends + rules.late_clock_out:
        codes.append("CLOCK_OUT_TOO_LATE")
        words.append(_words("Clock-out", last.local, rules.late_clock_out, "after", rules.end))
    if not has_left and is_over:
        codes.append("MISSING_CLOCK_OUT")
        words.append(f"No clock-out after the punch at {first.local:%H:%M}")
    return Day(
        site=first.site,
        user_id=first.user_id,
        work_date=day,
        device=first.device,
        zone=first.zone,
        clock_in=came,
        clock_out=left if has_left else None,
        clock_in_local=first.local,
        clock_out_local=last.local if has_left else None,
        punch_count=count,
        worked_minutes=int((left - came).total_seconds() // 60) if has_left else None,
        codes=codes,
        reason="; ".join(words),
    )


def _words(what: str, local: datetime, bound: timedelta, side: str, hour: time) -> str:
    day = datetime.combine(date(2000, 1, 2), hour)
    edge = day + bound if side == "after" else day - bound
    shown = f"{local:%H:%M:%S}" if (local.hour, local.minute) == (edge.hour, edge.minute) else f"{local:%H:%M}"
    hours, minutes = divmod(round(bound.total_seconds() / 60), 60)
    length = " ".join(part for part in (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "") if part)
    return f"{what} {shown}, more than {length or '0 h'} {side} {hour:%H:%M}"


def _wall_times() -> st.SearchStrategy[time]:
    return st.builds(time, st.integers(0, 23), st.sampled_from([0, 1, 30, 59]))


@st.composite
def work_rules(draw: st.DrawFn) -> WorkRules:
    """Day, evening and overnight shifts, work dates that begin anywhere, bounds of whole and broken hours."""
    start, end = draw(st.tuples(_wall_times(), _wall_times()).filter(lambda pair: pair[0] != pair[1]))
    bounds = st.sampled_from([0, 30, 60, 90, 120, 180, 24 * 60]).map(lambda minutes: timedelta(minutes=minutes))
    return WorkRules(
        start=start,
        end=end,
        workday_starts_at=draw(st.one_of(st.just(time(0)), _wall_times())),
        early_clock_in=draw(bounds),
        late_clock_in=draw(bounds),
        early_clock_out=draw(bounds),
        late_clock_out=draw(bounds),
        debounce_seconds=draw(st.sampled_from([0, 1, 60, 600])),
    )


@st.composite
def punches(draw: st.DrawFn, *, most: int = 12) -> list[Punch]:
    """Punches of a few people at two gates of one site and at a site of its own, around days with clock changes."""
    hq, alone = draw(st.sampled_from(ZONES)), draw(st.sampled_from(ZONES))
    gates = [("HQ", "Gate A", hq), ("HQ", "Gate B", hq), ("Depot", "Depot", alone)]
    middle = datetime.combine(draw(st.sampled_from(CHANGES)), time())
    seconds = st.one_of(
        st.integers(-36 * 60, 60 * 60).map(lambda minute: minute * 60),  # on the minute, where bounds lie
        st.integers(-36 * 3600, 60 * 3600),
        st.sampled_from([3600 * 2 + n for n in (0, 1, 30, 59, 60, 61, 119)]),  # close together, in the hour of changes
    )
    one = st.tuples(st.sampled_from(gates), st.sampled_from(["1001", "EMP2"]), seconds)
    drawn = draw(st.lists(one, min_size=1, max_size=most))
    return [Punch(*gate, user_id, middle + timedelta(seconds=offset)) for gate, user_id, offset in drawn]
