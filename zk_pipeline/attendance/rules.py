"""Attendance rules: working hours, outlier bounds, and their instants on a work date in a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Self, TypeAlias

from zk_pipeline.attendance.shift_rules import Breaks, Overtime, Rounding, Window
from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import np, pd

if TYPE_CHECKING:
    import numpy.typing as npt

Offsets: TypeAlias = "np.timedelta64 | npt.NDArray[np.timedelta64]"
OPENING_STATES = (0, 3, 4)  # punch states in, break in, overtime in
CLOSING_STATES = (1, 2, 5)  # out, break out, overtime out

_NO_BREAKS, _NO_OVERTIME, _NO_ROUNDING = Breaks(), Overtime(), Rounding()


class ExplainedCode(StrEnum):
    """Base of codes that each have an `explanation` for users."""

    explanation: str

    def __new__(cls, code: str, explanation: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.explanation = explanation
        return member


class OutlierCode(ExplainedCode):
    """Outlier codes, in the order in which `outlier_codes` lists them."""

    CLOCK_IN_TOO_EARLY = "CLOCK_IN_TOO_EARLY", "The first punch is further before the start of work than allowed"
    CLOCK_IN_TOO_LATE = "CLOCK_IN_TOO_LATE", "The first punch is further after the start of work than allowed"
    CLOCK_OUT_TOO_EARLY = "CLOCK_OUT_TOO_EARLY", "The last punch is further before the end of work than allowed"
    CLOCK_OUT_TOO_LATE = "CLOCK_OUT_TOO_LATE", "The last punch is further after the end of work than allowed"
    MISSING_CLOCK_OUT = "MISSING_CLOCK_OUT", "The work date is over and there is only one punch"


@dataclass(frozen=True, kw_only=True)
class WorkRules:
    """Working hours on the wall clock, and the outlier bounds around them (exclusive).

    An `end` before `start` is an overnight shift. A work date begins at `workday_starts_at` and lasts until that time
    on the next calendar day, so every punch belongs to exactly one work date. `workday_is_set`: `workday_starts_at` was
    set, not derived from the hours. A clock-in up to `late_grace_minutes` after the start is not late, a clock-out up
    to `early_leave_grace_minutes` before the end is not early; fewer worked minutes than `half_day_below_minutes` are
    half a day, fewer than `absent_below_minutes` an absence. With a `core_time` within the hours, late and early count
    from it.
    """

    start: time = time(9)
    end: time = time(18)
    workday_starts_at: time = time(0)
    early_clock_in: timedelta = timedelta(hours=2)
    late_clock_in: timedelta = timedelta(hours=2)
    early_clock_out: timedelta = timedelta(hours=2)
    late_clock_out: timedelta = timedelta(hours=3)
    debounce_seconds: int = 60
    workday_is_set: bool = False
    late_grace_minutes: int = 0
    early_leave_grace_minutes: int = 0
    half_day_below_minutes: int = 0
    absent_below_minutes: int = 0
    breaks: Breaks = _NO_BREAKS
    overtime: Overtime = _NO_OVERTIME
    night_hours: Window | None = None
    rounding: Rounding = _NO_ROUNDING
    core_time: Window | None = None

    @property
    def core(self) -> tuple[time, time]:
        """Times from which a clock-in is late, and until which a clock-out is early."""
        return (self.start, self.end) if self.core_time is None else (self.core_time.start, self.core_time.end)

    def shift_instants(self, work_dates: pd.Series[pd.Timestamp], zone: str) -> pd.DataFrame:
        """`shift_instants` of these hours, for work dates that all begin at `workday_starts_at`."""
        begins = offset(self.workday_starts_at)
        return shift_instants(
            work_dates, zone, start=offset(self.start), end=offset(self.end), begins=begins, next_begins=begins
        )


def shift_instants(
    work_dates: pd.Series[pd.Timestamp],
    zone: str,
    *,
    start: Offsets,
    end: Offsets,
    begins: Offsets,
    next_begins: Offsets,
    core: tuple[Offsets, Offsets] | None = None,
) -> pd.DataFrame:
    """Start and end of the working hours and end of the work date, for each work date in `zone`.

    `start`, `end`: working hours; `begins`, `next_begins`: begin of each work date and of the next one; `core`: start
    and end of the core time. All are timedelta64 after midnight, one value or one per work date. Returns columns
    `starts`, `ends`, `over`, and with `core` `late_from` and `early_until`, datetime64[us, UTC], indexed like
    `work_dates`.
    """
    day = work_dates.to_numpy("datetime64[us]")
    starts = day + start + np.where(np.less_equal(begins, start), _days(0), _days(1))
    lasts = _lasts(start, end)
    readings = {"starts": starts, "ends": starts + lasts, "over": day + _days(1) + next_begins}
    if core is not None:
        readings["late_from"] = starts + (core[0] - start) % _days(1)
        readings["early_until"] = starts + _lasts(start, core[1])
    return pd.DataFrame(
        {name: to_instants(pd.Series(at, index=work_dates.index), zone) for name, at in readings.items()}
    )


def _lasts(start: Offsets, end: Offsets) -> Offsets:
    """Wall-clock time from `start` to the next `end`, which is a day later if they are equal."""
    lasts = (end - start) % _days(1)
    return np.where(lasts == _days(0), _days(1), lasts)


def offset(at: time) -> np.timedelta64:
    """Offset of the wall-clock time `at` from midnight."""
    return np.timedelta64(timedelta(hours=at.hour, minutes=at.minute, seconds=at.second), "us")


def _days(count: int) -> np.timedelta64:
    return np.timedelta64(timedelta(days=count), "us")
