"""How long the store was waited for and held, by all processes together: counts of bounded size in one side file.

Read it with `HoldBook.read`, in a terminal with `cat`. It never opens the database.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import accumulate
from pathlib import Path
from typing import Any

BOUNDS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
KINDS_AT_MOST = 64
_LONGEST_TEXT = 100
OTHER = "(other)"  # what further purposes are counted under

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Histogram:
    """Durations in milliseconds. `cumulative[i]`: how many were at most BOUNDS_MS[i], as Prometheus counts (`le`); the
    bound after the last, +Inf, has `count`.
    """

    count: int
    sum_ms: float
    max_ms: float
    cumulative: tuple[int, ...]


@dataclass(frozen=True)
class LongestHold:
    """The longest hold of a purpose: what it was about, by whom, until when."""

    about: str
    pid: int
    ended_at: datetime


@dataclass(frozen=True)
class LockStats:
    """All holds of one purpose. `mode` is `shared` or `exclusive`; `gave_up`: waits for the lock that
    lasted too long."""

    purpose: str
    mode: str
    held: Histogram
    waited: Histogram
    gave_up: int
    longest: LongestHold | None


@dataclass(frozen=True)
class Holds:
    """Since when it is counted (None: never yet), and the purposes, those that held the store longest in all first."""

    since: datetime | None
    kinds: list[LockStats]


@dataclass(frozen=True)
class LockStatistics:
    """The side file `path`. Counters only grow, and begin anew where the file is removed."""

    path: Path

    def record(self, mode: str, purpose: str, about: str, *, waited_ms: float, held_ms: float | None) -> None:
        """Count one hold, or with None one wait in vain. What cannot be written down is logged, and fails nobody."""
        try:
            with self._locked(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as descriptor:
                book = self._parse(descriptor)
                _count(book, mode, purpose, about, waited_ms=waited_ms, held_ms=held_ms)
                text = json.dumps(book, separators=(",", ":")).encode()
                # In place and never shorter, so that it is one write: a kill leaves the old or the new text.
                os.pwrite(descriptor, text.ljust(os.fstat(descriptor).st_size), 0)
        except OSError as error:
            _log.warning("a hold of the store (%s) is not counted in %s: %s", purpose, self.path, error)

    def read(self) -> Holds:
        """What was counted so far. Raises OSError where the file cannot be read."""
        if not self.path.exists():
            return Holds(None, [])
        with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as descriptor:
            book = self._parse(descriptor)
        kinds = [_kind(one) for one in book["kinds"]]
        return Holds(_instant(book["since"]), sorted(kinds, key=lambda kind: -kind.held.sum_ms))

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        """Held for microseconds, so a few looks are enough; a process stopped just then must not stop the others."""
        descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o664)
        try:
            for attempt in range(100):
                try:
                    fcntl.flock(descriptor, lock | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if attempt == 99:
                        raise
                    time.sleep(0.002)
            yield descriptor
        finally:
            os.close(descriptor)

    def _parse(self, descriptor: int) -> dict[str, Any]:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        try:
            if text:
                return dict(json.loads(text))
        except ValueError:
            _log.warning("%s is damaged; holds of the store are counted anew", self.path)
        return {"since": time.time(), "bounds_ms": BOUNDS_MS, "kinds": []}


def _count(
    book: dict[str, Any], mode: str, purpose: str, about: str, *, waited_ms: float, held_ms: float | None
) -> None:
    kinds, purpose = book["kinds"], purpose[:_LONGEST_TEXT]
    wanted = ((purpose, mode), (OTHER, mode)) if len(kinds) >= KINDS_AT_MOST else ((purpose, mode),)
    kind = next((one for name in wanted for one in kinds if (one["purpose"], one["mode"]) == name), None)
    if kind is None:
        kind = {"purpose": wanted[-1][0], "mode": mode, "held": _none(), "waited": _none(), "gave_up": 0}
        kinds.append(kind)
    _add(kind["waited"], waited_ms)
    if held_ms is None:
        kind["gave_up"] += 1
        return
    if held_ms >= kind["held"]["max_ms"]:
        kind["longest"] = {"about": about[:_LONGEST_TEXT], "pid": os.getpid(), "ended_at": time.time()}
    _add(kind["held"], held_ms)


def _none() -> dict[str, Any]:
    return {"sum_ms": 0.0, "max_ms": 0.0, "counts": [0] * (len(BOUNDS_MS) + 1)}


def _add(spread: dict[str, Any], ms: float) -> None:
    spread["sum_ms"] = round(spread["sum_ms"] + ms, 3)
    spread["max_ms"] = max(spread["max_ms"], round(ms, 3))
    spread["counts"][bisect_left(BOUNDS_MS, ms)] += 1


def _kind(one: dict[str, Any]) -> LockStats:
    longest = one.get("longest")
    return LockStats(
        purpose=one["purpose"],
        mode=one["mode"],
        held=_spread(one["held"]),
        waited=_spread(one["waited"]),
        gave_up=one["gave_up"],
        longest=longest and LongestHold(longest["about"], longest["pid"], _instant(longest["ended_at"])),
    )


def _spread(one: dict[str, Any]) -> Histogram:
    *cumulative, count = accumulate(one["counts"])
    return Histogram(count, one["sum_ms"], one["max_ms"], tuple(cumulative))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)
