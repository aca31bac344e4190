"""Benchmark of the metrics page with 1,000 terminals: `python -m benchmarks.api_metrics`. Figures: api.md."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from zk_pipeline.api.prometheus import PipelineCollector, metrics_page
from zk_pipeline.devices.models import Device
from zk_pipeline.http.request_metrics import RequestMetrics
from zk_pipeline.store.queries.metrics import read_store_metrics
from zk_pipeline.store.store import Store

T = TypeVar("T")
DEVICES, POLLS, PUNCHES = 1_000, 1_000_000, 2_000_000


class Daemon(NamedTuple):
    heartbeats: dict[str, float]
    runs_in_progress: int
    is_daemon_alive: bool


def fill(store: Store) -> None:
    """Polls every quarter of an hour, of which one in fifty failed; punches of 5,000 users."""
    store.devices.apply([Device(name=f"Gate {number:04}", ip_address="192.0.2.1") for number in range(DEVICES)])
    gate = f"'Gate ' || lpad((i % {DEVICES})::VARCHAR, 4, '0')"
    with store.database.write("fill") as connection:
        connection.execute(
            f"""
            INSERT INTO device_polls BY NAME
            SELECT i AS id, {gate} AS device, started_at, started_at + INTERVAL 2 SECONDS AS finished_at, 0 AS "new",
                   CASE WHEN has_failed THEN 'failed' ELSE 'success' END AS status,
                   CASE WHEN NOT has_failed THEN 'incremental' END AS mode
            FROM (SELECT i, hash(i) % 50 = 0 AS has_failed,
                         TIMESTAMPTZ '2026-11-01 00:00:00+00' + to_seconds(i // {DEVICES} * 900) AS started_at
                  FROM range(1, {POLLS} + 1) AS numbers(i))
            """
        )
        connection.execute(
            f"""
            INSERT INTO raw_punches BY NAME
            SELECT {gate} AS device, (1000 + i % 5000)::VARCHAR AS user_id, local AS punched_at_local,
                   local AT TIME ZONE 'UTC' AS punched_at, 1 AS status, 0 AS punch_state, 1 AS verify_type,
                   1 AS first_poll_id, i + 1 AS seq, now() AS created_at
            FROM (SELECT i, TIMESTAMP '2026-01-01' + to_seconds(i * 14) AS local FROM range({PUNCHES}) AS numbers(i))
            """
        )


def cpu(what: str, work: Callable[[], T]) -> T:
    """Print the least CPU time of six executions; returns the last result."""
    taken = []
    for _ in range(6):
        began = time.process_time()
        result = work()
        taken.append((time.process_time() - began) * 1e3)
    click.echo(f"{what}: first {taken[0]:.0f} ms of CPU, least {min(taken):.0f} ms")
    return result


def main() -> int:
    now, requests = datetime.now(UTC), RequestMetrics()
    with tempfile.TemporaryDirectory() as folder:
        store = Store.at(Path(folder) / "store.duckdb")
        fill(store)
        metrics = cpu(
            "store",
            lambda: read_store_metrics(
                store.database, first=date(2020, 1, 1), last=now.date(), now=now, history=store.poll_history
            ),
        )
        collector = PipelineCollector(metrics, Daemon({}, 0, is_daemon_alive=False), store.lock_statistics(), now)
        cpu("Prometheus text", lambda: metrics_page("", collector, requests))
        body, _ = cpu("OpenMetrics text", lambda: metrics_page("application/openmetrics-text", collector, requests))
        click.echo(f"{body.count(10):,} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
