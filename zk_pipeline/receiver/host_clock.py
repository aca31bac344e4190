"""Plausibility of the host's clock.

Terminals set their clocks by the receiver's answers, so a wrong clock of the host moves those of all terminals.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # before the first version of the receiver
MAX_STEP = timedelta(minutes=10)  # between the clock and the time that has passed
MAX_SILENCE = timedelta(hours=12)  # after which the newest contact in the store no longer confirms the clock
_UNSYNCHRONIZED = 0x40  # STA_UNSYNC of adjtimex(2)
_STATUS_INDEX = 10 if sys.maxsize > 2**32 else 5  # of `status` in `struct timex`, in C ints


def seconds_since_boot() -> float:
    """Seconds that no setting of the clock changes; includes suspension on Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def is_synchronized() -> bool:
    """True if a time service (NTP) disciplines the kernel's clock. The kernel forgets it when the clock is set by hand
    and hours after the last synchronization. False where the kernel cannot be asked.
    """
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None:
        return False
    state = (ctypes.c_int * 128)()  # `struct timex` has 208 bytes; `modes` 0 only reads
    return adjtimex(state) >= 0 and not state[_STATUS_INDEX] & _UNSYNCHRONIZED


@dataclass
class HostClock:
    """The clock `now` (instants), compared with the newest contact in the store and with the time that has passed.

    A clock that a time service disciplines is trusted; `is_trusted`: so is any other one at the start.
    """

    now: Callable[[], datetime]
    is_trusted: bool = False
    elapsed: Callable[[], float] = seconds_since_boot
    is_synchronized: Callable[[], bool] = is_synchronized
    _newest_contact: datetime | None = field(default=None, init=False)  # in the store, at the start
    _anchor: tuple[datetime, float] | None = field(default=None, init=False)  # last plausible time

    def note_contacts(self, contacts: Iterable[datetime]) -> None:
        """Note when terminals were seen last, as the store has it. Without an effect once the clock was plausible."""
        if self._anchor is None:
            self._newest_contact = max(contacts, default=None)

    def problem(self) -> str | None:
        """Why the clock is not plausible, as one line; None if it is."""
        now, elapsed = self.now(), self.elapsed()
        problem = self._doubt(now, elapsed)
        if problem is not None and now >= EARLIEST and self.is_synchronized():
            problem = None
        if problem is None:
            self._anchor = (now, elapsed)
        return problem

    def _doubt(self, now: datetime, elapsed: float) -> str | None:
        if now < EARLIEST:
            return f"it shows {now:%Y-%m-%d}, before this program was written"
        if self._anchor is not None:
            step = now - self._anchor[0] - timedelta(seconds=elapsed - self._anchor[1])
            direction = "ahead" if step > timedelta() else "back"
            return f"it was set {direction} by {_length(step)} while the receiver ran" if abs(step) > MAX_STEP else None
        if self.is_trusted or self._newest_contact is None:
            return None
        gap = now - self._newest_contact
        if gap < -MAX_STEP:
            return f"it is {_length(gap)} behind the newest contact of a terminal"
        return f"it is {_length(gap)} after the newest contact of a terminal" if gap > MAX_SILENCE else None


def _length(gap: timedelta) -> str:
    minutes = abs(gap) // timedelta(minutes=1)
    return f"{minutes // 60} h {minutes % 60} min"
