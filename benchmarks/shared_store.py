"""Polls of many processes on one shared store, near to its PostgreSQL and far from it. Figures: shared_store.md.

python -m benchmarks.shared_store polls
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from multiprocessing.synchronize import Barrier as ProcessBarrier
from pathlib import Path
from threading import Barrier

import click

from benchmarks.far_store import far_away
from benchmarks.readings import finished_reading
from zk_pipeline.config.ducklake_address import LakeAddress, parse_lake
from zk_pipeline.devices.models import Device
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import where, with_password
from zk_pipeline_tests.postgres import Postgres, postgres_server
from zk_pipeline_tests.store.store_load import at_once, start

_WAIT_SECONDS = 3_600.0


@dataclass(frozen=True)
class Measured:
    """Polls of one run: number, wall seconds, CPU seconds of the writers and of PostgreSQL, commits."""

    polls: int
    seconds: float
    writers_cpu: float
    postgres_cpu: float
    commits: int

    @property
    def row(self) -> str:
        cpu = (self.writers_cpu + self.postgres_cpu) / max(1, self.polls)
        return f"{self.polls / self.seconds:.2f} | {self.polls / max(1, self.commits):.1f} | {cpu * 1e3:,.0f} ms"


@click.group()
def main() -> None:
    """Polls of many processes on a shared store."""


@main.command()
@click.option("--writers", "numbers", multiple=True, type=int, default=(1, 8, 32), show_default=True, help="Processes.")
@click.option("--seconds", default=40.0, show_default=True, help="Duration of each run.")
@click.option("--round-trip", "round_trips", multiple=True, type=float, default=(0, 5, 20, 50), show_default=True)
def polls(numbers: tuple[int, ...], seconds: float, round_trips: tuple[float, ...]) -> None:
    """Polls per second: each poll in a transaction of its own, and together with those that wait.

    Example:  python -m benchmarks.shared_store polls --writers 8 --seconds 10 --round-trip 5
    """
    click.echo("| round trip | processes | path | polls/s | polls per commit | CPU per poll |")
    click.echo("|---|---|---|---|---|---|")
    for milliseconds, writers, path in product(round_trips, numbers, ("alone", "together")):
        with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
            done = _polled(server, Path(folder), milliseconds, writers, seconds, is_alone=path == "alone")
        click.echo(f"| {milliseconds:g} ms | {writers} | {path} | {done.row} |")


@main.command()
@click.option("--round-trip", "round_trips", multiple=True, type=float, default=(0, 5, 20, 50), show_default=True)
def locks(round_trips: tuple[float, ...]) -> None:
    """One transaction with 1 and with 32 readings, in a process without others: queries of PostgreSQL, wall time, CPU.

    Example:  python -m benchmarks.shared_store locks --round-trip 5
    """
    click.echo("| round trip | readings | queries | wall time | of it round trips | CPU of the process |")
    click.echo("|---|---|---|---|---|---|")
    for milliseconds in round_trips:
        with (
            tempfile.TemporaryDirectory() as folder,
            postgres_server() as server,
            _far(server, Path(folder), milliseconds, devices=32) as address,
        ):
            server.run(f"ALTER DATABASE {dict(address.parameters)['dbname']} SET log_statement = 'all'")
            for number in (1, 32):
                queries, wall, cpu = _transaction(Store(Database(address)), number, server.log)
                waited = queries * milliseconds / 1e3
                click.echo(
                    f"| {milliseconds:g} ms | {number} | {queries} | {wall:.2f} s | {waited:.2f} s | {cpu:.2f} s |"
                )


def _transaction(store: Store, readings: int, log: Path) -> tuple[int, float, float]:
    """Queries, wall seconds and CPU seconds of the shortest of three transactions."""
    done = []
    for minute in range(3):
        group = [finished_reading(_device(number), 100 * readings + minute) for number in range(readings)]
        logged, began, cpu = log.stat().st_size, time.perf_counter(), time.process_time()
        store.punches.ingest_all(group, run_id=None)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        done.append((wall, log.read_bytes()[logged:].decode().count("LOG:  statement: "), cpu))
    wall, queries, cpu = min(done)
    return queries, wall, cpu


def _polled(
    server: Postgres, folder: Path, milliseconds: float, writers: int, seconds: float, *, is_alone: bool
) -> Measured:
    with _far(server, folder, milliseconds, devices=writers) as address:
        before, cpu_before = _snapshots(server, address), _cpu(server.pid)
        ready = at_once(writers + 1)
        started = [
            start(_poll_for, with_password(address), number, (seconds, is_alone), ready, folder / f"writer-{number}")
            for number in range(writers)
        ]
        ready.wait(600)
        for one in started:
            one.join()
        commits = _snapshots(server, address) - before
    lines = [path.read_text().split() for path in folder.glob("writer-*")]
    assert len(lines) == writers
    return Measured(
        polls=sum(int(count) for count, _, _ in lines),
        seconds=max(float(wall) for _, wall, _ in lines),
        writers_cpu=sum(float(cpu) for _, _, cpu in lines),
        postgres_cpu=_cpu(server.pid) - cpu_before,
        commits=commits,
    )


def _poll_for(
    address: str, number: int, how: tuple[float, bool], ready: Barrier | ProcessBarrier, result: Path
) -> None:
    """Poll for so many seconds, and write the number of polls, the wall time and the CPU time to `result`."""
    seconds, is_alone = how
    if is_alone:
        Database._share = _share_nothing  # type: ignore[method-assign]
    store = Store(Database(where(address), wait_seconds=_WAIT_SECONDS))
    device = store.devices.get(_device(number).name)
    ready.wait(600)
    began, cpu = time.monotonic(), time.process_time()
    count = 0
    while time.monotonic() < began + seconds:
        store.punches.ingest_all([finished_reading(device, count)], run_id=f"{number}-{count}")
        count += 1
    result.write_text(f"{count} {time.monotonic() - began} {time.process_time() - cpu}")


def _share_nothing(*_: object, **__: object) -> None:
    """In place of the method that shares a transaction."""


@contextmanager
def _far(server: Postgres, folder: Path, milliseconds: float, *, devices: int) -> Iterator[LakeAddress]:
    """A store with so many devices, whose PostgreSQL is that round trip away."""
    (folder / "lake").mkdir()
    near = parse_lake(f"ducklake:postgres:{server.fresh_database()};data={folder / 'lake'}")
    store = Store(Database(near))
    for number in range(devices):
        store.devices.add(_device(number))
    LakeEngine(near).forget()
    with far_away(near, milliseconds) as address:
        yield address


def _device(number: int) -> Device:
    return Device(name=f"Gate {number:03}", ip_address="192.0.2.10", timezone="UTC")


def _snapshots(server: Postgres, address: LakeAddress) -> int:
    return int(server.run("SELECT max(snapshot_id) FROM ducklake_snapshot", dict(address.parameters)["dbname"]))


def _cpu(pid: int) -> float:
    """CPU seconds of a process and of its ended children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
