"""Benchmark of the API under load: `python -m benchmarks.api_load build HOME`, then `… run HOME`. Figures: api.md.

A real `zk-pipeline api` on a store of ten million punches and two million days; clients without pauses read lists of 50
rows, alone or while polls and a backfill run through the same API.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import click

from benchmarks.processes import cpu_of
from benchmarks.synthetic_history import Company, punched
from benchmarks.terminal_server import Served, Wanted, serving
from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.process import process_dates, work_rules
from zk_pipeline.store.store import Store
from zk_pipeline_tests.waiting import until

EMPLOYEES, DATES, PROCESSED_DATES = 2_000, 1_320, 1_045
LAST = date(2026, 11, 29)
FIRST = LAST - timedelta(days=DATES - 1)
GATE = "Load gate"
_TIMEOUT_SECONDS = 300.0
_WARM_UP_SECONDS = 10.0

# A request of each kind, by what a client may look at: a random page, user, month.
_REQUESTS: dict[str, Callable[[random.Random], str]] = {
    "newest punches": lambda _: "/api/raw-attendance/?page_size=50",
    "punches, any page": lambda any_: f"/api/raw-attendance/?page_size=50&page={any_.randint(2, 2_000)}",
    "punches of a user": lambda any_: f"/api/raw-attendance/?page_size=50&user_id={_user(any_)}",
    "newest days": lambda _: "/api/processed-attendance/?page_size=50",
    "days of a user": lambda any_: f"/api/processed-attendance/?page_size=50&user_id={_user(any_)}",
    "outliers of a week": lambda any_: f"/api/processed-attendance/outliers/?page_size=50&{_week(any_)}",
    "days not delivered": lambda _: "/api/processed-attendance/unsynced/?page_size=50",
    "statistics": lambda _: "/api/processed-attendance/stats/",
    "devices": lambda _: "/api/devices/",
}


def _user(any_: random.Random) -> str:
    return f"E{any_.randrange(EMPLOYEES):05}"


def _week(any_: random.Random) -> str:
    first = LAST - timedelta(days=any_.randrange(7, PROCESSED_DATES))
    return f"start_date={first}&end_date={first + timedelta(days=6)}"


@dataclass
class Answers:
    """Seconds of each response by kind of request, and the responses with another status than 200."""

    taken: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def show(self, title: str, seconds: float, cpu_seconds: float) -> None:
        every = [one for taken in self.taken.values() for one in taken]
        click.echo(
            f"{title}: {len(every) / seconds:.0f} responses/s, API {cpu_seconds / len(every) * 1e3:.1f} ms of CPU"
        )
        for name, taken in [("all", every), *sorted(self.taken.items())]:
            click.echo(f"| {name} | {len(taken)} | {_at(taken, 0.5)} | {_at(taken, 0.99)} | {_at(taken, 1)} |")
        click.echo(f"not 200: {len(self.wrong)} {self.wrong[:3]}")


def _at(taken: list[float], share: float) -> str:
    ranked = sorted(taken)
    return f"{ranked[min(len(ranked) - 1, int(len(ranked) * share))] * 1e3:,.0f} ms"


@dataclass(frozen=True)
class Client:
    """A plain client, which costs little CPU; each request of `act` has a connection of its own."""

    port: int
    token: str

    async def request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str) -> tuple[int, bytes]:
        """Status and body of one request on an open connection."""
        head = (f"{line} HTTP/1.1", "Host: localhost", f"Authorization: Token {self.token}", "Content-Length: 0")
        writer.write("\r\n".join([*head, "", ""]).encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", answer, re.IGNORECASE)
        assert length is not None, answer
        return int(answer.split()[1]), await reader.readexactly(int(length[1]))

    async def act(self, path: str) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            return await asyncio.wait_for(self.request(reader, writer, f"POST {path}"), _TIMEOUT_SECONDS)
        finally:
            writer.close()


async def read_without_pause(client: Client, *, clients: int, seconds: float) -> Answers:
    answers, ends = Answers(), time.monotonic() + seconds

    async def one(number: int) -> None:
        any_ = random.Random(number)  # noqa: S311 (a repeatable choice, no secret)
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        while time.monotonic() < ends:
            name, request = any_.choice(list(_REQUESTS.items()))
            path, began = request(any_), time.monotonic()
            status, body = await client.request(reader, writer, f"GET {path}")
            answers.taken[name].append(time.monotonic() - began)
            if status != 200:
                answers.wrong.append(f"{path}: {status} {body[:100]!r}")
        writer.close()

    await asyncio.gather(*(one(number) for number in range(clients)))
    return answers


async def act_until(done: asyncio.Event, client: Client, path: str, before: Callable[[], None]) -> None:
    """Repeat an action through the API until `done`, and print the duration of each."""
    while not done.is_set():
        before()
        began = time.monotonic()
        status, body = await client.act(path)
        click.echo(f"{path}: {status} after {time.monotonic() - began:.1f} s, failed: {json.loads(body).get('failed')}")


async def read_while_working(
    reading: Client, acting: Client, served: Served, *, clients: int, seconds: float, days: int
) -> Answers:
    done = asyncio.Event()
    process = f"/api/processed-attendance/process/?start_date={FIRST}&end_date={FIRST + timedelta(days=days - 1)}"
    working = [
        asyncio.create_task(act_until(done, acting, "/api/devices/poll_all/", lambda: served.punch(GATE, 50))),
        asyncio.create_task(act_until(done, acting, process, lambda: None)),
    ]
    answers = await read_without_pause(reading, clients=clients, seconds=seconds)
    done.set()
    await asyncio.gather(*working)
    return answers


@contextmanager
def api_process(home: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of a `zk-pipeline api` on the home."""
    log = home / "api.log"
    environment = os.environ | {"ZK_PIPELINE_HOME": str(home), "DAGSTER_HOME": str(home)}
    with log.open("w") as written:
        api = subprocess.Popen(
            [sys.executable, "-m", "zk_pipeline", "api", "--port", "0"], stderr=written, env=environment
        )
    try:
        while (found := re.search(r"at http://127\.0\.0\.1:(\d+) ", log.read_text())) is None:
            assert api.poll() is None, log.read_text()
            time.sleep(0.1)
        until(lambda: _listens(int(found[1])))
        yield int(found[1]), api.pid
    finally:
        api.terminate()
        api.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def build(home: Path) -> None:
    """A store with the punches of 1,320 dates, of which the last 1,045 are processed and most are delivered."""
    (home / "data").mkdir(parents=True)
    path = home / "data" / "attendance.duckdb"
    company = Company(employees=EMPLOYEES, first=FIRST, days=DATES)
    store = punched(path, company)
    processed = company.dates[-PROCESSED_DATES:]
    process_dates(store, processed, work_rules(Settings(home=home, database=path)), run_id="benchmark")
    with store.database.write("deliver") as connection:
        connection.execute(
            "UPDATE crm_deliveries SET state = 'delivered', attempts = 1, delivered_at = now() WHERE work_date < ?",
            [LAST - timedelta(days=3)],
        )
        connection.execute(
            "UPDATE work_dates SET processed_seq = latest_punch_seq, processed_at = now() WHERE work_date < ?",
            [processed[0]],
        )


