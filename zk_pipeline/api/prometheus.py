"""Metrics page in the text formats of Prometheus and OpenMetrics.

The text is written here: `prometheus_client` takes four times as long for the thousands of lines of a thousand devices,
because it also supports time stamps, exemplars, native histograms and other names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Protocol

from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from zk_pipeline.http.request_metrics import RequestMetrics
from zk_pipeline.store.locks.lock_statistics import BUCKETS_MS, Histogram, LockStats, LockSummary
from zk_pipeline.store.queries.metrics import StoreMetrics

_STATES = ("pending", "sending", "delivered", "retry", "failed", "superseded")
_OPENMETRICS = "application/openmetrics-text"


class DaemonStatus(Protocol):
    """State of Dagster's daemon, see `defs.instance.daemon_health`."""

    @property
    def heartbeats(self) -> dict[str, float]: ...
    @property
    def runs_in_progress(self) -> int: ...
    @property
    def is_daemon_alive(self) -> bool: ...


@dataclass(frozen=True, eq=False)
class PipelineCollector(Collector):
    """Metrics of the store, of Dagster and of the store lock as read at `now`."""

    store: StoreMetrics
    dagster: DaemonStatus
    locks: LockSummary
    now: datetime

    def collect(self) -> Iterator[Metric]:
        """All metric families; a family without samples keeps its help text."""
        yield from self._store_metrics()
        yield from self._poll_metrics()
        yield from self._push_metrics()
        yield from self._device_metrics()
        yield from self._dagster_metrics()
        yield from self._lock_metrics()

    def _store_metrics(self) -> Iterator[Metric]:
        store = self.store
        yield _gauge("zk_punches", "Punches in the store.", store.punches)
        yield _gauge("zk_attendance_days", "Attendance days in the store.", store.attendance_days)
        yield _gauge("zk_outlier_days", "Attendance days with at least one outlier code.", store.outlier_days)
        yield _gauge("zk_quarantined_records", "Records in quarantine.", store.quarantined_records)
        yield _gauge(
            "zk_stale_work_dates", "Work dates with punches newer than their attendance days.", store.stale_work_dates
        )
        deliveries = GaugeMetricFamily("zk_deliveries", "Deliveries to the CRM by state.", labels=["state"])
        for state, count in (dict.fromkeys(_STATES, 0) | store.deliveries).items():
            deliveries.add_metric([state], count)
        yield deliveries
        age = 0.0 if store.oldest_due is None else (self.now - store.oldest_due).total_seconds()
        yield _gauge(
            "zk_delivery_queue_age_seconds",
            "Age of the oldest delivery that is due, in seconds; 0 if none is due.",
            age,
        )

    def _poll_metrics(self) -> Iterator[Metric]:
        labels = ["device", "status"]
        polls = CounterMetricFamily("zk_polls_total", "Polls by device and status.", labels=labels)
        seconds = CounterMetricFamily("zk_poll_seconds_total", "Duration of all polls, in seconds.", labels=labels)
        punches = CounterMetricFamily("zk_new_punches_total", "New punches that polls stored.", labels=labels)
        for one in self.store.polls:
            polls.add_metric([one.device, one.status], one.polls)
            seconds.add_metric([one.device, one.status], one.duration_seconds)
            punches.add_metric([one.device, one.status], one.new_punches)
        yield from (polls, seconds, punches)

    def _push_metrics(self) -> Iterator[Metric]:
        uploads = CounterMetricFamily("zk_push_uploads_total", "Uploads of pushing terminals.", labels=["device"])
        lines = CounterMetricFamily(
            "zk_push_lines_total",
            "Lines of pushing terminals by outcome; new: punches that were not stored before.",
            labels=["device", "outcome"],
        )
        pushing = self.store.pushing
        for one in pushing:
            uploads.add_metric([one.device], one.uploads)
            for outcome, count in (
                ("new", one.stored),
                ("duplicate", one.duplicates),
                ("quarantined", one.quarantined),
                ("other", one.other),
            ):
                lines.add_metric([one.device, outcome], count)
        yield from (uploads, lines)
        yield _device_gauge(
            "zk_push_last_contact_timestamp_seconds",
            "Last contact of the terminal with the receiver, as Unix time.",
            ((one.device, None if one.last_contact is None else one.last_contact.timestamp()) for one in pushing),
        )
        yield _gauge(
            "zk_push_pending_terminals",
            "Terminals that have connected to the receiver and are not adopted.",
            self.store.pending_terminals,
        )

    def _device_metrics(self) -> Iterator[Metric]:
        devices = self.store.devices
        yield _device_gauge(
            "zk_device_last_success_timestamp_seconds",
            "End of the latest successful poll, or last contact of a terminal that only pushes, as Unix time.",
            ((one.device, None if one.last_success is None else one.last_success.timestamp()) for one in devices),
        )
        yield _device_gauge(
            "zk_device_clock_drift_seconds",
            "Clock of the terminal minus true time at the latest successful poll, in seconds.",
            ((one.device, one.clock_drift_seconds) for one in devices),
        )
        yield _device_gauge(
            "zk_device_log_used_ratio",
            "Records in the log of the terminal divided by its capacity, 0 to 1.",
            ((one.device, one.log_used_ratio) for one in devices),
        )
        yield _device_gauge(
            "zk_device_last_poll_duration_seconds",
            "Duration of the latest successful poll, in seconds.",
            ((one.device, one.last_poll_seconds) for one in devices),
        )

    def _dagster_metrics(self) -> Iterator[Metric]:
        yield _gauge(
            "zk_daemon_alive",
            "1 if every daemon of Dagster has a recent heartbeat, else 0.",
            self.dagster.is_daemon_alive,
        )
        age = GaugeMetricFamily("zk_daemon_heartbeat_age_seconds", "Age of the oldest daemon heartbeat, in seconds.")
        if self.dagster.heartbeats:
            age.add_metric([], max(self.dagster.heartbeats.values()))
        yield age
        yield _gauge("zk_runs_in_progress", "Dagster runs that are queued or running.", self.dagster.runs_in_progress)

    def _lock_metrics(self) -> Iterator[Metric]:
        """Of all processes that use this store on this host."""
        operations = self.locks.operations
        yield _lock_histogram(
            "zk_store_lock_hold_seconds",
            "Time that an operation held the store lock, in seconds.",
            ((one, one.lock_time) for one in operations),
        )
        yield _lock_histogram(
            "zk_store_lock_wait_seconds",
            "Time that an operation waited for the store lock, in seconds.",
            ((one, one.wait_time) for one in operations),
        )
        timeouts = CounterMetricFamily(
            "zk_store_lock_timeouts_total", "Waits for the store lock that timed out.", labels=["operation", "mode"]
        )
        for one in operations:
            timeouts.add_metric([one.operation, one.mode], one.timeouts)
        yield timeouts


