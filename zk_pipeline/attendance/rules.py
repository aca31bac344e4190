"""The rules of a working day as values: hours, bounds, and which instants they mean on a given work date and zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from enum import Enum
from typing import TypeAlias

import pandas as pd

from zk_pipeline.attendance.zones import to_instants

Offsets: TypeAlias = "pd.Series[pd.Timedelta] | None"


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

    def due(
        self, work_dates: pd.Series[pd.Timestamp], zone: str, begins: Offsets = None, next_begins: Offsets = None
    ) -> pd.DataFrame:
        """When work starts and ends and when the date is over, for each work date in `zone`.

        `begins` and `next_begins`: how long after midnight each work date, and the one after it, begin (timedelta64);
        None takes `workday_starts_at`. Returns columns `starts`, `ends`, `over`, datetime64[us, UTC], indexed like
        `work_dates`.
        """
        usual = pd.Series(_offset(self.workday_starts_at), index=work_dates.index, dtype="timedelta64[us]")
        begins, next_begins = (usual if one is None else one for one in (begins, next_begins))
        day = work_dates.astype("datetime64[us]")
        start, end, whole_day = _offset(self.start), _offset(self.end), timedelta(days=1)
        starts = day + start
        starts = starts.where(begins <= start, starts + whole_day)
        return pd.DataFrame(
            {
                "starts": to_instants(starts, zone),
                "ends": to_instants(starts + ((end - start) % whole_day or whole_day), zone),
                "over": to_instants(day + whole_day + next_begins, zone),
            }
        )


def _offset(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute, seconds=at.second)
