"""How pages word instants, spans and shares, as filters of the templates. What is None is said, never guessed."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from jinja2 import Environment

NOTHING = "–"


def add_formatting_filters(environment: Environment) -> None:
    environment.filters.update(instant=instant, ago=ago, duration=duration, seconds=seconds, percent=percent)


def instant(value: datetime | None, zone: str = "UTC", nothing: str = NOTHING) -> str:
    """`2026-03-02 09:00 Europe/Istanbul`: an instant on the wall clock of a zone, which is named."""
    return nothing if value is None else f"{value.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"


def ago(value: datetime | None, now: datetime, nothing: str = "never") -> str:
    """`5 min ago`, in the largest unit that fits."""
    if value is None:
        return nothing
    passed = now - value
    if abs(passed) < timedelta(minutes=1):
        return "just now"
    words = _largest_unit(abs(passed))
    return f"{words} ago" if passed > timedelta(0) else f"in {words}"


def duration(minutes: int | None) -> str:
    """`8 h 05 min`."""
    return NOTHING if minutes is None else f"{minutes // 60} h {minutes % 60:02} min"


def seconds(value: float | None) -> str:
    """A signed difference: `+1.5 s`, `−40 min`."""
    if value is None:
        return NOTHING
    sign = "−" if value < 0 else "+"
    size = abs(value)
    return f"{sign}{size:.1f} s" if size < 120 else f"{sign}{_largest_unit(timedelta(seconds=size))}"


def percent(share: float | None) -> str:
    return NOTHING if share is None else f"{share:.0%}"


def _largest_unit(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} days"
