"""Clock of an emulated pushing terminal, set by the receiver: `Date` header, `TimeZone`, `SET OPTION DateTime`."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import mktime_tz, parsedate_tz
from zoneinfo import ZoneInfo

from zk_pipeline.simulator.push.profiles import Family

_MAX_HOURS = 14  # a larger TimeZone of family A is in minutes
_WHOLE_NUMBER = re.compile(r"[+-]?\d+")
_SIGNED_CLOCK = re.compile(r"([+-])(\d\d):?(\d\d)")


class DeviceClock:
    """Wall clock with a fixed UTC offset: a terminal knows no daylight saving time.

    `clock` returns the true time, aware; the terminal's clock differs by `error_seconds` until a receiver sets it.
    """

    def __init__(self, zone: ZoneInfo, clock: Callable[[], datetime], error_seconds: float = 0) -> None:
        self._clock = clock
        self._error = timedelta(seconds=error_seconds)
        self.utc_offset = clock().astimezone(zone).utcoffset() or timedelta(0)

    def now_local(self) -> datetime:
        """Wall clock that the terminal shows, naive."""
        return self._true_utc() + self._error + self.utc_offset

    def set_local(self, wall_clock_local: datetime) -> None:
        """Set the wall clock (naive), which runs on from this time."""
        self._error = wall_clock_local - self._true_utc() - self.utc_offset

    def follow_date(self, date: str) -> None:
        """Take the time of a `Date` header (RFC 9110); a difference below one second changes nothing."""
        if (parsed := parsedate_tz(date)) is None:
            return
        error = datetime.fromtimestamp(mktime_tz(parsed), UTC).replace(tzinfo=None) - self._true_utc()
        if abs(error - self._error) >= timedelta(seconds=1):
            self._error = error

    def set_zone(self, text: str, family: Family) -> None:
        """Take the `TimeZone` of an option block; a value of the other family's form is read as its firmware would.

        A: whole hours, or minutes beyond 14 (`8`, `330`). B and C: `+05:30`, `+0530`.
        """
        if family == "A":
            if number := _WHOLE_NUMBER.match(text):
                value = int(number[0])
                self.utc_offset = timedelta(hours=value) if abs(value) <= _MAX_HOURS else timedelta(minutes=value)
        elif signed := _SIGNED_CLOCK.fullmatch(text):
            offset = timedelta(hours=int(signed[2]), minutes=int(signed[3]))
            self.utc_offset = -offset if signed[1] == "-" else offset

    def _true_utc(self) -> datetime:
        return self._clock().astimezone(UTC).replace(tzinfo=None)
