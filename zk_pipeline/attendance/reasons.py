"""Why a day is unusual, as sentences: the reading, the bound, and the hour of the row's own shift."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.measures import Measures
from zk_pipeline.attendance.rules import OutlierCode

Mask = npt.NDArray[np.bool_]


def reasons(given: pd.DataFrame, flags: Mapping[OutlierCode, Mask], by: Measures) -> pd.Series[str]:
    """A sentence per flagged row, the parts in the order of the day; empty for the others."""
    into, out = given["first_punch_local"], given["last_punch_local"]
    parts = []
    for code, what, readings, side, allowed in (
        (OutlierCode.CLOCK_IN_TOO_EARLY, "Clock-in", into, "before", "early_clock_in"),
        (OutlierCode.CLOCK_IN_TOO_LATE, "Clock-in", into, "after", "late_clock_in"),
        (OutlierCode.CLOCK_OUT_TOO_EARLY, "Clock-out", out, "before", "early_clock_out"),
        (OutlierCode.CLOCK_OUT_TOO_LATE, "Clock-out", out, "after", "late_clock_out"),
    ):
        for number, kind in enumerate(by.kinds):
            # Rows of another shift have another hour in their sentence.
            flagged = flags[code] if len(by.kinds) == 1 else flags[code] & (by.codes == number)
            hour = kind.start if what == "Clock-in" else kind.end
            parts.append(_part(what, readings, flagged, getattr(kind, allowed), side=side, hour=hour))
    missing = into[flags[OutlierCode.MISSING_CLOCK_OUT]]
    parts.append("No clock-out after the punch at " + missing.dt.strftime("%H:%M").astype(object))
    sentences = pd.Series("", index=given.index, dtype=object)
    for part in parts:
        before = sentences.loc[part.index]
        sentences.loc[part.index] = before.where(before == "", before + "; ") + part
    return sentences


def _part(
    what: str, readings: pd.Series[pd.Timestamp], flagged: Mask, bound: timedelta, *, side: str, hour: time
) -> pd.Series[str]:
    at = readings[flagged]
    # A punch in the very minute of the bound needs its seconds to be believed.
    bound_minute = (datetime.combine(date(2000, 1, 2), hour) + (bound if side == "after" else -bound)).strftime("%H:%M")
    shown = at.dt.strftime("%H:%M").astype(object)
    shown = shown.where(shown != bound_minute, at.dt.strftime("%H:%M:%S").astype(object))
    return f"{what} " + shown + f", more than {_hours(bound)} {side} {hour:%H:%M}"


def _hours(bound: timedelta) -> str:
    minutes = round(bound.total_seconds() / 60)
    whole, rest = divmod(minutes, 60)
    return f"{whole} h {rest} min" if whole and rest else f"{whole} h" if whole or not rest else f"{rest} min"
