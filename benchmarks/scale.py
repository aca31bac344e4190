"""How far it goes: `python -m benchmarks.scale measure` and `… simulate`; see scale.md beside this file."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from benchmarks.scale_inputs import PUNCHES, events, holds, maybe_postgres
from benchmarks.scale_model import TICK_SECONDS, Company, Costs, Tick, simulate

SIZES = (100, 1_000, 5_000, 10_000, 100_000)
STORE_TERMINALS = 10_000  # of one store, where a company has several
PEOPLE_PER_TERMINAL = 40  # who have their first punch of the day there
_TICKS_A_DAY = 86_400 / TICK_SECONDS
_MORNING = 0.5  # share of the people who come within the busiest quarter of an hour

# Where each comes from: scale.md. A terminal that answers is an assumption about networks, not a measurement.
FILE = Costs(
    submit=0.05, launch=0.3, start=3.5, read=1.5, dead=10.0, dead_share=0.02, terminal_cpu=0.062,
    hold=0.064, hold_reading=0.0016, event=0.0130,
)  # fmt: skip
SHARED = replace(FILE, hold=0.168, hold_reading=0.0019, event=0.0240)
EVENT_BYTES = 4_465
DAY_CPU = 0.4 / 5_000  # seconds for one person's day, from benchmarks/days.md
CRM_DAYS = {"one by one, 8 at a time": 323.0, "batches of 100": 4_196.0}  # a second, from benchmarks/crm.md


@click.group()
def main() -> None:
    """What a poll tick costs, and what a company of any size would wait for."""


@main.command()
def measure() -> None:
    """Measure here what the simulation is given."""
    with tempfile.TemporaryDirectory() as name, maybe_postgres() as server:
        folder = Path(name)
        for engine, line in holds(folder, server).items():
            click.echo(
                f"{engine}: a transaction holds the store for {line.base * 1e3:.0f} ms, "
                f"and {line.each * 1e3:.2f} ms for each reading of {PUNCHES} new punches"
            )
        for storage, logged in events(folder, server).items():
            click.echo(
                f"a terminal in Dagster's log, {storage}: {logged.seconds * 1e3:.1f} ms, {logged.bytes:,.0f} bytes"
            )


@main.command("simulate")
@click.option("--slots", default=0, help="Runs at a time; 0: a worker for each site.", show_default=True)
@click.option("--cores", default=2, help="Of each worker.", show_default=True)
@click.option("--dead-share", default=FILE.dead_share, help="Of the terminals.", show_default=True)
def simulate_(slots: int, cores: int, dead_share: float) -> None:
    """One tick at each size, on each engine."""
    heads = (
        "terminals | sites | store | stores | last site done | readings waited, p99 | store held | daemon | log a day"
    )
    click.echo(f"| {heads} |")
    click.echo("|---|---|---|---|---|---|---|---|---|")
    for terminals in SIZES:
        for engine, costs, stores in _ways(terminals, slots):
            company = Company(terminals, slots=slots or 10**6, cores=cores, stores=stores)
            tick = simulate(company, replace(costs, dead_share=dead_share))
            click.echo(_row(terminals, company, engine, tick))
    click.echo()
    click.echo("| terminals | people | making their days, every tick | CRM, one by one | CRM, batches of 100 |")
    click.echo("|---|---|---|---|---|")
    for terminals in SIZES:
        people = terminals * PEOPLE_PER_TERMINAL
        made = people * DAY_CPU
        rates = [f"{people * _MORNING / rate / TICK_SECONDS:.0%}" for rate in CRM_DAYS.values()]
        cpu = f"{made:,.0f} s of CPU, {made / TICK_SECONDS:.0%} of a tick"
        click.echo(f"| {terminals:,} | {people:,} | {cpu} | {' | '.join(rates)} |")


def _ways(terminals: int, slots: int) -> list[tuple[str, Costs, int]]:
    ways = [("shared", SHARED, 1)]
    if terminals <= 1_000 and not slots:
        ways.insert(0, ("file", FILE, 1))
    if terminals > STORE_TERMINALS:
        ways.append(("shared", SHARED, -(-terminals // STORE_TERMINALS)))
    return ways


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
