"""Time zones that would explain the measured clock drift of a terminal: a wrong zone looks like a drift of hours."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable
from datetime import datetime, timedelta

_STEP = timedelta(minutes=15)  # offsets of all current zones are multiples of it
_SMALLEST = timedelta(minutes=30)
_TOLERANCE = timedelta(minutes=3)  # a clock that is right in its own zone differs by less
_MOST = 4


def zone_shift(drift_seconds: float | None) -> timedelta | None:
    """The multiple of 15 minutes, at least 30, that a drift (terminal minus true time) is close to; else None."""
    if drift_seconds is None:
        return None
    drift = timedelta(seconds=drift_seconds)
    shift = round(drift / _STEP) * _STEP
    return shift if abs(shift) >= _SMALLEST and abs(drift - shift) <= _TOLERANCE else None


def suggested_zones(zone: str, shift: timedelta, now: datetime, preferred: Iterable[str]) -> list[str]:
    """At most four zones whose offset at `now` (an instant) is that of `zone` plus `shift`.

    First those in `preferred`, then those of the same region as `zone`, such as Europe.
    """
    wanted = _offset(zone, now) + shift
    region = zone.partition("/")[0]
    others = sorted(
        (name for name in zoneinfo.available_timezones() if _is_place(name)),
        key=lambda name: (not name.startswith(f"{region}/"), name),
    )
    fitting = (name for name in dict.fromkeys([*preferred, *others]) if name != zone and _offset(name, now) == wanted)
    return [name for name, _ in zip(fitting, range(_MOST), strict=False)]


def _is_place(name: str) -> bool:
    return "/" in name and not name.startswith(("Etc/", "SystemV/", "US/", "posix/", "right/"))


def _offset(zone: str, now: datetime) -> timedelta:
    return now.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset() or timedelta(0)
