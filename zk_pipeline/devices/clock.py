"""Time as it is handed to the code that reads terminals: two clocks, a sleep and a deadline. No time zones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone


def _utc_now() -> datetime:
    return datetime.now(timezone.utc)


@dataclass(frozen=True)
class Clock:
    """`now` is the true time, aware; `monotonic` counts seconds and never jumps; `sleep` lets some pass."""

    now: Callable[[], datetime] = _utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


SYSTEM_CLOCK = Clock()


@dataclass(frozen=True)
class Deadline:
    """The end of a piece of work, on the monotonic clock."""

    seconds: float
    expires_at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock = SYSTEM_CLOCK) -> Deadline:
        """The deadline that lies `seconds` ahead."""
        return cls(seconds, clock.monotonic() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left, negative once it has passed."""
        return self.expires_at - self.clock.monotonic()

    def sooner(self, seconds: float) -> Deadline:
        """The deadline that lies so many seconds before this one."""
        return Deadline(self.seconds - seconds, self.expires_at - seconds, self.clock)
