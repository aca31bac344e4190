"""Benchmark of reading terminals: `python -m benchmarks.terminals` from a checkout. Figures: README.md.

The terminals run in a separate process; this module has the clients, timers and tables.
"""

from __future__ import annotations

import multiprocessing
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import click
from zk.exception import ZKError

from benchmarks.terminal_clients import DEADLINE, TIMEOUT, drain, read_with_pyzk, read_with_zk_pipeline
from benchmarks.terminal_server import Served, Wanted, serving
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, LogPosition, Protocol, Reading
from zk_pipeline.devices.polling import poll_many
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline.operations.poll import MAX_CONCURRENT_READINGS
from zk_pipeline.simulator.terminal.records import Layout

LAYOUTS: tuple[Layout, ...] = (8, 16, 40)
# Real terminals send numbered packets of about 1,000 bytes; without numbers UDP requests each one separately.
LINES: dict[str, tuple[Protocol, str]] = {
    "TCP, packets of 64 kB": ("tcp", ""),
    "TCP, of 1 kB": ("tcp", "numbered"),
    "UDP, of 1 kB": ("udp", "numbered"),
    "UDP, unnumbered": ("udp", ""),
}
COUNTS = (1_000, 10_000, 100_000)
REPEATS = 5
LONG_SECONDS = 2.0  # a slower case is measured once

FLEET, FLEET_RECORDS = 200, 5_000
FLEET_TIMEOUT, FLEET_DEADLINE = 5.0, 30.0
HANGING = {7: "silent", 50: "silent", 93: "silent", 131: "dripping", 170: "dripping"}


@dataclass(frozen=True)
class Cost:
    """CPU seconds of this process and wall seconds; minimum of several runs."""

    cpu: float
    wall: float


class Incomplete(Exception):
    """The result of a client differs from the log."""


def cost_of(read: Callable[[], int], expected: int) -> Cost:
    """Minimum cost of reading. Raises Incomplete if a result is incomplete."""
    costs: list[Cost] = []
    while len(costs) < REPEATS and (not costs or costs[-1].wall < LONG_SECONDS):
        cpu, wall = time.process_time(), time.perf_counter()
        count = read()
        costs.append(Cost(time.process_time() - cpu, time.perf_counter() - wall))
        if count != expected:
            raise Incomplete(f"got {count}, expected {expected}")
    return Cost(min(cost.cpu for cost in costs), min(cost.wall for cost in costs))


def seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{value * 1000:.3g} ms"


@click.group(chain=True)
def main() -> None:
    """Measure by name, or `all`."""


@main.command("all")
@click.pass_context
def everything(context: click.Context) -> None:
    """Everything: about six minutes, most of them for pyzk."""
    for command in (full_logs, tails, fleet):
        context.invoke(command)


@main.command("full-logs")
def full_logs() -> None:
    """Whole logs: pyzk, zk_pipeline, and a client that only receives the bytes."""
    click.echo(
        "| records | bytes | over | pyzk CPU | zk_pipeline CPU | floor CPU | pyzk wall | zk_pipeline wall | floor wall "
        "| CPU pyzk : zk_pipeline | wall pyzk : zk_pipeline | CPU zk_pipeline : floor | wall zk_pipeline : floor |\n"
        + "|---" * 13
        + "|"
    )
    for records in COUNTS:
        with serving(_terminals(records)) as served:
            for layout in LAYOUTS:
                for line, (protocol, packets) in LINES.items():
                    device = served.device(f"{layout}{packets}", protocol)
                    click.echo(_full_log_row(device, line, records, layout))


def _terminals(records: int) -> list[Wanted]:
    return [
        Wanted(name=f"{layout}{packets}", layout=layout, records=records, packets=packets)
        for layout in LAYOUTS
        for packets in ("", "numbered")
    ]


