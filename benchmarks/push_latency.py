"""Latency of pushed punches: `python -m benchmarks.push_latency` from a checkout. Figures: push.md.

Starts a real `up` with its receiver on a store with a year of punches. Terminals upload one punch at a time; measures
the time to the acknowledgement, which follows the commit in `raw_punches`, and to the row in `daily_attendance`, first
with nothing else to do, then while the whole year is processed again.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import click
import requests

from benchmarks.synthetic_history import Company, punched
from zk_pipeline.config.settings import load_settings
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.store import Store, utc_now
from zk_pipeline.time_text import in_zone

COMMAND = (sys.executable, "-m", "zk_pipeline")
ZONE = "Europe/Berlin"
TERMINALS = [f"PUSH{number:04}" for number in range(10)]
FIRST_USER = 700_000
START_SECONDS, LOOK_SECONDS, PATIENCE_SECONDS = 120.0, 0.5, 300.0


@dataclass
class Measured:
    """Seconds from each upload to its acknowledgement, and to its attendance day."""

    acknowledged: list[float] = field(default_factory=list)
    processed: list[float] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def adopt_all(store: Store) -> None:
    now = utc_now()
    store.push.record_contacts([Contact(serial_number=one, address="192.0.2.1", seen_at=now) for one in TERMINALS])
    for serial in TERMINALS:
        store.push.adopt(serial, f"Push {serial}", timezone=ZONE, default_timezone=ZONE, site="Plant", by="benchmark")


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `zk-pipeline` process, ended by SIGTERM."""
    process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.DEVNULL)  # noqa: S603 (own command)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(60)


def wait_until_ready(url: str) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        with suppress(requests.RequestException):
            if requests.get(f"{url}/health/ready", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise click.ClickException("the receiver did not become ready")


class Uploads:
    """Uploads one punch of a new user every `pause` seconds, and looks for their attendance days."""

    def __init__(self, url: str, store: Store) -> None:
        self.url, self.store = url, store
        self.measured = Measured()
        self._sent: dict[str, float] = {}
        self._next_user = FIRST_USER

    def run(self, count: int, pause: float) -> Measured:
        self.measured = Measured()
        watcher = threading.Thread(target=self._watch, args=(count,))
        watcher.start()
        for number in range(count):
            self._upload(TERMINALS[number % len(TERMINALS)])
            time.sleep(pause)
        watcher.join()
        return self.measured

    def _upload(self, serial: str) -> None:
        user, self._next_user = str(self._next_user), self._next_user + 1
        began = time.monotonic()
        while True:
            line = f"{user}\t{in_zone(utc_now(), ZONE):%Y-%m-%d %H:%M:%S}\t0\t1\t0\t0\t0\n"
            answer = requests.post(f"{self.url}/iclock/cdata?SN={serial}&table=ATTLOG&Stamp=9999", line, timeout=60)
            if answer.status_code == 200 and answer.text.startswith("OK: 1"):
                break
            time.sleep(1)  # as a terminal: 503 while the store is busy
        self._sent[user] = began
        self.measured.acknowledged.append(time.monotonic() - began)

    def _watch(self, count: int) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while len(self.measured.processed) < count and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
            with self.store.database.read("benchmark") as connection:
                rows = connection.execute(
                    "SELECT DISTINCT user_id FROM daily_attendance WHERE list_contains(?, user_id)", [list(self._sent)]
                ).fetchall()
            now = time.monotonic()
            self.measured.processed += [now - self._sent.pop(user) for (user,) in rows]


def row(name: str, seconds: Sequence[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"| {name} | {len(seconds)} | {cuts[49]:.2f} s | {cuts[98]:.2f} s | {max(seconds):.2f} s |"


@click.command()
@click.option("--punches", default=100, show_default=True, help="Punches of each phase.")
@click.option("--pause", default=1.0, show_default=True, help="Seconds between two punches.")
@click.option("--employees", default=400, show_default=True, help="Employees of the year of history.")
def main(punches: int, pause: float, employees: int) -> None:
    """Print percentiles of the latency as a Markdown table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "ZK_PIPELINE_HOME": folder, "POLLING_INTERVAL_MINUTES": "1440", "CRM_SYNC_INTERVAL_MINUTES": "1440",
            "RECEIVER_ENABLED": "true", "RECEIVER_PORT": str(free_port()),
        }  # fmt: skip
        settings = load_settings()
        Path(folder, "data").mkdir()
        first = utc_now().date() - timedelta(days=370)
        store = punched(settings.database_path, Company(employees, first, 365))
        for device in store.devices.all():
            store.devices.update(device.name, enabled=False)
        adopt_all(store)
        process = ("process", "--start-date", str(first), "--end-date", str(first + timedelta(days=364)))
        subprocess.run([*COMMAND, *process], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (own command)
        url = f"http://127.0.0.1:{settings.receiver_port}"
        click.echo("| phase | punches | p50 | p99 | longest |\n|---|---|---|---|---|")
        with running("up", "--port", str(free_port())):
            wait_until_ready(url)
            uploads = Uploads(url, store)
            uploads.run(3, pause)  # the first run of each process
            report("nothing else to do", uploads.run(punches, pause))
            with running(*process):
                report("while a year is processed", uploads.run(punches, pause))


def report(phase: str, measured: Measured) -> None:
    click.echo(row(f"acknowledged, {phase}", measured.acknowledged))
    click.echo(row(f"in `daily_attendance`, {phase}", measured.processed))


if __name__ == "__main__":
    main()