def metrics_page(accept: str, collector: PipelineCollector, requests: RequestMetrics) -> tuple[bytes, str]:
    """Body and content type: OpenMetrics if the Accept header names it, else Prometheus text 0.0.4."""
    is_openmetrics = _OPENMETRICS in accept
    families = (*collector.collect(), *requests.registry.collect())
    lines = [line for family in families for line in _lines(family, is_openmetrics=is_openmetrics)]
    if is_openmetrics:
        return "\n".join([*lines, "# EOF\n"]).encode(), openmetrics.CONTENT_TYPE_LATEST
    return "\n".join([*lines, ""]).encode(), exposition.CONTENT_TYPE_PLAIN_0_0_4


def _lines(family: Metric, *, is_openmetrics: bool) -> Iterator[str]:
    """Lines of a family, without sample time stamps and exemplars. In Prometheus text, counters end in `_total`."""
    name = f"{family.name}_total" if family.type == "counter" and not is_openmetrics else family.name
    text = _escaped(family.documentation) if is_openmetrics else family.documentation
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {family.type}"
    for sample in family.samples:
        yield f"{sample.name}{_labels(tuple(sample.labels.items()))} {floatToGoString(sample.value)}"


@lru_cache(maxsize=16_384)
def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    """Labels of a sample in braces, escaped; empty without labels. Most are those of the page before."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels)) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value)


def _device_gauge(name: str, help_text: str, values: Iterable[tuple[str, float | None]]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=["device"])
    for device, value in values:
        if value is not None:
            family.add_metric([device], value)
    return family


def _lock_histogram(name: str, help_text: str, values: Iterable[tuple[LockStats, Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, help_text, labels=["operation", "mode"])
    for one, durations in values:
        family.add_metric([one.operation, one.mode], _buckets(durations), durations.sum_ms / 1e3)
    return family


def _buckets(durations: Histogram) -> Sequence[tuple[str, float]]:
    bounds = [floatToGoString(ms / 1e3) for ms in BUCKETS_MS]
    return [*zip(bounds, durations.cumulative, strict=True), ("+Inf", durations.count)]
