"""Benchmark of receiving from terminals that push: `python -m benchmarks.push` from a checkout. Figures: push.md.

Emulated terminals in this process, each receiver in a process of its own. CPU is user and system time of the receiver
as counted by the kernel; every result is verified by the number of stored punches.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import click

from benchmarks.processes import cpu_of, memory_of
from benchmarks.push_receivers import Independent, Own, Receiver, Running
from zk_pipeline.simulator.push.fleet import PushFleet
from zk_pipeline.simulator.push.profiles import PUSH_2_4
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import Punch
from zk_pipeline_tests.waiting import until

FIRST = datetime.fromisoformat("2026-01-05T08:00:00")
USERS, APART_SECONDS = 50, 7
NO_DELAY = 3600.0  # no requests for commands in between
WAIT_SECONDS = 3600.0
REALTIME_TERMINALS = (20, 200)
BACKLOG_TERMINALS = 10
SINGLE = 200


@dataclass(frozen=True)
class Cost:
    """CPU seconds of the receiver, wall seconds, and its memory before and after, in megabytes."""

    cpu: float
    wall: float
    memory_before: float
    memory_after: float


@contextmanager
def measured(receiver: Running) -> Iterator[list[Cost]]:
    """The cost of the block, appended to the list at its end."""
    costs: list[Cost] = []
    memory, cpu, wall = memory_of(receiver.pid), cpu_of(receiver.pid), time.perf_counter()
    yield costs
    wall = time.perf_counter() - wall
    costs.append(Cost(cpu_of(receiver.pid) - cpu, wall, memory, memory_of(receiver.pid)))


def names_of(count: int) -> list[str]:
    return [f"BENCH{number:05}" for number in range(count)]


def terminals_of(url: str, count: int) -> list[PushingTerminal]:
    """Terminals whose name is their serial number, with room for any log."""
    return [
        PushingTerminal(
            TerminalDefinition(name=name, serial_number=name, timezone="Africa/Nairobi", record_capacity=10_000_000),
            url,
            profile=PUSH_2_4,
            timeout_seconds=WAIT_SECONDS,
        )
        for name in names_of(count)
    ]


def record(terminal: PushingTerminal, count: int) -> None:
    """Record so many punches of fifty users, each user's minutes apart."""
    first = terminal.log.next_number
    for number in range(first, first + count):
        at_local = FIRST + timedelta(seconds=number * APART_SECONDS)
        terminal.record(Punch(str(1001 + number % USERS), at_local, 1, number % 2))


def record_all(terminals: Sequence[PushingTerminal], count: int) -> None:
    for terminal in terminals:
        record(terminal, count)


