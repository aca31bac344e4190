"""Punch times of the employees of one site, as arrays: shifts, punch patterns and forgotten punches.

No terminals, no time zones.
"""

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
class Employee:
    """One employee, with a site, a home terminal there, and a punch pattern."""

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
    """Columns of equal length: index of the employee, the site's true wall clock (naive), punch state."""

    employee: npt.NDArray[np.int64]
    at_local: npt.NDArray[np.datetime64]
    state: npt.NDArray[np.uint8]


def site_punches(
    rng: np.random.Generator, employees: Sequence[Employee], days: npt.NDArray[np.datetime64]
) -> SitePunches:
    """All punches of these employees on these days, unordered; a night shift ends on the next day."""
    shape = (len(employees), len(days))

    def happens(share: float) -> npt.NDArray[np.bool_]:
        return rng.random(shape) < share

    def minutes(low: float, high: float) -> npt.NDArray[np.float64]:
        return rng.uniform(low, high, shape) * _MINUTE

    is_night = np.array([[employee.shift == "night"] for employee in employees])
    is_late_comer = np.array([[employee.is_late_comer] for employee in employees])
    works_weekends = np.array([[employee.works_weekends] for employee in employees])
    takes_lunch = np.array([[employee.takes_lunch] for employee in employees])
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
            (present & happens(0.97), departure, OUT),  # some clock-outs are forgotten
        ],
    )


def _collected(
    days: npt.NDArray[np.datetime64],
    kinds: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64], int]],
) -> SitePunches:
    """Convert matrices of employee by day to columns."""
    employees, times, states = [], [], []
    for happened, second_of_day, state in kinds:
        employee, day = np.nonzero(happened)
        employees.append(employee)
        times.append(days[day] + second_of_day[employee, day].astype("timedelta64[s]"))
        states.append(np.full(len(employee), state, np.uint8))
    return SitePunches(np.concatenate(employees), np.concatenate(times).astype("datetime64[s]"), np.concatenate(states))
