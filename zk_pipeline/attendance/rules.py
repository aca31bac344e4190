"""The rules of a working day as values: hours, bounds, and which instants they mean on a given work date and zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from enum import Enum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.zones import to_instants

Offsets: TypeAlias = "np.timedelta64 | npt.NDArray[np.timedelta64]"
_NONE, _DAY = np.timedelta64(0, "us"), np.timedelta64(timedelta(days=1), "us")


class OutlierCode(str, Enum):
    """Why a day is unusual, in the order in which the codes of a day are listed; `explanation` is for people."""

    explanation: str

    CLOCK_IN_TOO_EARLY = "CLOCK_IN_TOO_EARLY", "The first punch is further before the start of work than allowed"
    CLOCK_IN_TOO_LATE = "CLOCK_IN_TOO_LATE", "The first punch is further after the start of work than allowed"
    CLOCK_OUT_TOO_EARLY = "CLOCK_OUT_TOO_EARLY", "The last punch is further before the end of work than allowed"
    CLOCK_OUT_TOO_LATE = "CLOCK_OUT_TOO_LATE", "The last punch is further after the end of work than allowed"
    MISSING_CLOCK_OUT = "MISSING_CLOCK_OUT", "The work date is over and there is only one punch"

    def __new__(cls, code: str, explanation: str) -> OutlierCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.explanation = explanation
        return member


@dataclass(frozen=True, kw_only=True)
class WorkRules:
    """Working hours on the wall clock, and how far from them a punch is still usual (bounds are exclusive).

    An `end` before `start` is an overnight shift. A work date begins at `workday_starts_at` and lasts until that time
    on the next calendar day, so every punch belongs to exactly one work date. `workday_is_set`: somebody said so,
    rather than it following from the hours.
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

    def due(self, work_dates: pd.Series[pd.Timestamp], zone: str) -> pd.DataFrame:
        """`due` of these hours, for work dates that all begin at `workday_starts_at`."""
        begins = offset(self.workday_starts_at)
        return due(work_dates, zone, start=offset(self.start), end=offset(self.end), begins=begins, next_begins=begins)


def due(
    work_dates: pd.Series[pd.Timestamp],
    zone: str,
    *,
    start: Offsets,
    end: Offsets,
    begins: Offsets,
    next_begins: Offsets,
) -> pd.DataFrame:
    """When work starts and ends and when the date is over, for each work date in `zone`.

    `start`, `end`: the hours; `begins` and `next_begins`: when each work date, and the one after it, begin. All are
    timedelta64 after midnight, one for all or one for each. Returns columns `starts`, `ends`, `over`,
    datetime64[us, UTC], indexed like `work_dates`.
    """
    day = work_dates.to_numpy("datetime64[us]")
    starts = day + start + np.where(np.less_equal(begins, start), _NONE, _DAY)
    lasts = (end - start) % _DAY
    readings = {
        "starts": starts,
        "ends": starts + np.where(lasts == _NONE, _DAY, lasts),
        "over": day + _DAY + next_begins,
    }
    return pd.DataFrame(
        {name: to_instants(pd.Series(at, index=work_dates.index), zone) for name, at in readings.items()}
    )


def offset(at: time) -> np.timedelta64:
    """From midnight to `at` on the wall clock."""
    return np.timedelta64(timedelta(hours=at.hour, minutes=at.minute, seconds=at.second), "us")
