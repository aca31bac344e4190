"""Simulation of large installations: `python -m benchmarks.scale measure` and `… simulate`. Figures: scale.md."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.readings import PUNCHES
from benchmarks.scale_inputs import events, lock_times, maybe_postgres
from benchmarks.scale_model import TICK_SECONDS, Company, Costs, Tick, simulate

SIZES = (100, 1_000, 5_000, 10_000, 100_000)
STORE_TERMINALS = 10_000  # per store, if a company has several
EMPLOYEES_PER_TERMINAL = 40  # with their first punch of the day there
_FILE_TERMINALS = 1_000  # one host reads all
_TICKS_A_DAY = 86_400 / TICK_SECONDS
_MORNING = 0.5  # share of the employees who arrive within the busiest quarter of an hour

# Sources: scale.md. The time of a terminal that answers is an assumption about networks, not a measurement.
FILE = Costs(
    submit=0.05, launch=0.3, start=3.5, read=1.5, dead=10.0, dead_share=0.02, terminal_cpu=0.062,
    lock=0.064, lock_reading=0.0016, event=0.0130,
)  # fmt: skip
_SHARED = replace(FILE, lock=0.18, lock_reading=0.0013, event=0.0240)
ENGINES = {  # shared stores by the round trip to PostgreSQL, from benchmarks/shared_store.md
    "file": FILE,
    "shared, 0 ms": _SHARED,
    "shared, 5 ms": replace(_SHARED, lock=1.54, lock_reading=0.0019),
    "shared, 20 ms": replace(_SHARED, lock=4.61, lock_reading=0.0055),
}
TOGETHER = 64  # MAX_WRITES_TOGETHER of the store, on shared stores
EVENT_BYTES = 4_465
IDLE_CPU = 0.030 / 1_000  # cores of the receiver per connected terminal, from benchmarks/push.md
UPLOAD_CPU = 0.420 / 1_000  # seconds per uploaded punch of 200 terminals, from benchmarks/push.md
SHARED_UPLOAD_CPU = 3.1 * UPLOAD_CPU  # of the receiver and PostgreSQL, on a shared store at 0 ms: the same file
UPLOADS = 1_305  # punches per second of one receiver, from benchmarks/push.md
DAY_CPU = 0.4 / 5_000  # seconds per attendance day, from benchmarks/days.md
CRM_DAYS = {"one by one, 8 at a time": 323.0, "batches of 100": 4_196.0}  # per second, from benchmarks/crm.md


@click.group()
def main() -> None:
    """Costs of a poll tick, measured and simulated for companies of any size."""


@main.command()
def measure() -> None:
    """Measure the inputs of the simulation on this machine."""
    with tempfile.TemporaryDirectory() as name, maybe_postgres() as server:
        folder = Path(name)
        for engine, line in lock_times(folder, server).items():
            click.echo(
                f"{engine}: a transaction locks the store for {line.base * 1e3:.0f} ms, "
                f"plus {line.each * 1e3:.2f} ms per reading of {PUNCHES} new punches"
            )
        for storage, logged in events(folder, server).items():
            click.echo(
                f"a terminal in Dagster's log, {storage}: {logged.seconds * 1e3:.1f} ms, {logged.bytes:,.0f} bytes"
            )


@main.command("simulate")
@click.option("--slots", default=0, help="Parallel runs; 0: a worker for each site.", show_default=True)
@click.option("--cores", default=2, help="Cores of each worker.", show_default=True)
@click.option("--dead-share", default=FILE.dead_share, help="Share of terminals that do not answer.", show_default=True)
def simulate_(slots: int, cores: int, dead_share: float) -> None:
    """Simulate one tick at each size, on each engine."""
    heads = "terminals | sites | store | stores | last site done | lock wait of readings, p99"
    click.echo(f"| {heads} | store locked | daemon | log per day |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for terminals in SIZES:
        for engine, costs, stores in _configurations(terminals, slots):
            together = 1 if engine == "file" else TOGETHER
            company = Company(terminals, slots=slots or 10**6, cores=cores, stores=stores, together=together)
            tick = simulate(company, replace(costs, dead_share=dead_share))
            click.echo(_row(terminals, company, engine, tick))
    click.echo()
    click.echo("| terminals | employees | processing, every tick | CRM, one by one | CRM, batches of 100 |")
    click.echo("|---|---|---|---|---|")
    for terminals in SIZES:
        employees = terminals * EMPLOYEES_PER_TERMINAL
        seconds = employees * DAY_CPU
        rates = [f"{employees * _MORNING / rate / TICK_SECONDS:.0%}" for rate in CRM_DAYS.values()]
        cpu = f"{seconds:,.0f} s of CPU, {seconds / TICK_SECONDS:.0%} of a tick"
        click.echo(f"| {terminals:,} | {employees:,} | {cpu} | {' | '.join(rates)} |")
    click.echo()
    click.echo(
        "| terminals that push | punches/s, morning | cores of receivers, idle | in the morning | of the highest rate "
        "| in the morning, shared store |"
    )
    click.echo("|---|---|---|---|---|---|")
    for terminals in SIZES:
        click.echo(_pushed(terminals))


def _configurations(terminals: int, slots: int) -> list[tuple[str, Costs, int]]:
    several = -(-terminals // STORE_TERMINALS)
    configurations = []
    for engine, costs in ENGINES.items():
        if engine == "file" and (terminals > _FILE_TERMINALS or slots):
            continue
        configurations.append((engine, costs, 1))
        if several > 1:
            configurations.append((engine, costs, several))
    return configurations


def _pushed(terminals: int) -> str:
    """Load of receivers, if all terminals push to one store."""
    rate = terminals * EMPLOYEES_PER_TERMINAL * _MORNING / TICK_SECONDS
    idle = terminals * IDLE_CPU
    return (
        f"| {terminals:,} | {rate:,.0f} | {idle:.2f} | {idle + rate * UPLOAD_CPU:.2f} | {rate / UPLOADS:.0%} "
        f"| {idle + rate * SHARED_UPLOAD_CPU:.2f} |"
    )


def _row(terminals: int, company: Company, engine: str, tick: Tick) -> str:
    waits = sorted(tick.waits)
    p99 = waits[int(len(waits) * 0.99)]
    daily = terminals / company.stores * _TICKS_A_DAY * EVENT_BYTES / 1e9
    return (
        f"| {terminals:,} | {company.sites * company.stores:,} | {engine} | {company.stores} | {max(tick.done):,.0f} s "
        f"| {p99:,.1f} s | {tick.busy:.1%} | {tick.daemon / TICK_SECONDS:.1%} | {daily:.1f} GB |"
    )


if __name__ == "__main__":
    main()
