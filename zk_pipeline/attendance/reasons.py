"""Outlier reasons as sentences: the time of the punch, the bound, and the hour of the row's shift."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.day_bounds import DayBounds
from zk_pipeline.attendance.rules import OutlierCode, WorkRules

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Texts = npt.NDArray[np.object_]
_CLOCK = np.array([f"{minute // 60:02}:{minute % 60:02}" for minute in range(24 * 60)], dtype=object)


def reasons(summaries: pd.DataFrame, flags: Mapping[OutlierCode, Mask], by: DayBounds) -> Texts:
    """One sentence per flagged row, its parts in chronological order; empty for the other rows."""
    into, out = summaries["first_punch_local"], summaries["last_punch_local"]
    sentences = np.full(len(summaries), "", dtype=object)
    for code, what, readings, side, allowed in (
        (OutlierCode.CLOCK_IN_TOO_EARLY, "Clock-in", into, "before", "early_clock_in"),
        (OutlierCode.CLOCK_IN_TOO_LATE, "Clock-in", into, "after", "late_clock_in"),
        (OutlierCode.CLOCK_OUT_TOO_EARLY, "Clock-out", out, "before", "early_clock_out"),
        (OutlierCode.CLOCK_OUT_TOO_LATE, "Clock-out", out, "after", "late_clock_out"),
    ):
        rows = np.flatnonzero(flags[code])
        hours = [_hour(kind, code) for kind in by.kinds]
        bounds: list[timedelta] = [getattr(kind, allowed) for kind in by.kinds]
        edges = [_edge(hour, bound if side == "after" else -bound) for hour, bound in zip(hours, bounds, strict=True)]
        ends = [f", more than {_hours(bound)} {side} {hour:%H:%M}" for hour, bound in zip(hours, bounds, strict=True)]
        # The hour in the sentence is that of the row's shift.
        kinds = by.codes[rows]
        shown = _shown(readings.to_numpy("datetime64[us]")[rows], np.array(edges)[kinds])
        _add(sentences, rows, f"{what} " + shown + np.array(ends, dtype=object)[kinds])
    rows = np.flatnonzero(flags[OutlierCode.MISSING_CLOCK_OUT])
    _add(sentences, rows, "No clock-out after the punch at " + _shown(into.to_numpy("datetime64[us]")[rows], None))
    return sentences


def _hour(kind: WorkRules, code: OutlierCode) -> time:
    """Hour from which the bound of `code` counts."""
    return {
        OutlierCode.CLOCK_IN_TOO_EARLY: kind.start,
        OutlierCode.CLOCK_IN_TOO_LATE: kind.core[0],
        OutlierCode.CLOCK_OUT_TOO_EARLY: kind.core[1],
        OutlierCode.CLOCK_OUT_TOO_LATE: kind.end,
    }[code]


def _add(sentences: Texts, rows: Rows, part: Texts) -> None:
    before = sentences[rows]
    sentences[rows] = np.where(before == "", part, before + "; " + part)


def _shown(readings: npt.NDArray[np.datetime64], edges: npt.NDArray[np.int64] | None) -> Texts:
    """Times as HH:MM, or HH:MM:SS in the minute of the bound (`edges`), where HH:MM would not show the violation."""
    minutes = (readings - readings.astype("datetime64[D]")) // np.timedelta64(1, "m")
    shown: Texts = _CLOCK[minutes]
    if edges is not None:
        at_edge = minutes == edges
        shown[at_edge] = [f"{reading:%H:%M:%S}" for reading in readings[at_edge].tolist()]
    return shown


def _edge(hour: time, bound: timedelta) -> int:
    """Minute of the day of `hour` plus `bound`."""
    edge = datetime.combine(date(2000, 1, 2), hour) + bound
    return edge.hour * 60 + edge.minute


def _hours(bound: timedelta) -> str:
    minutes = round(bound.total_seconds() / 60)
    whole, rest = divmod(minutes, 60)
    return f"{whole} h {rest} min" if whole and rest else f"{whole} h" if whole or not rest else f"{rest} min"