def run(home: Path, *, clients: int, seconds: float, is_alone: bool, days: int) -> None:
    store = Store.at(home / "data" / "attendance.duckdb")
    with store.database.read("count") as connection:
        counted = connection.execute(
            "SELECT (SELECT count(*) FROM raw_punches), (SELECT count(*) FROM daily_attendance)"
        ).fetchone()
    click.echo(f"punches, days: {counted}; {clients} clients, {seconds:.0f} s")
    names = [f"{kind} {time.time():.0f}" for kind in ("reads", "acts")]
    reads, acts = (store.api_tokens.create(name, "admin") for name in names)
    with serving([Wanted(name=GATE, layout=40, records=200)]) as served:
        for device in store.devices.all():
            store.devices.update(device.name, enabled=device.name == GATE)
        _register(store, served)
        with api_process(home) as (port, pid):
            reading, acting = Client(port, reads), Client(port, acts)
            asyncio.run(acting.act("/api/devices/poll_all/"))  # creates Dagster's storage, imports everything
            asyncio.run(read_without_pause(reading, clients=clients, seconds=_WARM_UP_SECONDS))
            before = cpu_of(pid)
            answers = asyncio.run(read_without_pause(reading, clients=clients, seconds=seconds / 3))
            answers.show("alone", seconds / 3, cpu_of(pid) - before)
            if not is_alone:
                before = cpu_of(pid)
                together = asyncio.run(
                    read_while_working(reading, acting, served, clients=clients, seconds=seconds, days=days)
                )
                together.show("with polls and backfills", seconds, cpu_of(pid) - before)
    for name in names:
        store.api_tokens.revoke(name)


def _register(store: Store, served: Served) -> None:
    device = served.device(GATE, "tcp")
    if all(one.name != GATE for one in store.devices.all()):
        store.devices.add(device)
    else:
        store.devices.update(GATE, ip_address=device.ip_address, port=device.port)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("build", "run"))
    parser.add_argument("home", type=Path)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--alone", action="store_true", help="without polls and backfills")
    parser.add_argument("--days", type=int, default=365, help="work dates of a backfill")
    asked = parser.parse_args()
    if asked.what == "build":
        build(asked.home)
    else:
        run(asked.home, clients=asked.clients, seconds=asked.seconds, is_alone=asked.alone, days=asked.days)
    return 0


if __name__ == "__main__":
    sys.exit(main())
