"""Evaluation of punch summaries to attendance days with outliers. Vectorized; the caller passes the time; no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.day_bounds import DatedRules, DayBounds, day_bounds, with_best_shifts
from zk_pipeline.attendance.frames import EVALUATED_DAYS, SUMMARIES, validated
from zk_pipeline.attendance.punctuality import attendance_status, early_leave_minutes, late_minutes
from zk_pipeline.attendance.reasons import reasons
from zk_pipeline.attendance.rules import OutlierCode, WorkRules
from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.attendance.working_time import working_time

Mask = npt.NDArray[np.bool_]
_CODES = list(OutlierCode)
# One list per combination of codes, which rows share.
_CODE_LISTS = np.empty(1 << len(_CODES), dtype=object)
_CODE_LISTS[:] = [[c.value for i, c in enumerate(_CODES) if bits >> i & 1] for bits in range(1 << len(_CODES))]


@dataclass(frozen=True)
class EvaluatedDays:
    """`days`: schema `frames.EVALUATED_DAYS`. `reprocess_after`: work dates that were evaluated before their end with a
    missing or early clock-out, and the instant at which to evaluate them again.
    """

    days: pd.DataFrame
    reprocess_after: dict[date, datetime]


def evaluate_days(
    summaries: pd.DataFrame,
    rules: WorkRules | Sequence[DatedRules],
    now: datetime,
    shifts: Mapping[str, Shift] | None = None,
) -> EvaluatedDays:
    """Attendance days from `summaries` (schema `frames.SUMMARIES`), as of the aware instant `now`.

    A row is evaluated by its shift, one of `shifts` (of several candidates, that which fits the punches best), or else
    by `rules`: one, or several in order of their first work dates, of which the first also apply before theirs. On a
    day off or holiday no hours apply.
    Clock-in is the first punch, clock-out the last. A single punch (after debouncing) has no clock-out; a missing or
    early clock-out is an outlier only after the end of the work date. Durations and bounds are compared as instants.
    Raises pandera.errors.SchemaError or SchemaErrors if a frame does not match its schema.
    """
    summaries = validated(summaries.reset_index(drop=True), SUMMARIES)
    dated = [(date.min, rules)] if isinstance(rules, WorkRules) else rules
    summaries = with_best_shifts(summaries, dated, shifts or {})
    by = day_bounds(summaries, dated, shifts or {})
    is_incomplete = (summaries["punch_count"] == 1).to_numpy()
    clock_out = summaries["last_punch"].mask(is_incomplete)
    is_over = (by.over <= pd.Timestamp(now)).to_numpy()

    too_early_out = (clock_out < by.early_until - by.bound("early_clock_out")).to_numpy() & by.is_bound
    too_late_out = (clock_out > by.ends + by.bound("late_clock_out")).to_numpy()
    flags: dict[OutlierCode, Mask] = {
        OutlierCode.CLOCK_IN_TOO_EARLY: by.is_bound
        & (summaries["first_punch"] < by.starts - by.bound("early_clock_in")).to_numpy(),
        OutlierCode.CLOCK_IN_TOO_LATE: by.is_bound
        & (summaries["first_punch"] > by.late_from + by.bound("late_clock_in")).to_numpy(),
        OutlierCode.CLOCK_OUT_TOO_EARLY: too_early_out & is_over,
        OutlierCode.CLOCK_OUT_TOO_LATE: by.is_bound & too_late_out,
        OutlierCode.MISSING_CLOCK_OUT: is_incomplete & is_over,
    }
    bits = sum(flags[code].astype(np.uint8) << i for i, code in enumerate(_CODES))
    at_work = working_time(summaries, clock_out, by)
    days = pd.DataFrame(
        {
            "site": summaries["site"],
            "device": summaries["device"],
            "user_id": summaries["user_id"],
            "work_date": summaries["work_date"],
            "clock_in": summaries["first_punch"],
            "clock_out": clock_out,
            "clock_in_local": summaries["first_punch_local"],
            "clock_out_local": summaries["last_punch_local"].mask(is_incomplete),
            "timezone": summaries["timezone"],
            "punch_count": summaries["punch_count"],
            "worked_minutes": at_work.columns.pop("worked_minutes"),
            "is_incomplete": is_incomplete,
            "is_outlier": np.asarray(bits) != 0,
            "outlier_codes": _CODE_LISTS[bits] if len(summaries) else pd.Series([], dtype=object),
            "outlier_reason": reasons(summaries, flags, by),
        }
    )
    off = {name for name, shift in (shifts or {}).items() if shift.is_off}
    days = _with_shifts(days, by, off)
    if "worked_minutes_source" in at_work.columns:
        days["worked_minutes_source"] = at_work.columns.pop("worked_minutes_source")
    days["late_minutes"] = late_minutes(summaries["first_punch"], by) + at_work.late
    days["early_leave_minutes"] = early_leave_minutes(clock_out, by) + at_work.early
    days["attendance_status"] = attendance_status(days["worked_minutes"], by)
    hours = [_hours_of(*pair, off) for pair in zip(by.kinds, by.kind_shifts, strict=True)]
    days["judged_by"] = _chosen([*hours], by.codes)
    days = days.assign(**at_work.columns)
    early = ~is_over & (is_incomplete | too_early_out)
    # The earliest end of the work date in any time zone; rows of other zones are evaluated again after it.
    recheck = by.over[early].groupby(summaries["work_date"][early].dt.date).min()
    return EvaluatedDays(
        validated(days, EVALUATED_DAYS), {cast(date, d): moment.to_pydatetime() for d, moment in recheck.items()}
    )


def _with_shifts(days: pd.DataFrame, by: DayBounds, off: Set[str]) -> pd.DataFrame:
    """Add the shift, its hours and the day off of each row, unless all rows have the hours of the settings. The shifts
    `off` have no hours.
    """
    if by.has_shifts:
        named = zip(by.kinds, by.kind_shifts, strict=True)
        kinds = [None if shift is None or shift in off else kind for kind, shift in named]
        days["shift"] = _chosen([*by.kind_shifts], by.codes)
        days["shift_start"] = _chosen([kind and kind.start for kind in kinds], by.codes)
        days["shift_end"] = _chosen([kind and kind.end for kind in kinds], by.codes)
    if by.day_off is not None:
        days["day_off"] = by.day_off
    return days


def _hours_of(kind: WorkRules, shift: str | None, off: Set[str]) -> str:
    hours = "off" if shift in off else f"{kind.start:%H:%M}-{kind.end:%H:%M}"
    return f"{hours} ({'settings' if shift is None else f'shift {shift}'})"


def _chosen(values: list[object], codes: npt.NDArray[np.integer]) -> npt.NDArray[np.object_]:
    table = np.empty(len(values), dtype=object)
    table[:] = values
    chosen: npt.NDArray[np.object_] = table[codes]
    return chosen
