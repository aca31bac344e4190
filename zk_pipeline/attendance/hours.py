"""Parsers of times of day and weekdays for files and options. Each raises ValueError for invalid text."""

from __future__ import annotations

import re
from datetime import time

from zk_pipeline.attendance.shifts import WEEKDAYS


def wall_time(value: object) -> object:
    """`9:00` or `09:00` as a time; values other than text are returned unchanged."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", value.strip()):
        raise ValueError("must be a time of day such as 09:00")
    return time.fromisoformat(value.strip().zfill(5))


def rule_text(value: object) -> object:
    """Rules of a shift, given as one text or as a list of texts; other values are returned unchanged."""
    return ", ".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


def weekdays_of(value: object) -> object:
    """Weekdays from `mon-fri`, `mon,wed` or a list of such, in week order; other values are returned unchanged."""
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return value
    selected: set[str] = set()
    for part in parts:
        first, dash, last = str(part).lower().partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(f"{part!r} is not a weekday: {', '.join(WEEKDAYS)}, or a range such as mon-fri")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        selected |= {WEEKDAYS[number % 7] for number in range(begin, end + 1 + 7 * (end < begin))}
    return tuple(day for day in WEEKDAYS if day in selected)
