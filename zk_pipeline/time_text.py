"""Times as text for people: instants with their zone, wall-clock times (`*_local`) without one.

The only module that formats a date with a time of day. No function uses the zone of the host.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

Precision = Literal["minutes", "seconds"]


def wall_clock(local: datetime, precision: Precision = "seconds") -> str:
    """A wall-clock time, `2026-03-02 08:41:00`. Raises ValueError for an instant, which has another text per zone."""
    if local.tzinfo is not None:
        raise ValueError(f"{local!r} is an instant, not a wall-clock time")
    return local.isoformat(" ", precision)


def time_of_day(local: datetime) -> str:
    """The hour and minute of a wall-clock time, `08:41`."""
    return wall_clock(local, "minutes").rpartition(" ")[2]


def instant(at: datetime, zone: str = "UTC", precision: Precision = "seconds") -> str:
    """An instant with the zone, `2026-03-02 08:41:00 Africa/Nairobi`. Raises ValueError for a wall-clock time."""
    return f"{wall_clock(in_zone(at, zone), precision)} {zone}"


def in_zone(at: datetime, zone: str) -> datetime:
    """The wall-clock time of `zone` at an instant. Raises ValueError for a wall-clock time."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} is a wall-clock time, not an instant")
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def either(value: datetime, zone: str = "UTC") -> str:
    """The text of an instant in `zone`, or of a wall-clock time, for tables with columns of both kinds."""
    return wall_clock(value) if value.tzinfo is None else instant(value, zone)