def _full_log_row(device: Device, line: str, records: int, layout: int) -> str:
    floor = cost_of(lambda: drain(device), records * layout + 4)
    own = cost_of(lambda: read_with_zk_pipeline(device), records)
    pyzk = _cost_of_pyzk(device, records)
    against_pyzk = [f"{pyzk.cpu / own.cpu:.1f}", f"{pyzk.wall / own.wall:.1f}"] if pyzk else ["–", "–"]
    cells = [
        f"{records:,}",
        str(layout),
        line,
        *(seconds(cost.cpu) if cost else "fails" for cost in (pyzk, own, floor)),
        *(seconds(cost.wall) if cost else "fails" for cost in (pyzk, own, floor)),
        *against_pyzk,
        f"{own.cpu / floor.cpu:.1f}",
        f"{own.wall / floor.wall:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _cost_of_pyzk(device: Device, records: int) -> Cost | None:
    """Cost of pyzk, or None if it fails or reads an incomplete log."""
    try:
        return cost_of(lambda: read_with_pyzk(device), records)
    except (Incomplete, OSError, ZKError, struct.error) as error:
        click.echo(f"pyzk: {error!r}", err=True)
        return None


@main.command("tails")
def tails() -> None:
    """A second poll after 200 new punches in 100,000."""
    click.echo("| bytes | over | reading | bytes read | CPU | wall |\n" + "|---" * 6 + "|")
    with serving(_terminals(100_000)) as served:
        for layout in LAYOUTS:
            for line in ("TCP, of 1 kB", "UDP, of 1 kB"):
                _tail_rows(served, layout, line)


def _tail_rows(served: Served, layout: int, line: str) -> None:
    protocol, packets = LINES[line]
    name = f"{layout}{packets}"
    device = served.device(name, protocol)
    full = _row(device, layout, "full", None)
    _row(device, layout, "unchanged", full.position)
    served.punch(name, 200)
    later = _row(device, layout, "incremental", full.position)
    if len(later.punches) != 200:
        raise click.ClickException(f"{len(later.punches)} new punches came where 200 were expected")


def _row(device: Device, layout: int, mode: str, position: LogPosition | None) -> Reading:
    readings: list[Reading] = []

    def read() -> int:
        readings.append(read_terminal(device, comm_key=0, timeout=TIMEOUT, deadline=DEADLINE, position=position))
        return readings[-1].record_count_after

    cost = cost_of(read, read())
    reading = readings[-1]
    if reading.mode != mode:
        raise click.ClickException(f"a {reading.mode} reading came where {mode} was expected")
    over = device.protocol.upper()
    click.echo(f"| {layout} | {over} | {mode} | {reading.bytes_read:,} | {seconds(cost.cpu)} | {seconds(cost.wall)} |")
    return reading


@main.command("fleet")
def fleet() -> None:
    """200 terminals with 5,000 records each, five of them hanging."""
    wanted = [
        Wanted(
            name=f"T{number}",
            layout=LAYOUTS[number % 3],
            records=FLEET_RECORDS,
            users=100,
            hangs=HANGING.get(number, ""),
        )
        for number in range(FLEET)
    ]
    with serving(wanted) as served:
        devices = [served.device(one.name, "tcp") for one in wanted]
        # A separate process, for its own peak memory.
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_poll, args=(there, devices))
        process.start()
        click.echo(here.recv())
        process.join()


def _poll(pipe: Connection, devices: list[Device]) -> None:
    gateway = TerminalGateway(timeout=FLEET_TIMEOUT, deadline=FLEET_DEADLINE, comm_keys=lambda _: 0)
    before = _peak_mb()
    cpu, started = time.process_time(), time.perf_counter()
    records, failures, last_good = 0, [], 0.0
    for outcome in poll_many(
        devices, gateway.read, max_workers=MAX_CONCURRENT_READINGS, deadline_seconds=FLEET_DEADLINE
    ):
        if outcome.reading is not None:
            records += len(outcome.reading.punches)
            last_good = time.perf_counter() - started
        else:
            failures.append(f"{outcome.device.name} {getattr(outcome.error, 'code', repr(outcome.error))}")
    wall = time.perf_counter() - started
    pipe.send(
        f"{len(devices)} terminals, {records:,} records read; failed: {', '.join(sorted(failures))}\n"
        f"last healthy terminal after {last_good:.1f} s, all after {wall:.1f} s (deadline {FLEET_DEADLINE:g} s, "
        f"timeout {FLEET_TIMEOUT:g} s); CPU {time.process_time() - cpu:.1f} s; "
        f"memory {before} MB before, peak {_peak_mb()} MB"
    )


def _peak_mb() -> int:
    """Peak memory of this process in MB (Linux; getrusage would include the parent)."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) >> 10


if __name__ == "__main__":
    main()
