"""Times of day and weekdays as people write them, for files and options. Each raises ValueError with what is wrong."""

from __future__ import annotations

import re
from datetime import time

from zk_pipeline.attendance.shifts import WEEKDAYS


def wall_time(value: object) -> object:
    """`9:00` or `09:00` as a time; what is no text is left to others."""
    if not isinstance(value, str):
        return value
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", value.strip()):
        raise ValueError("must be a time of day such as 09:00")
    return time.fromisoformat(value.strip().zfill(5))


def weekdays_of(value: object) -> object:
    """`mon-fri`, `mon,wed` or a list of such, in the order of the week; what is neither is left to others."""
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return value
    found: set[str] = set()
    for part in parts:
        first, dash, last = str(part).lower().partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(f"{part!r} is no weekday: {', '.join(WEEKDAYS)}, or a span such as mon-fri")
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        found |= {WEEKDAYS[number % 7] for number in range(begin, end + 1 + 7 * (end < begin))}
    return tuple(day for day in WEEKDAYS if day in found)
