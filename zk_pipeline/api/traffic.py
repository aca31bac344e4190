"""Counts of what this process has served and how it used the store, for `/metrics`."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass, field

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass
class Histogram:
    """Seconds, as Prometheus counts them: each bucket holds what is not above its bound."""

    counts: list[int] = field(default_factory=lambda: [0] * len(BUCKETS))
    count: int = 0
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        for number, bound in enumerate(BUCKETS):
            if seconds <= bound:
                self.counts[number] += 1


@dataclass
class Traffic:
    requests: dict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))  # method, route, status
    seconds: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))  # by route
    store_waits: Histogram = field(default_factory=Histogram)
    store_holds: Histogram = field(default_factory=Histogram)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self.requests[method, route, status] += 1
            self.seconds[route].add(seconds)

    def note_hold(self, purpose: str, waited_ms: float, held_ms: float) -> None:  # noqa: ARG002 (the store's signature)
        with self._lock:
            self.store_waits.add(waited_ms / 1e3)
            self.store_holds.add(held_ms / 1e3)
