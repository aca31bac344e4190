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
    """Weekdays from `mon-fri`, `mon,wed`, a list of such, `none`, or the working days of a country, `country:SA`; in
    week order. Other values are returned unchanged.
    """
    if isinstance(value, str) and value.strip().lower() == "none":
        return ()
    if isinstance(value, str) and value.strip().lower().startswith("country:"):
        return _working_days(value.partition(":")[2].strip())
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        return value
    selected: set[str] = set()
    for part in parts:
        first, dash, last = str(part).lower().partition("-")
        if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
            raise ValueError(
                f"{part!r} is not a weekday: {', '.join(WEEKDAYS)}, a range such as mon-fri, none, or country:SA"
            )
        begin, end = WEEKDAYS.index(first), WEEKDAYS.index(last or first)
        selected |= {WEEKDAYS[number % 7] for number in range(begin, end + 1 + 7 * (end < begin))}
    return tuple(day for day in WEEKDAYS if day in selected)


def _working_days(country: str) -> tuple[str, ...]:
    """Weekdays that are no weekend in a country, by its ISO 3166-1 code."""
    from holidays import country_holidays  # noqa: PLC0415 (used by this notation only)

    try:
        weekend = country_holidays(country.upper()).weekend
    except NotImplementedError:
        raise ValueError(
            f"{country!r} is not the ISO code of a country with a known weekend, such as SA or DE"
        ) from None
    return tuple(day for number, day in enumerate(WEEKDAYS) if number not in weekend)
