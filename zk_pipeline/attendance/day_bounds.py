"""What each row of a summary is measured by: its shift, when that starts, ends and is over, whether it is a day off.

Few shifts and many rows: what belongs to a shift is computed once and spread over the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.rules import WorkRules, due, offset
from zk_pipeline.attendance.shifts import DAY_OFF, WEEKDAYS, Shift, minutes

MINUTES = 24 * 60
Codes = npt.NDArray[np.integer]


@dataclass(frozen=True)
class DayBounds:
    """`codes` says which of `kinds` a row has: 0 the settings' hours, then the shifts of `names` in order.

    `starts`, `ends`, `over` are instants, indexed like the rows. `is_bound`: hours bind, it is no day off. `day_off`:
    why not, per row; None where no row can have one.
    """

    codes: Codes
    names: list[str]
    kinds: list[WorkRules]
    starts: pd.Series[pd.Timestamp]
    ends: pd.Series[pd.Timestamp]
    over: pd.Series[pd.Timestamp]
    is_bound: npt.NDArray[np.bool_]
    day_off: npt.NDArray[np.object_] | None

    @property
    def has_shifts(self) -> bool:
        return bool(self.names)

    def bound(self, what: str) -> pd.Series[pd.Timedelta] | timedelta:
        """How far from the hours is still usual, per row, or for all where there are only the settings."""
        bounds: list[timedelta] = [getattr(kind, what) for kind in self.kinds]
        if len(bounds) == 1:
            return bounds[0]
        return pd.Series(np.array(bounds, dtype="timedelta64[us]")[self.codes], index=self.starts.index)


def day_bounds(given: pd.DataFrame, rules: WorkRules, shifts: Mapping[str, Shift]) -> DayBounds:
    """The measures of `given` (as declared by `frames.SUMMARIES`). Raises KeyError for a shift not in `shifts`."""
    codes, names = _shift_codes(given)
    named = [shifts[name] for name in names]
    kinds = [rules, *(one.rules(rules) for one in named)]
    moments = _due(given, codes, kinds)
    day_off = _day_off(given, codes, named)
    is_bound = np.ones(len(given), dtype=bool) if day_off is None else day_off == None  # noqa: E711 (elementwise)
    return DayBounds(codes, names, kinds, moments["starts"], moments["ends"], moments["over"], is_bound, day_off)


def _shift_codes(given: pd.DataFrame) -> tuple[Codes, list[str]]:
    if "shift" not in given:
        return np.zeros(len(given), dtype=np.int8), []
    codes, names = pd.factorize(given["shift"], sort=True)  # null is -1
    return codes + 1, [str(name) for name in names]


def _due(given: pd.DataFrame, codes: Codes, kinds: list[WorkRules]) -> pd.DataFrame:
    """Start, end and end of date for each row; computed once per work date, zone, shift and begin of the dates."""
    zone_codes, zones = pd.factorize(given["timezone"])
    usual = np.array([minutes(kind.workday_starts_at) for kind in kinds])[codes]
    begins, next_begins = (given[what].to_numpy() if what in given else usual for what in ("begins", "next_begins"))
    days = given["work_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    sizes = (len(zones), len(kinds), MINUTES, MINUTES)
    key = days
    for part, size in zip((zone_codes, codes, begins, next_begins), sizes, strict=True):
        key = key * size + part
    row_of, distinct = pd.factorize(key)
    start, end = (np.array([offset(getattr(kind, what)) for kind in kinds]) for what in ("start", "end"))
    rest, parts = distinct, []
    for size in reversed(sizes):
        rest, part = np.divmod(rest, size) if size else (rest, rest)
        parts.append(part)
    next_begin, begin, kind, zone = parts
    work_dates = pd.Series(rest.astype("datetime64[D]").astype("datetime64[us]"))
    found = [
        due(
            work_dates[zone == number],
            str(name),
            start=start[kind[zone == number]],
            end=end[kind[zone == number]],
            begins=_offsets(begin[zone == number]),
            next_begins=_offsets(next_begin[zone == number]),
        )
        for number, name in enumerate(zones)
    ]
    if not found:
        return kinds[0].due(given["work_date"], "UTC")
    return pd.concat(found).sort_index().take(row_of).set_axis(given.index)


def _offsets(minutes_after: Codes) -> npt.NDArray[np.timedelta64]:
    return minutes_after.astype("timedelta64[m]").astype("timedelta64[us]")


def _day_off(given: pd.DataFrame, codes: Codes, named: list[Shift]) -> npt.NDArray[np.object_] | None:
    """The holiday's name, else whether the shift is off on that weekday; None where neither can be."""
    works = np.array([[True] * 7, *([day in one.weekdays for day in WEEKDAYS] for one in named)])
    if works.all() and "holiday" not in given:
        return None
    off = np.full(len(given), None, dtype=object)
    off[~works[codes, given["work_date"].dt.weekday.to_numpy()]] = DAY_OFF
    if "holiday" in given:
        is_holiday = given["holiday"].notna().to_numpy()
        off[is_holiday] = given["holiday"].to_numpy()[is_holiday]
    return off
