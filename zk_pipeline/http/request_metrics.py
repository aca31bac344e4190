"""Counters and durations of the HTTP requests that this process answered, for `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RequestMetrics:
    """Metrics of one application, in a registry of their own. Thread-safe."""

    def __init__(self) -> None:
        disable_created_metrics()  # one more series per counter, which Prometheus does not need to notice a restart
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "zk_http_requests_total",
            "HTTP requests answered by this process.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._durations = Histogram(
            "zk_http_request_duration_seconds",
            "Time from the first byte of a request to the last byte of its response, in seconds.",
            ["route"],
            buckets=BUCKETS_SECONDS,
            registry=self.registry,
        )

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is the path template, so that the number of series stays bounded."""
        self._requests.labels(method, route, str(status)).inc()
        self._durations.labels(route).observe(seconds)
