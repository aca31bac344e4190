"""Shift bounds per row of the punch summaries: shift, start, end, end of the work date, day off.

Values of a shift are computed once and broadcast to its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from zk_pipeline.attendance.rules import WorkRules, offset, shift_instants
from zk_pipeline.attendance.shifts import DAY_OFF, WEEKDAYS, Shift, minutes
from zk_pipeline.data_libraries import np, pd

if TYPE_CHECKING:
    import numpy.typing as npt

    Codes = npt.NDArray[np.integer]

MINUTES = 24 * 60
DatedRules = tuple[date, WorkRules]  # first work date of the rules of the settings


@dataclass(frozen=True)
class DayBounds:
    """`kinds`: for each version of the settings, in order of its first date, their hours and then those of the shifts
    `names`; `codes`: index into `kinds` per row.

    `starts`, `ends`, `over` (end of the work date) are instants, indexed like the rows; `late_from` and `early_until`
    are `starts` and `ends`, or the core time. `is_bound`: working hours apply, the row is not a day off. `day_off`:
    holiday name or reason per row; None if no row has one.
    """

    codes: Codes
    names: list[str]
    kinds: list[WorkRules]
    starts: pd.Series[pd.Timestamp]
    ends: pd.Series[pd.Timestamp]
    over: pd.Series[pd.Timestamp]
    late_from: pd.Series[pd.Timestamp]
    early_until: pd.Series[pd.Timestamp]
    is_bound: npt.NDArray[np.bool_]
    day_off: npt.NDArray[np.object_] | None

    @property
    def has_shifts(self) -> bool:
        return bool(self.names)

    @property
    def kind_shifts(self) -> list[str | None]:
        """Shift of each of `kinds`; None for hours of the settings."""
        named: list[str | None] = [None, *self.names]
        return named * (len(self.kinds) // len(named))

    def per_row(self, what: str) -> npt.NDArray[np.integer] | int:
        """Number of the rules per row; one value for all rows if it is the same in all rules."""
        values: list[int] = [getattr(kind, what) for kind in self.kinds]
        return values[0] if len(set(values)) == 1 else np.array(values)[self.codes]

    def bound(self, what: str) -> pd.Series[pd.Timedelta] | timedelta:
        """Outlier bound per row; one value for all rows if there are only the hours of the settings."""
        bounds: list[timedelta] = [getattr(kind, what) for kind in self.kinds]
        if len(bounds) == 1:
            return bounds[0]
        return pd.Series(np.array(bounds, dtype="timedelta64[us]")[self.codes], index=self.starts.index)


def day_bounds(summaries: pd.DataFrame, rules: Sequence[DatedRules], shifts: Mapping[str, Shift]) -> DayBounds:
    """Bounds for the rows of `summaries` (schema `frames.SUMMARIES`), each by the rules of its work date.

    `rules` are in order of their dates; the first also apply before theirs. Raises KeyError if `shifts` lacks a shift.
    """
    shift_codes, names = _shift_codes(summaries)
    named = [shifts[name] for name in names]
    kinds = [kind for _, version in rules for kind in (version, *(one.rules(version) for one in named))]
    codes = shift_codes
    if len(rules) > 1:
        firsts = np.array([first for first, _ in rules[1:]], dtype="datetime64[us]")
        versions = np.searchsorted(firsts, summaries["work_date"].to_numpy("datetime64[us]"), side="right")
        codes = shift_codes + versions * (len(names) + 1)
    moments = _due(summaries, codes, kinds)
    day_off = _day_off(summaries, shift_codes, named)
    is_bound = np.ones(len(summaries), dtype=bool) if day_off is None else day_off == None  # noqa: E711 (elementwise)
    starts, ends = moments["starts"], moments["ends"]
    late_from, early_until = (
        (moments["late_from"], moments["early_until"]) if "late_from" in moments else (starts, ends)
    )
    return DayBounds(codes, names, kinds, starts, ends, moments["over"], late_from, early_until, is_bound, day_off)


def with_best_shifts(summaries: pd.DataFrame, rules: Sequence[DatedRules], shifts: Mapping[str, Shift]) -> pd.DataFrame:
    """`summaries` with the best-fitting shift of each row whose shift has alternatives.

    That is the shift, of those that work on the weekday if any does, whose start and end are closest to the first and
    the last punch, or whose start is closest to a single punch; of equal ones the first, the assigned one first.
    """
    if not any(one.alternatives for one in shifts.values()) or "shift" not in summaries:
        return summaries
    chosen = summaries["shift"].to_numpy(dtype=object, copy=True)
    for name in summaries["shift"].dropna().unique():
        rows = np.flatnonzero(summaries["shift"] == name)
        own = summaries.iloc[rows].reset_index(drop=True)
        candidates = [one for one in shifts[name].candidates if one in shifts]
        distances = []
        for one in candidates:
            by = day_bounds(own.assign(shift=one).drop(columns="holiday", errors="ignore"), rules, shifts)
            distance = (own["first_punch"] - by.starts).abs()
            distance += (own["last_punch"] - by.ends).abs().where(own["punch_count"] > 1, pd.Timedelta(0))
            distances.append(distance.to_numpy("timedelta64[us]").astype(np.int64) + ~by.is_bound * _FARTHEST)
        chosen[rows] = np.array(candidates, dtype=object)[np.argmin(distances, axis=0)]
    return summaries.assign(shift=chosen)


_FARTHEST = 2**60  # microseconds; added where the shift does not work on the weekday


def _shift_codes(summaries: pd.DataFrame) -> tuple[Codes, list[str]]:
    if "shift" not in summaries:
        return np.zeros(len(summaries), dtype=np.int8), []
    codes, names = pd.factorize(summaries["shift"], sort=True)  # null is -1
    return codes + 1, [str(name) for name in names]


def _due(summaries: pd.DataFrame, codes: Codes, kinds: list[WorkRules]) -> pd.DataFrame:
    """Shift start, shift end and end of the work date per row, computed once per distinct work date, time zone, shift
    and begins of the two work dates.
    """
    zone_codes, zones = pd.factorize(summaries["timezone"])
    default_begins = np.array([minutes(kind.workday_starts_at) for kind in kinds])[codes]
    begins, next_begins = (
        summaries[what].to_numpy() if what in summaries else default_begins for what in ("begins", "next_begins")
    )
    days = summaries["work_date"].to_numpy().astype("datetime64[D]").astype(np.int64)
    sizes = (len(zones), len(kinds), MINUTES, MINUTES)
    key = days
    for part, size in zip((zone_codes, codes, begins, next_begins), sizes, strict=True):
        key = key * size + part
    row_of, distinct = pd.factorize(key)
    start, end = (np.array([offset(getattr(kind, what)) for kind in kinds]) for what in ("start", "end"))
    late_from, early_until = (np.array([offset(kind.core[n]) for kind in kinds]) for n in (0, 1))
    has_core = any(one.core_time for one in kinds)
    rest, parts = distinct, []
    for size in reversed(sizes):
        rest, part = np.divmod(rest, size) if size else (rest, rest)
        parts.append(part)
    next_begin, begin, kind, zone = parts
    work_dates = pd.Series(rest.astype("datetime64[D]").astype("datetime64[us]"))
    frames = [
        shift_instants(
            work_dates[zone == number],
            str(name),
            start=start[kind[zone == number]],
            end=end[kind[zone == number]],
            begins=_offsets(begin[zone == number]),
            next_begins=_offsets(next_begin[zone == number]),
            core=(late_from[kind[zone == number]], early_until[kind[zone == number]]) if has_core else None,
        )
        for number, name in enumerate(zones)
    ]
    if not frames:
        return kinds[0].shift_instants(summaries["work_date"], "UTC")
    return pd.concat(frames).sort_index().take(row_of).set_axis(summaries.index)


def _offsets(minutes_after: Codes) -> npt.NDArray[np.timedelta64]:
    return minutes_after.astype("timedelta64[m]").astype("timedelta64[us]")


def _day_off(summaries: pd.DataFrame, codes: Codes, named: list[Shift]) -> npt.NDArray[np.object_] | None:
    """Name of the holiday, or DAY_OFF on a weekday without work in the shift; None if no row can have either."""
    works = np.array([[True] * 7, *([day in one.weekdays for day in WEEKDAYS] for one in named)])
    if works.all() and "holiday" not in summaries:
        return None
    off = np.full(len(summaries), None, dtype=object)
    off[~works[codes, summaries["work_date"].dt.weekday.to_numpy()]] = DAY_OFF
    if "holiday" in summaries:
        is_holiday = summaries["holiday"].notna().to_numpy()
        off[is_holiday] = summaries["holiday"].to_numpy()[is_holiday]
    return off
