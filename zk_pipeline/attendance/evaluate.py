"""The rules that turn the summary of a person's punches into a day. Whole columns, no clock of its own, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.day_bounds import DayBounds, day_bounds
from zk_pipeline.attendance.frames import JUDGED, SUMMARIES
from zk_pipeline.attendance.reasons import reasons
from zk_pipeline.attendance.rules import OutlierCode, WorkRules
from zk_pipeline.attendance.shifts import Shift

Mask = npt.NDArray[np.bool_]
_CODES = list(OutlierCode)
# Every combination of codes once: rows share these lists instead of building millions.
_CODE_LISTS = np.empty(1 << len(_CODES), dtype=object)
_CODE_LISTS[:] = [[c.value for i, c in enumerate(_CODES) if bits >> i & 1] for bits in range(1 << len(_CODES))]


@dataclass(frozen=True)
class EvaluatedDays:
    """`days` as declared by `frames.JUDGED`; `reprocess_after`: work dates judged too early, and when the next of their
    rows is over.
    """

    days: pd.DataFrame
    reprocess_after: dict[date, datetime]


def evaluate_days(
    summaries: pd.DataFrame, rules: WorkRules, now: datetime, shifts: Mapping[str, Shift] | None = None
) -> EvaluatedDays:
    """Days from `summaries` (as declared by `frames.SUMMARIES`), seen at the aware instant `now`.

    A row is judged by the shift it names, one of `shifts`, else by `rules`; on a day off or holiday no hours bind.
    Clock-in is the first punch, clock-out the last. A single punch (after debouncing) has no clock-out; that and an
    early clock-out count as outliers only once the work date is over. Durations and bounds are compared as instants.
    Raises pandera.errors.SchemaError, or SchemaErrors, where a frame is not as declared.
    """
    given = SUMMARIES.validate(summaries.reset_index(drop=True))
    by = day_bounds(given, rules, shifts or {})
    is_incomplete = (given["punch_count"] == 1).to_numpy()
    clock_out = given["last_punch"].mask(is_incomplete)
    is_over = (by.over <= pd.Timestamp(now)).to_numpy()

    too_early_out = (clock_out < by.ends - by.bound("early_clock_out")).to_numpy() & by.is_bound
    too_late_out = (clock_out > by.ends + by.bound("late_clock_out")).to_numpy()
    flags: dict[OutlierCode, Mask] = {
        OutlierCode.CLOCK_IN_TOO_EARLY: by.is_bound
        & (given["first_punch"] < by.starts - by.bound("early_clock_in")).to_numpy(),
        OutlierCode.CLOCK_IN_TOO_LATE: by.is_bound
        & (given["first_punch"] > by.starts + by.bound("late_clock_in")).to_numpy(),
        OutlierCode.CLOCK_OUT_TOO_EARLY: too_early_out & is_over,
        OutlierCode.CLOCK_OUT_TOO_LATE: by.is_bound & too_late_out,
        OutlierCode.MISSING_CLOCK_OUT: is_incomplete & is_over,
    }
    bits = sum(flags[code].astype(np.uint8) << i for i, code in enumerate(_CODES))
    from_first_to_last = (clock_out - given["first_punch"]).dt.total_seconds().floordiv(60).astype("Int32")
    days = pd.DataFrame(
        {
            "site": given["site"],
            "device": given["device"],
            "user_id": given["user_id"],
            "work_date": given["work_date"],
            "clock_in": given["first_punch"],
            "clock_out": clock_out,
            "clock_in_local": given["first_punch_local"],
            "clock_out_local": given["last_punch_local"].mask(is_incomplete),
            "timezone": given["timezone"],
            "punch_count": given["punch_count"],
            "worked_minutes": from_first_to_last,
            "is_incomplete": is_incomplete,
            "is_outlier": np.asarray(bits) != 0,
            "outlier_codes": _CODE_LISTS[bits] if len(given) else pd.Series([], dtype=object),
            "outlier_reason": reasons(given, flags, by),
        }
    )
    days = _with_pairs(_with_shifts(days, by), given, is_incomplete)
    early = ~is_over & (is_incomplete | too_early_out)
    # The earliest zone decides: its rows are due then, and the others are looked at again after that.
    recheck = by.over[early].groupby(given["work_date"][early].dt.date).min()
    return EvaluatedDays(
        JUDGED.validate(days), {cast(date, d): moment.to_pydatetime() for d, moment in recheck.items()}
    )


def _with_shifts(days: pd.DataFrame, by: DayBounds) -> pd.DataFrame:
    """Says what each row was judged by, where that is not simply the settings."""
    if by.has_shifts:
        kinds = [None, *by.kinds[1:]]
        days["shift"] = _chosen([None, *by.names], by.codes)
        days["shift_start"] = _chosen([kind and kind.start for kind in kinds], by.codes)
        days["shift_end"] = _chosen([kind and kind.end for kind in kinds], by.codes)
    if by.day_off is not None:
        days["day_off"] = by.day_off
    return days


def _with_pairs(days: pd.DataFrame, given: pd.DataFrame, is_incomplete: Mask) -> pd.DataFrame:
    """Minutes from in/out pairs in rows whose punch states are trusted; where they do not pair, the row says so."""
    if "is_trusted" not in given:
        return days
    is_trusted = given["is_trusted"].to_numpy() & ~is_incomplete
    is_paired = is_trusted & given["paired"].notna().to_numpy()
    minutes = (given["paired"] // 60_000_000).astype("Int32")
    days["worked_minutes"] = days["worked_minutes"].mask(is_paired, minutes)
    days["worked_minutes_source"] = _chosen([None, "unmatched", "punch_states"], is_trusted.astype(np.int8) + is_paired)
    return days


def _chosen(values: list[object], codes: npt.NDArray[np.integer]) -> npt.NDArray[np.object_]:
    table = np.empty(len(values), dtype=object)
    table[:] = values
    chosen: npt.NDArray[np.object_] = table[codes]
    return chosen
