"""Charts of one terminal over the last weeks: clock drift, fill level of its log, punches, polls, uploads."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

from zk_pipeline.store.queries.device_history import DAYS, DeviceDate
from zk_pipeline.web.charts import Bar, Series, bar_chart, line_chart
from zk_pipeline.web.formatting import elapsed, percent, seconds

_BARS = 30  # dates with bars


@dataclass(frozen=True)
class Chart:
    """A chart with the heading above it."""

    key: str  # id of its heading
    title: str
    content: Markup


def device_charts(history: Sequence[DeviceDate], capacity: int | None) -> list[Chart]:
    """The charts for which there are measurements; `capacity`: of its log, in records."""
    labels = [_label(one.date) for one in history]
    newest = history[-_BARS:]
    charts = []
    if any(one.drift_seconds is not None for one in history):
        series = [Series("clock drift", [one.drift_seconds for one in history])]
        title = f"Clock drift, {DAYS} days"
        charts.append(Chart("drift", title, line_chart(f"{title}, below zero: slow", series, labels, seconds, _axis)))
    if capacity and any(one.records is not None for one in history):
        filled = [None if one.records is None else one.records / capacity for one in history]
        title = f"Log filled, {DAYS} days"
        charts.append(Chart("fill", title, line_chart(title, [Series("filled", filled)], labels, percent, percent)))
    if any(one.punches for one in newest):
        title = f"New punches per day, {_BARS} days"
        bars = [Bar(_label(one.date), one.punches) for one in newest]
        charts.append(Chart("punches", title, bar_chart(title, bars)))
    if any(one.polls or one.failed for one in newest):
        title = f"Polls per day, {_BARS} days"
        bars = [Bar(_label(one.date), one.polls - one.failed, failed=one.failed) for one in newest]
        charts.append(Chart("polls", title, bar_chart(title, bars)))
    if any(one.uploads for one in newest):
        title = f"Uploads per day, {_BARS} days"
        bars = [Bar(_label(one.date), one.uploads) for one in newest]
        charts.append(Chart("uploads", title, bar_chart(title, bars)))
    if any(one.lag_seconds is not None for one in history):
        lags = [Series("longest lag", [one.lag_seconds for one in history])]
        title = f"Time from punch to upload, {DAYS} days"
        charts.append(Chart("lag", title, line_chart(title, lags, labels, elapsed, _axis)))
    return charts


def _axis(value: float) -> str:
    """Seconds on the axis, in their largest unit."""
    sign, size = "−" if value < 0 else "", abs(value)
    if size < 120:
        return f"{sign}{size:.3g} s"
    return f"{sign}{size / 60:.3g} min" if size < 7200 else f"{sign}{size / 3600:.3g} h"


def _label(day: date) -> str:
    return f"{day.day} {calendar.month_abbr[day.month]}"
