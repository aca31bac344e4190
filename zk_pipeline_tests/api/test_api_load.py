"""Fifty clients that read lists, alone and during a backfill and polls: no client gets an error."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.gates import gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import MONDAY, execute

PATHS = (
    "/api/raw-attendance/", "/api/raw-attendance/?page=300", "/api/processed-attendance/", "/api/devices/",
    "/api/processed-attendance/?is_outlier=true", "/api/processed-attendance/stats/",
)  # fmt: skip
SECONDS = float(os.environ.get("ZK_LOAD_SECONDS", "60"))
FILL = """
INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, first_poll_id,
                         seq, created_at)
SELECT 'North', (1000 + i % 300)::VARCHAR, t, t::TIMESTAMP, 1, 0, 1, 1, i, t
FROM (SELECT i, TIMESTAMPTZ '2026-03-02 08:00:00+00' + to_days((i // 900)::INTEGER) + to_minutes(i % 900) AS t
      FROM range(1, 60001) AS numbers(i))
"""


async def read_lists(url: str, token: str, seconds: float) -> tuple[list[float], list[str]]:
    """How long each answer took, and what was no 200."""
    taken: list[float] = []
    wrong: list[str] = []
    ends = time.monotonic() + seconds

    async def one(client: httpx.AsyncClient, number: int) -> None:
        while time.monotonic() < ends:
            number += 1
            began = time.monotonic()
            answer = await client.get(PATHS[number % len(PATHS)])
            taken.append(time.monotonic() - began)
            if answer.status_code != 200:
                wrong.append(f"{answer.status_code} {answer.text[:200]}")

    limits = httpx.Limits(max_connections=60)
    headers = {"Authorization": f"Token {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, limits=limits) as client:
        await asyncio.gather(*(one(client, number) for number in range(50)))
    return taken, wrong


async def keep_working(url: str, token: str, done: asyncio.Event) -> list[dict[str, Any]]:
    """Polls and backfills, one after the other, until `done`."""
    results: list[dict[str, Any]] = []
    async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Token {token}"}, timeout=400) as client:
        while not done.is_set():
            for path in (
                "devices/poll_all/",
                "processed-attendance/process/?start_date=2025-06-01&end_date=2026-05-31",  # a year
            ):
                began = time.monotonic()
                answer = await client.post(f"/api/{path}")
                results.append({"status": answer.status_code, "took": time.monotonic() - began, **answer.json()})
    return results


def say(what: str, taken: list[float]) -> None:
    ranked = sorted(taken)
    p50, p99 = (ranked[int(len(ranked) * share)] * 1e3 for share in (0.5, 0.99))
    print(f"{what}: {len(taken)} answers, p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest {ranked[-1] * 1e3:.0f} ms")  # noqa: T201


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_fifty_clients_and_the_pipeline_do_not_fail_each_other(home: Path, home_store: Store, fleet: Fleet) -> None:
    switch_on(fleet, home_store, gate("North", *present(MONDAY)))
    execute(home_store, FILL)
    execute(home_store, "UPDATE store_settings SET value = '60000' WHERE name = 'last_seq'")
    token = home_store.api_tokens.create("load", "admin")
    command = [sys.executable, "-m", "zk_pipeline", "api", "--port", "0"]
    with (home / "api.log").open("w") as log:
        api = subprocess.Popen(command, stderr=log)
    try:
        url = None
        while url is None:
            assert api.poll() is None
            found = re.search(r"at (http://127\.0\.0\.1:\d+) ", (home / "api.log").read_text())
            url = found[1] if found else None
            time.sleep(0.1)

        async def both() -> tuple[tuple[list[float], list[str]], list[dict[str, Any]]]:
            done = asyncio.Event()
            working = asyncio.create_task(keep_working(str(url), token, done))
            read = await read_lists(str(url), token, SECONDS)
            done.set()
            return read, await working

        httpx.post(f"{url}/api/devices/poll_all/", headers={"Authorization": f"Token {token}"}, timeout=120)
        alone, wrong_alone = asyncio.run(read_lists(url, token, SECONDS / 3))
        (together, wrong), done = asyncio.run(both())
    finally:
        api.terminate()
        assert api.wait(60) == 0
    say("alone", alone)
    say("with polls and backfills", together)
    for one in done:
        what = f"backfill of {one['work_dates']} dates" if "work_dates" in one else "poll"
        print(f"{what}: {one['status']} after {one['took']:.1f} s, {len(one['run_ids'])} run")  # noqa: T201
    assert (wrong_alone, wrong) == ([], [])
    assert done
    assert all(one["status"] == 200 and one.get("failed") == 0 for one in done), done
    assert {(one["work_dates"], len(one["run_ids"])) for one in done if "work_dates" in one} == {(365, 1)}
