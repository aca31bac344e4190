"""Statistics of the store lock: wait times and lock times per operation, over all processes, in one small side file.

`LockStatistics.read` reads the file without opening the database; it is JSON, so that an operator can read it, too.
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
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

BUCKETS_MS = (1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000)
MAX_OPERATIONS = 200  # more than the program has: a test counts them
_MAX_TEXT = 100
OTHER = "(other)"  # the operation under which further ones are counted

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Histogram:
    """Durations in milliseconds. `cumulative[i]` counts those of at most BUCKETS_MS[i], as Prometheus does (`le`); the
    last bucket, +Inf, has `count`.
    """

    count: int
    sum_ms: float
    max_ms: float
    cumulative: tuple[int, ...]


@dataclass(frozen=True)
class LongestLock:
    """The longest time that an operation held the lock: detail of the operation, process id, end."""

    detail: str
    pid: int
    ended_at: datetime


@dataclass(frozen=True)
class LockStats:
    """Locks of one operation. `mode`: `shared` or `exclusive`; `timeouts`: waits that ended without the lock."""

    operation: str
    mode: str
    lock_time: Histogram
    wait_time: Histogram
    timeouts: int
    longest: LongestLock | None


@dataclass(frozen=True)
class LockSummary:
    """All operations, by total lock time descending, and since when they are counted (None: no lock yet)."""

    since: datetime | None
    operations: list[LockStats]


@dataclass(frozen=True)
class LockStatistics:
    """The side file `path`. Counters only grow; they start again at zero if the file is removed."""

    path: Path

    def record(self, mode: str, operation: str, detail: str, *, waited_ms: float, held_ms: float | None) -> None:
        """Count one lock, or with `held_ms` None one timeout. A file that cannot be written is logged as a warning."""
        try:
            with self._open(os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) as descriptor:
                counts = self._parse(descriptor)
                _count(counts, mode, operation, detail, waited_ms=waited_ms, held_ms=held_ms)
                text = json.dumps(counts, separators=(",", ":")).encode()
                # In place and never shorter, so that it is one write: a kill leaves the old or the new text.
                os.pwrite(descriptor, text.ljust(os.fstat(descriptor).st_size), 0)
        except OSError as error:
            _log.warning("a lock of the store (%s) is not counted in %s: %s", operation, self.path, error)

    def read(self) -> LockSummary:
        """The current counts. Raises OSError if the file cannot be read."""
        if not self.path.exists():
            return LockSummary(None, [])
        with self._open(os.O_RDONLY, fcntl.LOCK_SH) as descriptor:
            counts = self._parse(descriptor)
        operations = [_lock_stats(entry) for entry in counts["operations"]]
        return LockSummary(_instant(counts["since"]), sorted(operations, key=lambda one: -one.lock_time.sum_ms))

    @contextmanager
    def _open(self, flags: int, lock: int) -> Iterator[int]:
        """The open and locked file. A process that was stopped with the lock must not stop others: bounded retries."""
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
            _log.warning("%s is damaged; locks of the store are counted from zero again", self.path)
        return {"since": time.time(), "bounds_ms": BUCKETS_MS, "operations": []}


def _count(
    counts: dict[str, Any], mode: str, operation: str, detail: str, *, waited_ms: float, held_ms: float | None
) -> None:
    entries, operation = counts["operations"], operation[:_MAX_TEXT]
    keys = ((operation, mode), (OTHER, mode)) if len(entries) >= MAX_OPERATIONS else ((operation, mode),)
    entry = next((one for key in keys for one in entries if (one["operation"], one["mode"]) == key), None)
    if entry is None:
        entry = {"operation": keys[-1][0], "mode": mode, "held": _empty(), "waited": _empty(), "timeouts": 0}
        entries.append(entry)
    _add(entry["waited"], waited_ms)
    if held_ms is None:
        entry["timeouts"] += 1
        return
    if held_ms >= entry["held"]["max_ms"]:
        entry["longest"] = {"detail": detail[:_MAX_TEXT], "pid": os.getpid(), "ended_at": time.time()}
    _add(entry["held"], held_ms)


def _empty() -> dict[str, Any]:
    return {"sum_ms": 0.0, "max_ms": 0.0, "counts": [0] * (len(BUCKETS_MS) + 1)}


def _add(durations: dict[str, Any], ms: float) -> None:
    durations["sum_ms"] = round(durations["sum_ms"] + ms, 3)
    durations["max_ms"] = max(durations["max_ms"], round(ms, 3))
    durations["counts"][bisect_left(BUCKETS_MS, ms)] += 1


def _lock_stats(entry: dict[str, Any]) -> LockStats:
    longest = entry.get("longest")
    return LockStats(
        operation=entry["operation"],
        mode=entry["mode"],
        lock_time=_histogram(entry["held"]),
        wait_time=_histogram(entry["waited"]),
        timeouts=entry["timeouts"],
        longest=longest and LongestLock(longest["detail"], longest["pid"], _instant(longest["ended_at"])),
    )


def _histogram(durations: dict[str, Any]) -> Histogram:
    *cumulative, count = accumulate(durations["counts"])
    return Histogram(count, durations["sum_ms"], durations["max_ms"], tuple(cumulative))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
