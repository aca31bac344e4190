"""Limits against floods and slow clients. All of them have bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MAX_BODY_BYTES = 8 * 1024 * 1024  # terminals announce packages of at most 2 MB
MAX_BYTES_IN_PROGRESS = 64 * 1024 * 1024  # of all bodies that are read, parsed or stored
MIN_BYTES_PER_SECOND = 2_000  # of a body, after BODY_GRACE_SECONDS
BODY_GRACE_SECONDS = 20.0
MAX_KEYS = 10_000


@dataclass
class RateLimit:
    """Token buckets: each key may `burst` times at once and `per_second` on average. The keys used last are kept."""

    per_second: float
    burst: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(
        default_factory=OrderedDict, init=False
    )  # not shared by copies

    def allows(self, key: str) -> bool:
        """Take a token of `key`; False if there is none."""
        now = self.clock()
        tokens, since = self._buckets.pop(key, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + (now - since) * self.per_second)
        is_allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if is_allowed else tokens, now)
        if len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return is_allowed


class TooLarge(Exception):
    """A body above MAX_BODY_BYTES."""


class TooMuchInProgress(Exception):
    """More than MAX_BYTES_IN_PROGRESS bytes of bodies."""


@dataclass
class BytesInProgress:
    """Bytes of bodies between their arrival and their answer."""

    total: int = 0

    def add(self, count: int) -> None:
        """Raises TooMuchInProgress, after which nothing is added."""
        if self.total + count > MAX_BYTES_IN_PROGRESS:
            raise TooMuchInProgress
        self.total += count

    def remove(self, count: int) -> None:
        self.total -= count


def body_seconds(length: int) -> float:
    """Time limit in seconds for a body of `length` bytes."""
    return BODY_GRACE_SECONDS + length / MIN_BYTES_PER_SECOND
