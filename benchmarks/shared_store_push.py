"""Uploads of pushing terminals to receivers on one shared store, near to its PostgreSQL and far from it. Figures:
push.md.

python -m benchmarks.shared_store_push
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import click

from benchmarks.far_store import far_away
from benchmarks.processes import cpu_of
from benchmarks.push import FIRST, NO_DELAY, WAIT_SECONDS, names_of, record_all, terminals_of
from benchmarks.push_receivers import Own, adopt
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import argument, end_lakes, lakes
from zk_pipeline_tests.waiting import until

_PUNCHES = 5_000  # of each terminal, more than it can upload in time


@dataclass(frozen=True)
class Load:
    """Connected terminals, each with one upload at a time; receivers and how they start; duration of the uploads."""

    terminals: int
    receivers: int
    seconds: float
    command: str


@dataclass(frozen=True)
class Uploaded:
    """Acknowledged uploads of one punch each, transactions, wall seconds, CPU seconds of the receivers and of
    PostgreSQL.
    """

    uploads: int
    transactions: int
    seconds: float
    receivers_cpu: float
    postgres_cpu: float

    @property
    def row(self) -> str:
        each, transactions = 1e6 / max(1, self.uploads), max(1, self.transactions)
        return (
            f"{self.uploads / self.seconds:,.1f} | {self.uploads / transactions:.0f} "
            f"| {self.seconds / transactions:.2f} s | {self.receivers_cpu * each:,.0f} ms "
            f"| {self.postgres_cpu * each:,.0f} ms"
        )


@click.command()
@click.option("--terminals", default=200, show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="Duration of each run.")
@click.option("--receivers", "numbers", multiple=True, type=int, default=(1, 8), show_default=True)
@click.option("--round-trip", "round_trips", multiple=True, type=float, default=(0, 5, 20), show_default=True)
@click.option("--command", default=Own.command, show_default=True, help="Starts a receiver on {port}.")
def main(
    *, terminals: int, seconds: float, numbers: tuple[int, ...], round_trips: tuple[float, ...], command: str
) -> None:
    """Uploads per second of connected terminals, one punch per POST, spread over the receivers; first to a file.

    Example:  python -m benchmarks.shared_store_push --receivers 1 --round-trip 5
    """
    click.echo(
        "| store | receivers | uploads/s | per transaction | a transaction every | CPU per 1,000 | of PostgreSQL |"
    )
    click.echo("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            file, template = folder / "store.duckdb", lakes().fresh(folder / "lake")
            for at in (file, template):
                adopt(Store.at(at), names_of(terminals))
            done = _uploaded(folder / "file", file, Load(terminals, 1, seconds, command))
            click.echo(f"| file | 1 | {done.row} |")
            for milliseconds, receivers in product(round_trips, numbers):
                one = folder / f"{milliseconds:g} ms, {receivers}"
                with far_away(lakes().copy(template, one / "lake"), milliseconds) as address:
                    done = _uploaded(one, address, Load(terminals, receivers, seconds, command))
                click.echo(f"| shared, {milliseconds:g} ms | {receivers} | {done.row} |")
        finally:
            end_lakes()


def _uploaded(folder: Path, at: Where, load: Load) -> Uploaded:
    """Upload for so many seconds; then stop, and verify that all acknowledged punches are stored."""
    postgres = cpu_of(lakes().server.pid)
    with ExitStack() as running:
        receivers = []
        for number in range(load.receivers):
            home = folder / f"receiver {number}"
            home.mkdir(parents=True)
            receivers.append(running.enter_context(Own(load.command).started(home, argument(at))))
        terminals = [
            terminals_of(receivers[number % load.receivers].url, load.terminals)[number]
            for number in range(load.terminals)
        ]
        with PushFleet(terminals, delay_seconds=NO_DELAY) as fleet:
            until(lambda: all(not one.sends_info for one in terminals), seconds=WAIT_SECONDS)
            used = sum(cpu_of(one.pid) for one in receivers)
            began = time.perf_counter()
            fleet.call(partial(record_all, terminals, _PUNCHES))
            _wake(fleet, terminals)
            time.sleep(load.seconds)
            uploads = (_PUNCHES + 1) * load.terminals - fleet.pending_count
            taken = time.perf_counter() - began
            used = sum(cpu_of(one.pid) for one in receivers) - used
    postgres = cpu_of(lakes().server.pid) - postgres  # of its ended processes, those of the receivers
    store = Store(Database(at))
    with store.database.read("count punches") as connection:
        row = connection.execute("SELECT count(*), count(DISTINCT created_at) FROM raw_punches").fetchone()
    assert row is not None
    assert row[0] >= uploads, f"{uploads} punches were acknowledged, {row[0]} are stored"
    return Uploaded(uploads, round(row[1] * uploads / max(1, row[0])), taken, used, postgres)


def _wake(fleet: PushFleet, terminals: Sequence[PushingTerminal]) -> None:
    """A last punch, which starts the uploads."""
    for terminal in terminals:
        fleet.punch(terminal.name, "1", FIRST)


if __name__ == "__main__":
    main()
