"""Counts of what this process has served, for `/metrics`."""

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
class RequestMetrics:
    requests: dict[tuple[str, str, int], int] = field(default_factory=lambda: defaultdict(int))  # method, route, status
    seconds: dict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))  # by route
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        with self._lock:
            self.requests[method, route, status] += 1
            self.seconds[route].add(seconds)
