"""Companies of any kind for property tests: gates in many zones, shifts, assignments, holidays, and people who punch.

Every person of a company is a case of their own: own punches, own shifts, at several sites; so one store tests many.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise

from hypothesis import strategies as st

from zk_pipeline_tests.attendance.plain_company import (
    PlainAssignment,
    PlainCompany,
    PlainGate,
    PlainHoliday,
    PlainPunch,
    PlainShift,
)

# Each with a date on which its clock changes.
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


@dataclass(frozen=True)
class Worked:
    """A company, its gates, and all punches, each (gate, person, reading) once."""

    company: PlainCompany
    gates: list[PlainGate]
    punches: list[PlainPunch]
    middle: date


def hours() -> st.SearchStrategy[time]:
    return st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))


@st.composite
def shifts(draw: st.DrawFn, name: str | None) -> PlainShift:
    start, end = draw(
        st.one_of(
            st.sampled_from([(time(9), time(18)), (time(22), time(6)), (time(14), time(22)), (time(0), time(8))]),
            st.tuples(hours(), hours()).filter(lambda pair: pair[0] != pair[1]),
        )
    )
    begins = draw(st.one_of(st.none(), st.none(), hours()))
    if begins is not None and (start < begins < end if start < end else begins > start or begins < end):
        begins = start  # within the hours it is refused
    bound = st.sampled_from([0, 15, 30, 60, 120, 180, 24 * 60]).map(lambda minutes: timedelta(minutes=minutes))
    weekdays = (
        draw(st.sampled_from([(0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4), (5, 6), (6,)])) if name else tuple(range(7))
    )
    return PlainShift(name, start, end, begins, weekdays, draw(st.tuples(bound, bound, bound, bound)))


@st.composite
def assignments(
    draw: st.DrawFn, known: list[PlainShift], people: list[str], gates: list[PlainGate], middle: date
) -> list[PlainAssignment]:
    """Some targets of each kind, each with up to three spans one after the other."""
    sites = sorted({gate.site for gate in gates})
    targets: list[dict[str, str]] = [
        *({"user": one} for one in people[::2]),
        *({"user": one, "site": sites[0]} for one in people[::3]),
        *({"device": gate.name} for gate in gates),
        *({"site": site} for site in sites),
    ]
    made = []
    for target in targets:
        cuts = sorted(draw(st.sets(st.sampled_from(DATES), max_size=2)))
        edges = [date.min, *(middle + timedelta(days=cut) for cut in cuts), date.max]
        for first, until in pairwise(edges):
            if shift := draw(st.sampled_from([None, *known])):
                last = until if until == date.max else until - timedelta(days=1)
                made.append(PlainAssignment(shift, first=first, last=last, **target))
    return made


@st.composite
def companies(draw: st.DrawFn, *, people: int, with_shifts: bool = True) -> Worked:
    """A company of `people`, around a date on which the clock of its first site changes."""
    zone, middle = draw(st.sampled_from(PLACES))
    others = st.sampled_from([place[0] for place in PLACES])
    trusted = st.booleans() if with_shifts else st.just(False)
    gates = [
        PlainGate("Gate A", zone, "HQ", draw(trusted)),
        PlainGate("Gate B", draw(st.sampled_from([zone, zone, "Europe/Helsinki"])), "HQ", draw(trusted)),
        PlainGate("Depot", draw(others), "Depot", draw(trusted)),
    ]
    names = [f"P{number}" for number in range(people)]
    company = PlainCompany(
        settings=draw(shifts(None)), debounce=timedelta(seconds=draw(st.sampled_from([0, 1, 60, 60, 600])))
    )
    if with_shifts:
        known = [draw(shifts(name)) for name in ("one", "two", "three")]
        holidays = [
            PlainHoliday(middle + timedelta(days=day), f"Holiday {day}", site)
            for day, site in draw(st.sets(st.tuples(st.sampled_from(DATES), st.sampled_from([None, "HQ"])), max_size=3))
        ]
        held = draw(assignments(known, names, gates, middle))
        company = PlainCompany(company.settings, company.debounce, tuple(held), tuple(holidays))
    return Worked(company, gates, draw(punches(names, gates, company, middle)), middle)


@st.composite
def punches(
    draw: st.DrawFn, people: list[str], gates: list[PlainGate], company: PlainCompany, middle: date
) -> list[PlainPunch]:
    """Anywhere within a few days, on the minutes at which something begins, ends or is allowed, and close together."""
    edges = sorted(
        {
            (datetime.combine(middle, hour) + sign * bound).time()
            for shift in (company.settings, *(one.shift for one in company.assignments))
            for hour in (shift.start, shift.end, shift.workday_starts_at or time(0))
            for bound in shift.bounds
            for sign in (-1, 0, 1)
        }
        | {time(0), time(1), time(2), time(2, 30), time(3)}
    )
    zero = datetime.combine(middle, time())
    second = st.one_of(
        st.integers(0, 86399),
        st.tuples(st.sampled_from(edges), st.sampled_from([0, 0, -1, 1, 59])).map(
            lambda pair: pair[0].hour * 3600 + pair[0].minute * 60 + pair[1]
        ),
    )
    one = st.tuples(st.sampled_from(DATES), second, st.sampled_from(gates), st.sampled_from(STATES))
    found: dict[tuple[PlainGate, str, datetime], PlainPunch] = {}
    for person in people:
        for day, at, gate, state in draw(st.lists(one, min_size=1, max_size=8)):
            local = zero + timedelta(days=day, seconds=at)
            found.setdefault((gate, person, local), PlainPunch(gate, person, local, state))
    return list(found.values())
