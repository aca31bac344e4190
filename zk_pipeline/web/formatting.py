"""Jinja filters that format instants, durations, differences and percentages."""

from __future__ import annotations

from datetime import datetime, timedelta

from jinja2 import Environment

from zk_pipeline import time_text
from zk_pipeline.counted import counted

NOTHING = "–"


def add_formatting_filters(environment: Environment) -> None:
    environment.filters.update(
        instant=instant,
        ago=ago,
        duration=duration,
        elapsed=elapsed,
        seconds=seconds,
        percent=percent,
        counted=counted,
    )


def instant(value: datetime | None, zone: str = "UTC", nothing: str = NOTHING) -> str:
    """An instant on the wall clock of a zone: `2026-03-02 09:00 Europe/Istanbul`."""
    return nothing if value is None else time_text.instant(value, zone, "minutes")


def ago(value: datetime | None, now: datetime, nothing: str = "never") -> str:
    """Time since an instant in its largest unit: `5 min ago`."""
    if value is None:
        return nothing
    passed = now - value
    if abs(passed) < timedelta(minutes=1):
        return "just now"
    size = _largest_unit(abs(passed))
    return f"{size} ago" if passed > timedelta(0) else f"in {size}"


def duration(minutes: int | None) -> str:
    """Minutes as `8 h 05 min`."""
    return NOTHING if minutes is None else f"{minutes // 60} h {minutes % 60:02} min"


def elapsed(value: float) -> str:
    """Duration in seconds as `4.2 s`, `42 s`, `12 min 05 s` or `2 h 05 min`."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, left = divmod(int(value), 60)
    return f"{minutes} min {left:02} s" if minutes < 60 else duration(minutes)


def seconds(value: float | None) -> str:
    """A signed difference in seconds as `+1.5 s`, `−40 min`, `+2 h 00 min` or `−3 days`."""
    if value is None:
        return NOTHING
    sign, size, minutes = "−" if value < 0 else "+", abs(value), round(abs(value) / 60)
    if size < 120:
        return f"{sign}{size:.1f} s"
    return f"{sign}{duration(minutes) if 60 <= minutes < 48 * 60 else _largest_unit(timedelta(minutes=minutes))}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}"


def _largest_unit(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"
