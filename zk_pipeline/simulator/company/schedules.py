"""When the people of one site punch: shifts, habits and slips, as arrays. No terminals, no zones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

IN, OUT, BREAK_OUT, BREAK_IN = 0, 1, 2, 3  # punch states

_HOUR, _MINUTE = 3600, 60
_SATURDAY = 5


@dataclass(frozen=True, kw_only=True)
class Person:
    """One employee: belongs to one site, has a home terminal there, and habits."""

    user_id: str
    name: str
    site: str
    home: str
    shift: Literal["day", "night"] = "day"
    is_late_comer: bool = False
    works_weekends: bool = False
    takes_lunch: bool = False
    uses_all_gates: bool = False
    verify_type: int = 1


@dataclass(frozen=True)
class SitePunches:
    """Columns of equal length: which person, when by the site's true wall clock, in which state."""

    person: npt.NDArray[np.int64]
    at_local: npt.NDArray[np.datetime64]
    state: npt.NDArray[np.uint8]


def site_punches(rng: np.random.Generator, people: Sequence[Person], days: npt.NDArray[np.datetime64]) -> SitePunches:
    """All punches of these people on these days, unordered; a night shift ends on the day after."""
    shape = (len(people), len(days))

    def happens(share: float) -> npt.NDArray[np.bool_]:
        return rng.random(shape) < share

    def minutes(low: float, high: float) -> npt.NDArray[np.float64]:
        return rng.uniform(low, high, shape) * _MINUTE

    is_night = np.array([[person.shift == "night"] for person in people])
    is_late_comer = np.array([[person.is_late_comer] for person in people])
    works_weekends = np.array([[person.works_weekends] for person in people])
    takes_lunch = np.array([[person.takes_lunch] for person in people])
    is_weekend = (days.astype(np.int64) + 3) % 7 >= _SATURDAY  # day 0 was a Thursday

    present = (~is_weekend | works_weekends & happens(0.5)) & happens(0.96)
    arrival = np.where(is_night, 22 * _HOUR, 9 * _HOUR) + minutes(-14, 6)
    arrival += is_late_comer * happens(0.35) * minutes(15, 170)
    departure = np.where(is_night, 30 * _HOUR, 18 * _HOUR) + minutes(-4, 35)
    departure -= happens(0.025) * minutes(130, 240)
    lunch = present & takes_lunch & ~is_night & happens(0.85)
    lunch_start = 12.5 * _HOUR + minutes(-15, 15)
    lunch_end = lunch_start + minutes(30, 60)

    return _collected(
        days,
        [
            (present, arrival, IN),
            (lunch, lunch_start, BREAK_OUT),
            (lunch, lunch_end, BREAK_IN),
            (present & happens(0.97), departure, OUT),  # some forget
        ],
    )


def _collected(
    days: npt.NDArray[np.datetime64],
    kinds: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], int]],
) -> SitePunches:
    """From matrices of person by day to columns."""
    people, times, states = [], [], []
    for happened, second_of_day, state in kinds:
        person, day = np.nonzero(happened)
        people.append(person)
        times.append(days[day] + second_of_day[person, day].astype("timedelta64[s]"))
        states.append(np.full(len(person), state, np.uint8))
    return SitePunches(np.concatenate(people), np.concatenate(times).astype("datetime64[s]"), np.concatenate(states))