def upload_backlog(receiver: Running, lines: int) -> Cost:
    """Logs that were recorded before the first hello, in batches of 128 lines."""
    terminals = terminals_of(receiver.url, BACKLOG_TERMINALS)
    record_all(terminals, lines // BACKLOG_TERMINALS)
    for terminal in terminals:
        terminal.mark_backlog()
    with measured(receiver) as costs, PushFleet(terminals, delay_seconds=NO_DELAY) as fleet:
        until(lambda: fleet.pending_count == 0, seconds=WAIT_SECONDS, every=0.05)
    return costs[0]


def upload_realtime(receiver: Running, punches: int, *, count: int) -> Cost:
    """Punches of so many connected terminals at once, one line per POST."""
    terminals = terminals_of(receiver.url, count)
    each = punches // count
    with PushFleet(terminals, delay_seconds=NO_DELAY) as fleet:
        until(lambda: all(not one.sends_info for one in terminals), seconds=WAIT_SECONDS)
        with measured(receiver) as costs:
            fleet.call(partial(record_all, terminals, each - 1))
            for terminal in terminals:  # the last punch starts the uploads
                fleet.punch(terminal.name, "1", FIRST - timedelta(days=1))
            until(lambda: fleet.pending_count == 0, seconds=WAIT_SECONDS, every=0.02)
    return costs[0]


def single_answers(receiver: Running) -> list[float]:
    """Milliseconds of the upload of a punch by the only terminal that is busy, ascending."""
    terminal = terminals_of(receiver.url, 1)[0]
    assert terminal.cycle()
    taken = []
    for _ in range(SINGLE):
        record(terminal, 1)
        began = time.perf_counter()
        assert terminal.upload() == 1
        taken.append((time.perf_counter() - began) * 1e3)
    return sorted(taken)


def idle(receiver: Running, count: int, seconds: float, delay_seconds: float = 10) -> Cost:
    """Connected terminals that ask for commands at their delay."""
    terminals = terminals_of(receiver.url, count)
    with PushFleet(terminals, delay_seconds=delay_seconds, start_within_seconds=delay_seconds) as fleet:
        until(lambda: fleet.connected_count == count, seconds=WAIT_SECONDS, every=0.5)
        time.sleep(delay_seconds)
        with measured(receiver) as costs:
            time.sleep(seconds)
        connected = fleet.connected_count
    assert connected == count, f"{count - connected} of {count} terminals lost their connection"
    return costs[0]


def row(*cells: str) -> None:
    click.echo(f"| {' | '.join(cells)} |")


def table(*heads: str) -> None:
    row(*heads)
    row(*["---"] * len(heads))


def verified(receiver: Receiver, folder: Path, expected: int) -> None:
    """Raises AssertionError unless exactly so many punches are stored."""
    found = receiver.count(folder)
    assert found == expected, f"{receiver.name}: {found} punches are stored, not {expected}"


def run_uploads(receivers: Sequence[Receiver], punches: int, lines: int) -> None:
    click.echo(f"\n{punches:,} punches, one per POST; {lines:,} lines in batches of 128\n")
    table("load", "receiver", "punches/s", "CPU", "punches per CPU second", "CPU per 1,000", "memory")
    loads: list[tuple[str, int, int, Callable[[Running, int], Cost]]] = [
        (f"one per POST, {count} terminals", punches, count, partial(upload_realtime, count=count))
        for count in REALTIME_TERMINALS
    ]
    loads.append((f"backlog of {BACKLOG_TERMINALS} terminals", lines, BACKLOG_TERMINALS, upload_backlog))
    for load, count, terminals, upload in loads:
        for receiver in receivers:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                with receiver.running(folder, names_of(terminals)) as running:
                    cost = upload(running, count)
                verified(receiver, folder, count)
            row(
                load,
                receiver.name,
                f"{count / cost.wall:,.0f}",
                f"{cost.cpu:.2f} s",
                f"{count / cost.cpu:,.0f}",
                f"{cost.cpu / count * 1e6:,.0f} ms",
                f"{cost.memory_before:.0f} → {cost.memory_after:.0f} MB",
            )


def run_single(receivers: Sequence[Receiver]) -> None:
    click.echo(f"\n{SINGLE} punches of one terminal, one after the other: time to the answer\n")
    table("receiver", "p50", "p99", "longest")
    for receiver in receivers:
        with tempfile.TemporaryDirectory() as name, receiver.running(Path(name), names_of(1)) as running:
            taken = single_answers(running)
        quantiles = statistics.quantiles(taken, n=100)
        row(receiver.name, *(f"{value:.1f} ms" for value in (quantiles[49], quantiles[98], taken[-1])))


def run_idle(receivers: Sequence[Receiver], count: int, seconds: float) -> None:
    click.echo(f"\n{count:,} idle terminals, each asking for commands every 10 s, for {seconds:.0f} s\n")
    table("receiver", "share of a core", "memory")
    for receiver in receivers:
        with tempfile.TemporaryDirectory() as name, receiver.running(Path(name), names_of(count)) as running:
            cost = idle(running, count, seconds)
        row(receiver.name, f"{cost.cpu / cost.wall:.1%}", f"{cost.memory_before:.0f} → {cost.memory_after:.0f} MB")


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(["uploads", "single", "idle"]))
@click.option("--receiver", "names", multiple=True, type=click.Choice(["independent", "own"]), help="[default: both]")
@click.option("--command", default=Own.command, show_default=True, help="Starts the own receiver on {port}.")
@click.option("--punches", default=2_000, show_default=True, help="Single-line uploads.")
@click.option("--lines", default=100_000, show_default=True, help="Lines of the backlog.")
@click.option("--terminals", default=1_000, show_default=True, help="Idle terminals.")
@click.option("--seconds", default=60.0, show_default=True, help="Time with idle terminals.")
def main(
    *, parts: tuple[str, ...], names: tuple[str, ...], command: str, punches: int, lines: int, terminals: int,
    seconds: float,
) -> None:  # fmt: skip
    """Measure the receivers side by side; by default all parts."""
    known: dict[str, Receiver] = {"independent": Independent(), "own": Own(command)}
    receivers = [known[name] for name in names or known]
    if "single" in (parts or ("single",)):
        run_single(receivers)
    if "uploads" in (parts or ("uploads",)):
        run_uploads(receivers, punches, lines)
    if "idle" in (parts or ("idle",)):
        run_idle(receivers, terminals, seconds)


if __name__ == "__main__":
    main()
