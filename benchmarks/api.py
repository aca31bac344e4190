"""Benchmark of list pages over the API: `python -m benchmarks.api --rows 10000000`. Figures: api.md."""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click
import httpx

from zk_pipeline.config.settings import Settings
from zk_pipeline.devices.models import Device
from zk_pipeline.http.services import Parts
from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import NothingToDo, serve

_AT_ONCE = 1_000_000
_FILL = """
INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, first_poll_id,
                         seq, created_at)
SELECT 'Gate ' || (i % 50), (1000 + i % 5000)::VARCHAR, t, t::TIMESTAMP, 1, 0, 1, 1, i, t
FROM (SELECT i, TIMESTAMPTZ '2020-01-01 08:00:00+00' + to_microseconds(i * 20 * 1000000) AS t
      FROM range($first, $last) AS numbers(i))
"""


def fill(store: Store, rows: int) -> None:
    """Punches of 5,000 users at 50 gates, one every 20 seconds."""
    for number in range(50):
        store.devices.add(Device(name=f"Gate {number}", ip_address="192.0.2.1"))
    for first in range(1, rows + 1, _AT_ONCE):
        with store.database.write("fill") as connection:
            connection.execute(_FILL, {"first": first, "last": min(first + _AT_ONCE, rows + 1)})
    with store.database.write("fill") as connection:
        connection.execute("UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(rows)])


def cost(client: httpx.Client, path: str, repeats: int) -> float:
    """Median milliseconds of a response over HTTP; the first is a warm-up, printed separately."""
    taken = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        taken.append((time.perf_counter() - began) * 1e3)
    click.echo(f"  {path[:70]}: first {taken[0]:.0f} ms, then {statistics.median(taken[1:]):.0f} ms")
    return statistics.median(taken[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        store = Store.at(home / "store.duckdb")
        fill(store, asked.rows)
        settings = Settings(home=home, database=home / "store.duckdb")
        with serve(settings, store, Parts(actions=NothingToDo())) as served, served.client("read") as client:
            for ordering in ("", "&ordering=-id", "&ordering=user_id"):
                listed = f"/api/raw-attendance/?page_size=100{ordering}"
                click.echo(f"{asked.rows:,} punches{ordering or ', newest first'}")
                first = cost(client, listed, asked.repeats)
                for page in (10_000, asked.rows // 100):
                    jump = cost(client, f"{listed}&page={page}", asked.repeats)
                    click.echo(f"  page {page:,}, by its number: {jump / first:.2f} x page 1")
                following = client.get(f"{listed}&page=9999").json()["next"].removeprefix(served.url)
                walked = cost(client, following, asked.repeats)
                click.echo(f"  page 10,000, by the link of page 9,999: {walked / first:.2f} x page 1")
    return 0


if __name__ == "__main__":
    sys.exit(main())
