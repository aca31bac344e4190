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

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import DAY_OFF, WEEKDAYS, Shift

Codes = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Measures:
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


def measures(given: pd.DataFrame, rules: WorkRules, shifts: Mapping[str, Shift]) -> Measures:
    """The measures of `given` (as declared by `frames.SUMMARIES`). Raises KeyError for a shift not in `shifts`."""
    codes, names = _shift_codes(given)
    named = [shifts[name] for name in names]
    kinds = [rules, *(one.rules(rules) for one in named)]
    due = _due(given, codes, kinds)
    day_off = _day_off(given, codes, named)
    is_bound = np.ones(len(given), dtype=bool) if day_off is None else day_off == None  # noqa: E711 (elementwise)
    return Measures(codes, names, kinds, due["starts"], due["ends"], due["over"], is_bound, day_off)


def _shift_codes(given: pd.DataFrame) -> tuple[Codes, list[str]]:
    if "shift" not in given:
        return np.zeros(len(given), dtype=np.int8), []
    codes, names = pd.factorize(given["shift"], sort=True)  # null is -1
    return codes + 1, [str(name) for name in names]


def _due(given: pd.DataFrame, codes: Codes, kinds: list[WorkRules]) -> pd.DataFrame:
    """Start, end and end of date for each row; computed once per work date, zone, shift and begin of the dates."""
    keys = ["work_date", "timezone", *(name for name in ("begins", "next_begins") if name in given)]
    rows = given[keys]
    if len(kinds) > 1:
        rows, keys = rows.assign(kind=codes), [*keys, "kind"]
    distinct = rows.drop_duplicates()
    by = ["timezone", *(["kind"] if len(kinds) > 1 else [])]
    parts = []
    for (zone, *kind), part in distinct.groupby(by, sort=False):
        due = kinds[kind[0] if kind else 0].due(
            part["work_date"], str(zone), _offsets(part, "begins"), _offsets(part, "next_begins")
        )
        parts.append(pd.concat([part, due], axis=1))
    if not parts:
        return kinds[0].due(given["work_date"], "UTC")
    return rows.merge(pd.concat(parts), how="left", on=keys)


def _offsets(part: pd.DataFrame, what: str) -> pd.Series[pd.Timedelta] | None:
    if what not in part:
        return None
    return pd.Series(part[what].to_numpy().astype("timedelta64[m]").astype("timedelta64[us]"), index=part.index)


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
