"""The rules that turn the summary of a person's punches into a day. Whole columns, no clock of its own, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.frames import DAYS, SUMMARIES
from zk_pipeline.attendance.rules import OutlierCode, WorkRules

Mask = npt.NDArray[np.bool_]
_CODES = list(OutlierCode)
# Every combination of codes once: rows share these lists instead of building millions.
_CODE_LISTS = np.empty(1 << len(_CODES), dtype=object)
_CODE_LISTS[:] = [[c.value for i, c in enumerate(_CODES) if bits >> i & 1] for bits in range(1 << len(_CODES))]


@dataclass(frozen=True)
class Judged:
    """`days` as declared by `frames.DAYS`; `recheck_after`: work dates judged too early, and when the next of their
    rows is over.
    """

    days: pd.DataFrame
    recheck_after: dict[date, datetime]


def judge(summaries: pd.DataFrame, rules: WorkRules, now: datetime) -> Judged:
    """Days from `summaries` (as declared by `frames.SUMMARIES`), seen at the aware instant `now`.

    Clock-in is the first punch, clock-out the last. A single punch (after debouncing) has no clock-out; that and an
    early clock-out count as outliers only once the work date is over. Durations and bounds are compared as instants.
    Raises pandera.errors.SchemaError, or SchemaErrors, where a frame is not as declared.
    """
    given = SUMMARIES.validate(summaries.reset_index(drop=True))
    due = _due(given, rules)
    is_incomplete = (given["punch_count"] == 1).to_numpy()
    clock_out = given["last_punch"].mask(is_incomplete)
    is_over = (due["over"] <= pd.Timestamp(now)).to_numpy()

    too_early_out = (clock_out < due["ends"] - rules.early_clock_out).to_numpy()
    flags: dict[OutlierCode, Mask] = {
        OutlierCode.CLOCK_IN_TOO_EARLY: (given["first_punch"] < due["starts"] - rules.early_clock_in).to_numpy(),
        OutlierCode.CLOCK_IN_TOO_LATE: (given["first_punch"] > due["starts"] + rules.late_clock_in).to_numpy(),
        OutlierCode.CLOCK_OUT_TOO_EARLY: too_early_out & is_over,
        OutlierCode.CLOCK_OUT_TOO_LATE: (clock_out > due["ends"] + rules.late_clock_out).to_numpy(),
        OutlierCode.MISSING_CLOCK_OUT: is_incomplete & is_over,
    }
    bits = sum(flags[code].astype(np.uint8) << i for i, code in enumerate(_CODES))
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
            "worked_minutes": (clock_out - given["first_punch"]).dt.total_seconds().floordiv(60).astype("Int32"),
            "is_incomplete": is_incomplete,
            "is_outlier": np.asarray(bits) != 0,
            "outlier_codes": _CODE_LISTS[bits] if len(given) else pd.Series([], dtype=object),
            "outlier_reason": _reasons(given, flags, rules),
        }
    )
    early = ~is_over & (is_incomplete | too_early_out)
    # The earliest zone decides: its rows are due then, and the others are looked at again after that.
    recheck = due["over"][early].groupby(given["work_date"][early].dt.date).min()
    return Judged(DAYS.validate(days), {d: moment.to_pydatetime() for d, moment in recheck.items()})


def _due(given: pd.DataFrame, rules: WorkRules) -> pd.DataFrame:
    """Start, end and end of date for each row; computed once per work date and zone."""
    pairs = given[["work_date", "timezone"]].drop_duplicates()
    parts = [
        pd.concat([part, rules.due(part["work_date"], str(zone))], axis=1)
        for zone, part in pairs.groupby("timezone", sort=False)
    ]
    if not parts:
        return rules.due(given["work_date"], "UTC")
    return given[["work_date", "timezone"]].merge(pd.concat(parts), how="left", on=["work_date", "timezone"])


def _reasons(given: pd.DataFrame, flags: dict[OutlierCode, Mask], rules: WorkRules) -> pd.Series[str]:
    """A sentence per flagged row, the parts in the order of the day; empty for the others."""
    into, out = given["first_punch_local"], given["last_punch_local"]
    parts = [
        _part(
            "Clock-in",
            into,
            flags[OutlierCode.CLOCK_IN_TOO_EARLY],
            rules.early_clock_in,
            side="before",
            hour=rules.start,
        ),
        _part(
            "Clock-in", into, flags[OutlierCode.CLOCK_IN_TOO_LATE], rules.late_clock_in, side="after", hour=rules.start
        ),
        _part(
            "Clock-out",
            out,
            flags[OutlierCode.CLOCK_OUT_TOO_EARLY],
            rules.early_clock_out,
            side="before",
            hour=rules.end,
        ),
        _part(
            "Clock-out", out, flags[OutlierCode.CLOCK_OUT_TOO_LATE], rules.late_clock_out, side="after", hour=rules.end
        ),
        "No clock-out after the punch at "
        + into[flags[OutlierCode.MISSING_CLOCK_OUT]].dt.strftime("%H:%M").astype(object),
    ]
    reasons = pd.Series("", index=given.index, dtype=object)
    for part in parts:
        before = reasons.loc[part.index]
        reasons.loc[part.index] = before.where(before == "", before + "; ") + part
    return reasons


def _part(
    what: str, punches: pd.Series[pd.Timestamp], flagged: Mask, bound: timedelta, *, side: str, hour: time
) -> pd.Series[str]:
    at = punches[flagged]
    # A punch in the very minute of the bound needs its seconds to be believed.
    bound_minute = (datetime.combine(date(2000, 1, 2), hour) + (bound if side == "after" else -bound)).strftime("%H:%M")
    shown = at.dt.strftime("%H:%M").astype(object)
    shown = shown.where(shown != bound_minute, at.dt.strftime("%H:%M:%S").astype(object))
    return f"{what} " + shown + f", more than {_hours(bound)} {side} {hour:%H:%M}"


def _hours(bound: timedelta) -> str:
    minutes = round(bound.total_seconds() / 60)
    whole, rest = divmod(minutes, 60)
    return f"{whole} h {rest} min" if whole and rest else f"{whole} h" if whole or not rest else f"{rest} min"
