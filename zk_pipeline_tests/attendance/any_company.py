"""Hypothesis strategies for companies: gates in many time zones, shifts, assignments, holidays, punches.

Every user of a company is a separate case with own punches and shifts at several sites, so one store, or one call of
the rules, tests hundreds of cases. Hypothesis draws the company; a seeded generator makes its users, since drawing
them one by one takes longer than the test.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from zk_pipeline_tests.attendance.plain_company import (
    PlainAssignment,
    PlainCompany,
    PlainGate,
    PlainHoliday,
    PlainPunch,
    PlainSeason,
    PlainShift,
)

# Time zones with the date of a clock change.
PLACES = [
    ("UTC", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("America/Sao_Paulo", date(2018, 11, 4)),  # changed at midnight
    ("Africa/Cairo", date(2026, 4, 24)),  # the same
    ("Africa/Casablanca", date(2026, 2, 15)),  # changes for Ramadan
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Asia/Kathmandu", date(2026, 3, 29)),
    ("Pacific/Kiritimati", date(2026, 3, 29)),
    ("Pacific/Pago_Pago", date(2026, 3, 29)),
]
DATES = range(-2, 4)  # around the change
STATES = [0, 1, 2, 3, 4, 5, 255]
NAMES = st.sampled_from(["New Year", "Labour Day"])
ZONES = sorted({zone for zone, _ in PLACES})


@dataclass(frozen=True)
class Worked:
    """A company, its gates, all punches (each gate, user and time once), and the users enrolled per gate."""

    company: PlainCompany
    gates: list[PlainGate]
    punches: list[PlainPunch]
    enrolled: frozenset[tuple[PlainGate, str]]
    middle: date


def hours() -> st.SearchStrategy[time]:
    return st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))


@st.composite
def shifts(draw: st.DrawFn, name: str | None) -> PlainShift:
    start, end = draw(
        st.one_of(
            st.sampled_from([(time(9), time(18)), (time(22), time(6)), (time(14), time(22)), (time(0), time(8))]),
            st.just((time(8), time(8))) if name else st.nothing(),  # 24 hours, which the settings cannot have
            st.tuples(hours(), hours()).filter(lambda pair: pair[0] != pair[1]),
        )
    )
    begins = draw(st.one_of(st.none(), st.none(), hours()))
    if begins is not None and (start < begins < end if start < end else begins > start or begins < end):
        begins = start  # within the hours it is refused
    bound = st.sampled_from([0, 15, 30, 60, 120, 180, 24 * 60]).map(lambda minutes: timedelta(minutes=minutes))
    weekdays = (
        draw(st.sampled_from([(0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4), (5, 6), (6,), ()])) if name else tuple(range(7))
    )
    bounds = draw(st.tuples(bound, bound, bound, bound))
    if name is None:  # the settings have no thresholds
        return PlainShift(name, start, end, begins, weekdays, bounds)
    grace, least = st.sampled_from([0, 0, 5, 15, 60]), draw(st.sampled_from([0, 0, 120, 241]))
    most = draw(st.sampled_from([0, least, 300, 480]))
    plain = PlainShift(
        name, start, end, begins, weekdays, bounds, draw(grace), draw(grace), max(most, least) if most else 0, least
    )
    return replace(plain, **draw(pay_rules(plain)))


@st.composite
def pay_rules(draw: st.DrawFn, shift: PlainShift) -> dict[str, Any]:
    """Rules of breaks, overtime, night hours, rounding and core time; often none."""
    if draw(st.booleans()):
        return {}
    window = st.tuples(hours(), hours()).filter(lambda pair: pair[0] != pair[1])
    some = st.lists(window, max_size=2).map(tuple)
    minutes = st.sampled_from([0, 1, 30, 240, 360, 480, 540])
    rounding = st.tuples(st.sampled_from(["up", "down", "nearest"]), st.sampled_from([5, 15, 30, 60]))
    lasts = (shift.end.hour * 60 + shift.end.minute - shift.start.hour * 60 - shift.start.minute) % 1440 or 1440
    core = sorted(draw(st.tuples(st.integers(0, lasts), st.integers(0, lasts)).filter(lambda pair: pair[0] != pair[1])))
    zero = datetime.combine(date(2001, 1, 1), shift.start)
    within = tuple((zero + timedelta(minutes=at)).time() for at in core)
    return {
        "unpaid": draw(some),
        "paid": draw(some),
        "pauses": draw(st.lists(window, max_size=1).map(tuple)),
        "automatic": tuple(sorted(dict(draw(st.lists(st.tuples(minutes, minutes.filter(bool)), max_size=2))).items())),
        "breaks_from_punches": draw(st.booleans()),
        "daily_overtime_after": draw(st.one_of(st.none(), minutes)),
        "weekly_overtime_after": draw(st.sampled_from([None, None, 2400])),
        "overtime_before": draw(st.booleans()),
        "overtime_after": draw(st.booleans()),
        "overtime_at_least": draw(st.sampled_from([0, 0, 15, 60])),
        "overtime_step": draw(st.sampled_from([1, 1, 15, 30])),
        "night": draw(st.one_of(st.none(), window)),
        "round_punches": draw(st.one_of(st.none(), rounding)),
        "round_day": draw(st.one_of(st.none(), rounding)),
        "core": within if draw(st.booleans()) and within[0] != within[1] else None,
    }


def _assignments(
    chance: random.Random, known: list[PlainShift], users: list[str], gates: list[PlainGate], middle: date
) -> Iterator[PlainAssignment]:
    """Assignments of targets of each kind, with up to three consecutive spans, some of them without a shift."""
    sites = sorted({gate.site for gate in gates})
    targets: list[dict[str, str]] = [
        *({"user": one} for one in users[::2]),
        *({"user": one, "site": sites[0]} for one in users[::3]),
        *({"device": gate.name} for gate in gates),
        *({"site": site} for site in sites),
    ]
    for target in targets:
        cuts = sorted(chance.sample(DATES, chance.randint(0, 2)))
        edges = [date.min, *(middle + timedelta(days=cut) for cut in cuts), date.max]
        for first, until in pairwise(edges):
            if shift := chance.choice([None, *known]):
                last = until if until == date.max else until - timedelta(days=1)
                yield PlainAssignment(shift, first=first, last=last, **target)


def _seasons(chance: random.Random, known: list[PlainShift], middle: date) -> Iterator[PlainSeason]:
    """Up to two consecutive seasons of each shift."""
    for shift in known:
        cuts = sorted(chance.sample(DATES, chance.choice([0, 0, 2, 4])))
        for first, last in zip(cuts[::2], cuts[1::2], strict=True):
            use = chance.choice([one for one in known if one != shift])
            dates = (middle + timedelta(days=first), middle + timedelta(days=last))
            yield PlainSeason(str(shift.name), use, *dates)


@st.composite
def companies(draw: st.DrawFn, *, users: int, with_shifts: bool = True) -> Worked:
    """A company with that many users, around the date of a clock change at its first site."""
    zone, middle = draw(st.sampled_from(PLACES))
    others = st.sampled_from(ZONES)
    trusted = st.booleans() if with_shifts else st.just(False)
    direction: st.SearchStrategy[Any] = st.sampled_from([None, None, "in", "out"]) if with_shifts else st.none()
    gates = [
        PlainGate(name, gate_zone, site, draw(trusted), draw(direction))
        for name, gate_zone, site in (
            ("Gate A", zone, "HQ"),
            ("Gate B", draw(st.sampled_from([zone, zone, "Europe/Helsinki"])), "HQ"),
            ("Depot", draw(others), "Depot"),
            ("Plant", draw(others), "Plant"),
        )
    ]
    names = [f"P{number}" for number in range(users)]
    company = PlainCompany(
        settings=draw(shifts(None)), debounce=timedelta(seconds=draw(st.sampled_from([0, 1, 60, 60, 600])))
    )
    chance = random.Random(draw(st.integers(0, 2**32)))
    if with_shifts:
        known = [draw(shifts(f"shift {number}")) for number in range(6)]
        for number in draw(st.sets(st.integers(0, 2))):  # shifts without alternatives are those of others
            known[number] = replace(known[number], alternatives=tuple(draw(st.permutations(known[3:]))[:2]))
        holidays = [
            PlainHoliday(middle + timedelta(days=day), f"Holiday {day}", site)
            for day, site in draw(st.sets(st.tuples(st.sampled_from(DATES), st.sampled_from([None, "HQ"])), max_size=3))
        ]
        assignments = tuple(_assignments(chance, known, names, gates, middle))
        seasons = tuple(_seasons(chance, known, middle))
        company = replace(company, assignments=assignments, holidays=tuple(holidays), seasons=seasons)
    if draw(st.booleans()):
        changed = sorted(draw(st.sets(st.sampled_from(DATES), min_size=1, max_size=2)))
        company = replace(company, former=tuple((middle + timedelta(days=day), draw(shifts(None))) for day in changed))
    punches = list(_punches(chance, names, gates, company, middle))
    enrolled = frozenset((gate, name) for gate in gates for name in names if chance.random() < 0.2)
    return Worked(company, gates, punches, enrolled, middle)


def _punches(
    chance: random.Random, users: list[str], gates: list[PlainGate], company: PlainCompany, middle: date
) -> Iterator[PlainPunch]:
    """Punch times within a few days: random, at the minutes of hours and bounds, and close together."""
    edges = sorted(
        {
            (datetime.combine(middle, hour) + sign * bound).time()
            for shift in (company.settings, *{one.shift for one in company.assignments})
            for hour in (shift.start, shift.end, shift.workday_starts_at or time(0))
            for bound in (*shift.bounds, timedelta(minutes=shift.late_grace), timedelta(minutes=shift.early_grace))
            for sign in (-1, 0, 1)
        }
        | {time(0), time(1), time(2), time(2, 30), time(3)}
    )
    zero = datetime.combine(middle, time())
    seen = set()
    for person in users:
        for _ in range(chance.randint(1, 8)):
            edge = chance.choice(edges)
            at_edge = edge.hour * 3600 + edge.minute * 60 + chance.choice([0, 0, -1, 1, 59])
            second = chance.choice([at_edge, chance.randrange(86400)])
            gate, state = chance.choice(gates), chance.choice(STATES)
            local = zero + timedelta(days=chance.choice(DATES), seconds=second)
            if (gate, person, local) not in seen:
                seen.add((gate, person, local))
                yield PlainPunch(gate, person, local, state)


def _replaced(shift: PlainShift, old: PlainShift, new: PlainShift) -> PlainShift:
    """The shift, which is or has the alternative `old`, with `new` in its place."""
    if shift == old:
        return new
    return replace(shift, alternatives=tuple(new if one == old else one for one in shift.alternatives))


@st.composite
def changes(draw: st.DrawFn, company: PlainCompany, middle: date) -> PlainCompany:
    """The company after a change of shifts, assignments or holidays."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    assignments = list(company.assignments)
    known = sorted({one.shift for one in assignments}, key=lambda one: str(one.name))
    what = draw(
        st.sampled_from(
            ["nothing", "a shift", "weekdays", "none", "fewer", "others", "a span", "one", "holidays", "seasons"]
        )
    )
    if what in ("a shift", "weekdays") and known:
        old = chance.choice(known)
        new = draw(shifts(str(old.name)))
        new = replace(old, weekdays=new.weekdays) if what == "weekdays" else new
        new = replace(new, alternatives=old.alternatives)
        assignments = [replace(one, shift=_replaced(one.shift, old, new)) for one in assignments]
        seasons = tuple(replace(one, use=_replaced(one.use, old, new)) for one in company.seasons)
        company = replace(company, seasons=seasons)
    elif what == "fewer":
        assignments = [one for one in assignments if chance.random() < 0.7]
    elif what == "none":
        assignments = []
    elif what == "one":
        first = middle + timedelta(days=chance.choice(DATES))
        assignments = [one for one in assignments if (one.user, one.site) != ("P1", None)]
        shift = chance.choice(known) if known else draw(shifts("shift"))
        assignments.append(PlainAssignment(shift, user="P1", first=first, last=first + timedelta(days=1)))
    elif what == "others" and known:
        assignments = [
            replace(one, shift=chance.choice(known)) if chance.random() < 0.3 else one for one in assignments
        ]
    elif what == "a span" and known:
        one = chance.choice(assignments)
        assignments.remove(one)
        if one.first == date.min:
            assignments.append(replace(one, first=min(one.last, middle + timedelta(days=chance.choice(DATES)))))
    if what == "seasons" and len(known) > 1:
        company = replace(company, seasons=tuple(_seasons(chance, known, middle)))
    holidays = company.holidays
    if what == "holidays":
        days = draw(st.sets(st.tuples(st.sampled_from(DATES), st.sampled_from([None, "HQ"])), max_size=3))
        holidays = tuple(
            PlainHoliday(middle + timedelta(days=day), draw(NAMES), site) for day, site in sorted(days, key=str)
        )
    return replace(company, assignments=tuple(assignments), holidays=holidays)
