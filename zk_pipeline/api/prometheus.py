"""Figures as Prometheus' text format has them. Written by hand: its client library would add a registry and no rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Protocol

from zk_pipeline.http.request_metrics import BUCKETS, Histogram, RequestMetrics
from zk_pipeline.store.locks.lock_statistics import BOUNDS_MS, Holds
from zk_pipeline.store.queries.metrics import StoreFigures

_STATES = ("pending", "sending", "delivered", "retry", "failed", "superseded")


class Orchestration(Protocol):
    """What is asked of Dagster, see `defs.orchestration`."""

    @property
    def heartbeats(self) -> dict[str, float]: ...
    @property
    def runs_in_flight(self) -> int: ...
    @property
    def is_daemon_alive(self) -> bool: ...


def metrics_text(
    store: StoreFigures, dagster: Orchestration, traffic: RequestMetrics, holds: Holds, now: datetime
) -> str:
    return "".join(f"{line}\n" for line in _lines(store, dagster, traffic, holds, now))


def _lines(
    store: StoreFigures, dagster: Orchestration, traffic: RequestMetrics, holds: Holds, now: datetime
) -> Iterator[str]:
    yield from _of_store(store, now)
    yield from _of_devices(store)
    daemon = max(dagster.heartbeats.values(), default=None)
    yield from _metric("zk_daemon_alive", "gauge", "Whether every daemon beat lately", [({}, dagster.is_daemon_alive)])
    if daemon is not None:
        yield from _metric("zk_daemon_heartbeat_age_seconds", "gauge", "Age of the oldest heartbeat", [({}, daemon)])
    yield from _metric("zk_runs_in_flight", "gauge", "Dagster runs queued or running", [({}, dagster.runs_in_flight)])
    served = sorted(traffic.requests.items())
    yield from _metric(
        "zk_http_requests_total",
        "counter",
        "Requests answered by this process",
        [({"method": m, "route": r, "status": str(s)}, count) for (m, r, s), count in served],
    )
    yield from _histogram(
        "zk_http_request_seconds",
        "Time to answer",
        [({"route": route}, taken) for route, taken in sorted(traffic.seconds.items())],
    )
    yield from _of_holds(holds)


def _of_holds(holds: Holds) -> Iterator[str]:
    """Of all processes of this home together."""
    labelled = [({"purpose": kind.purpose, "mode": kind.mode}, kind) for kind in holds.kinds]
    for name, words, values in (
        ("zk_store_hold_seconds", "How long the store was held", [(labels, one.held) for labels, one in labelled]),
        ("zk_store_wait_seconds", "How long it was waited for", [(labels, one.waited) for labels, one in labelled]),
    ):
        yield from _head(name, words, "histogram")
        for labels, spread in values:
            counts = zip([*(ms / 1e3 for ms in BOUNDS_MS)], spread.cumulative, strict=True)
            yield from _buckets(name, labels, counts, count=spread.count, total=spread.sum_ms / 1e3)
    yield from _metric(
        "zk_store_gave_up_total",
        "counter",
        "Waits for the store that lasted too long",
        [(labels, one.gave_up) for labels, one in labelled],
    )


def _of_store(store: StoreFigures, now: datetime) -> Iterator[str]:
    for name, words, value in (
        ("zk_punches", "Punches stored", store.punches),
        ("zk_days", "Days made", store.days),
        ("zk_outlier_days", "Days that are unusual", store.outliers),
        ("zk_quarantined_records", "Records that cannot be a punch", store.quarantined),
        ("zk_stale_dates", "Work dates with punches newer than their days", store.stale),
    ):
        yield from _metric(name, "gauge", words, [({}, value)])
    states = {state: store.deliveries.get(state, 0) for state in _STATES} | store.deliveries
    yield from _metric(
        "zk_deliveries", "gauge", "Deliveries by state", [({"state": state}, count) for state, count in states.items()]
    )
    age = 0.0 if store.oldest_due is None else (now - store.oldest_due).total_seconds()
    yield from _metric(
        "zk_delivery_queue_age_seconds", "gauge", "Age of the oldest delivery that is due; 0 for none", [({}, age)]
    )


def _of_devices(store: StoreFigures) -> Iterator[str]:
    polls = [({"device": one.device, "status": one.status}, one) for one in store.polls]
    for name, words, values in (
        ("zk_polls_total", "Polls by how they ended", [(labels, one.polls) for labels, one in polls]),
        ("zk_poll_seconds_total", "Time spent polling", [(labels, one.seconds) for labels, one in polls]),
        ("zk_new_punches_total", "New punches brought by polls", [(labels, one.new) for labels, one in polls]),
    ):
        yield from _metric(name, "counter", words, values)
    for name, words, attribute in (
        ("zk_device_last_success_timestamp_seconds", "Last successful poll", "last_success"),
        ("zk_device_clock_drift_seconds", "Terminal's clock minus true time", "clock_drift_seconds"),
        ("zk_device_fill_ratio", "Records in its log over its capacity", "fill"),
        ("zk_device_last_poll_seconds", "How long the last successful poll took", "last_seconds"),
    ):
        found = [({"device": one.device}, getattr(one, attribute)) for one in store.devices]
        plain = [(labels, v.timestamp() if isinstance(v, datetime) else v) for labels, v in found if v is not None]
        yield from _metric(name, "gauge", words, plain)


def _metric(name: str, kind: str, words: str, values: Iterable[tuple[dict[str, str], float]]) -> Iterator[str]:
    yield from _head(name, words, kind)
    for labels, value in values:
        yield f"{name}{_labels(labels)} {_number(value)}"


def _histogram(name: str, words: str, values: Iterable[tuple[dict[str, str], Histogram]]) -> Iterator[str]:
    yield from _head(name, words, "histogram")
    for labels, held in values:
        counts = zip(BUCKETS, held.counts, strict=True)
        yield from _buckets(name, labels, counts, count=held.count, total=held.total)


def _buckets(
    name: str, labels: dict[str, str], counts: Iterable[tuple[float, int]], *, count: int, total: float
) -> Iterator[str]:
    for bound, below in counts:
        yield f"{name}_bucket{_labels({**labels, 'le': str(bound)})} {below}"
    yield f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {count}"
    yield f"{name}_sum{_labels(labels)} {_number(total)}"
    yield f"{name}_count{_labels(labels)} {count}"


def _head(name: str, words: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
