"""Benchmark of delivery to a CRM: `python -m benchmarks.crm` from a checkout. Figures: crm.md.

Each client runs in its own process, on a copy of the same store, against a CRM in another process.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import click

from benchmarks.crm_clients import Workspace, aiohttp_posts, bare_sockets, pipeline, plain_loop, without_requests
from benchmarks.crm_server import Counts, Crm, serving
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.crm_doubles import make_certificate
from zk_pipeline_tests.crm.due_days import dates_from, make_due

LATENCY = 0.02  # seconds
USERS, DATES = 200, 10

Client = Callable[[Workspace], Callable[[], int]]
CLIENTS: dict[str, Client] = {
    "plain loop": plain_loop,
    "zk_pipeline, 1 at a time": pipeline(1),
    "zk_pipeline, 8 at a time": pipeline(8),
    "zk_pipeline, 32 at a time": pipeline(32),
    "zk_pipeline, batches of 100, 8 at a time": pipeline(8, 100),
    "aiohttp, 8 at a time": aiohttp_posts(8),
    "aiohttp, 32 at a time": aiohttp_posts(32),
    "bare sockets, 8 at a time": bare_sockets(8),
    "bare sockets, 32 at a time": bare_sockets(32),
    "zk_pipeline without requests": without_requests(8),
    "zk_pipeline without requests, batches of 100": without_requests(8, 100),
}


@dataclass(frozen=True)
class Cost:
    """Wall and CPU seconds of the client for `records` records."""

    records: int
    wall: float
    cpu: float

    @property
    def per_second(self) -> float:
        return self.records / self.wall

    @property
    def cpu_ms(self) -> float:
        return self.cpu / self.records * 1e3


def measured(name: str, template: Path, crm: Crm, authority: Path) -> tuple[Cost, Counts]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        copy = Path(shutil.copyfile(template, Path(folder) / "attendance.duckdb"))
        here, there = context.Pipe()
        workspace = Workspace(copy, crm.url, crm.port, authority)
        crm.counts()
        process = context.Process(target=_measure, args=(there, name, workspace))
        process.start()
        there.close()
        cost: Cost = here.recv()
        process.join()
    return cost, crm.counts()


def _measure(pipe: Connection, name: str, workspace: Workspace) -> None:
    run = CLIENTS[name](workspace)
    Store.at(workspace.store).deliveries.states()  # imports everything first
    wall, cpu = time.perf_counter(), time.process_time()
    records = run()
    pipe.send(Cost(records, time.perf_counter() - wall, time.process_time() - cpu))


def _rows(only: tuple[str, ...], folder: Path) -> list[tuple[str, Cost, Counts]]:
    template = folder / "due.duckdb"
    due = make_due(Store.at(template), people=USERS, dates=dates_from(DATES))
    certificate = make_certificate(folder, ends=datetime.now(UTC) + timedelta(days=365))
    rows = []
    with serving(*certificate.tls, latency=LATENCY) as crm:
        for name in CLIENTS:
            if (only and not any(part in name for part in only)) or (
                name.startswith("aiohttp") and importlib.util.find_spec("aiohttp") is None
            ):
                continue
            cost, counts = measured(name, template, crm, certificate.authority)
            assert cost.records == due
            assert counts.keys == (0 if "without" in name else due)
            click.echo(f"{name}: {cost.per_second:.0f}/s, {cost.cpu_ms:.2f} ms; {counts}", err=True)
            rows.append((name, cost, counts))
    return rows


@click.command()
@click.argument("only", nargs=-1)
def main(only: tuple[str, ...]) -> None:
    """Measure all clients, or those whose names contain one of ONLY, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        rows = _rows(only, Path(folder))
    plain = next((cost.per_second for name, cost, _ in rows if name == "plain loop"), None)
    click.echo(f"{USERS * DATES:,} days, {LATENCY * 1e3:.0f} ms latency\n")
    click.echo("| client | records/s | : plain | CPU per record | requests | CPU of the CRM |")
    click.echo("|---|---|---|---|---|---|")
    for name, cost, counts in rows:
        ratio = f"{cost.per_second / plain:.1f}" if plain else "–"
        load = f"{counts.cpu / cost.wall:.0%}"
        click.echo(
            f"| {name} | {cost.per_second:,.0f} | {ratio} | {cost.cpu_ms:.2f} ms | {counts.requests:,} | {load} |"
        )


if __name__ == "__main__":
    main()
