"""Time zones that would explain the measured clock drift of a terminal: a wrong zone looks like a drift of hours."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import islice

_STEP = timedelta(minutes=15)  # offsets of all current zones are multiples of it
_SMALLEST = timedelta(minutes=30)
_TOLERANCE = timedelta(minutes=3)  # a clock that is right in its own zone differs by less
_MOST = 4
# Zones of large cities, from west to east.
_WELL_KNOWN = """
    Pacific/Honolulu America/Anchorage America/Los_Angeles America/Denver America/Phoenix America/Chicago
    America/Mexico_City America/New_York America/Bogota America/Lima America/Toronto America/Caracas America/Halifax
    America/Santiago America/St_Johns America/Sao_Paulo America/Argentina/Buenos_Aires Atlantic/Azores UTC
    Europe/London Europe/Lisbon Africa/Casablanca Africa/Lagos Europe/Berlin Europe/Paris Europe/Madrid Africa/Cairo
    Africa/Johannesburg Europe/Athens Europe/Kyiv Asia/Jerusalem Europe/Istanbul Asia/Riyadh Europe/Moscow
    Africa/Nairobi Asia/Baghdad Asia/Tehran Asia/Dubai Asia/Baku Asia/Kabul Asia/Karachi Asia/Tashkent Asia/Almaty
    Asia/Kolkata Asia/Colombo Asia/Kathmandu Asia/Dhaka Asia/Yangon Asia/Bangkok Asia/Jakarta Asia/Ho_Chi_Minh
    Asia/Shanghai Asia/Singapore Asia/Manila Asia/Hong_Kong Australia/Perth Asia/Tokyo Asia/Seoul Australia/Adelaide
    Australia/Sydney Pacific/Auckland
"""


def zone_shift(drift_seconds: float | None) -> timedelta | None:
    """The multiple of 15 minutes, at least 30, that a drift (terminal minus true time) is close to; else None."""
    if drift_seconds is None:
        return None
    drift = timedelta(seconds=drift_seconds)
    shift = round(drift / _STEP) * _STEP
    return shift if abs(shift) >= _SMALLEST and abs(drift - shift) <= _TOLERANCE else None


def suggested_zones(zone: str, shift: timedelta, now: datetime, preferred: Iterable[str]) -> list[str]:
    """At most four zones whose offset at `now` (an instant) is that of `zone` plus `shift`.

    First those in `preferred`, then well-known ones, then others; of each those of the same region as `zone`, such as
    Europe, first.
    """
    wanted, region = _offset(zone, now) + shift, zone.partition("/")[0]

    def by_region(names: Iterable[str]) -> list[str]:
        return sorted(names, key=lambda name: not name.startswith(f"{region}/"))

    others = sorted(name for name in zoneinfo.available_timezones() if _is_place(name))
    names = dict.fromkeys([*preferred, *by_region(_WELL_KNOWN.split()), *by_region(others)])
    fitting = (name for name in names if name != zone and _offset(name, now) == wanted)
    return list(islice(fitting, _MOST))


def _is_place(name: str) -> bool:
    return "/" in name and not name.startswith(("Antarctica/", "Etc/", "SystemV/", "US/", "posix/", "right/"))


def _offset(zone: str, now: datetime) -> timedelta:
    return now.astimezone(zoneinfo.ZoneInfo(zone)).utcoffset() or timedelta(0)
