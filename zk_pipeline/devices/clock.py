"""Injectable clock (UTC time, monotonic time, sleep) and deadlines for the code that reads terminals."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Clock:
    """`now`: aware UTC time. `monotonic`: seconds that never jump. `sleep`: waits for a number of seconds."""

    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True)
class Deadline:
    """Time limit of an operation: `seconds` in total, `expires_at` on the monotonic clock."""

    seconds: float
    expires_at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock = SYSTEM_CLOCK) -> Deadline:
        """A deadline `seconds` from now."""
        return cls(seconds, clock.monotonic() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left; negative after the deadline."""
        return self.expires_at - self.clock.monotonic()

    def sooner(self, seconds: float) -> Deadline:
        """A deadline `seconds` before this one."""
        return Deadline(self.seconds - seconds, self.expires_at - seconds, self.clock)
