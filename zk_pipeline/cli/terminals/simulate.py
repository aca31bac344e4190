"""`zk-pipeline simulate`: emulated terminals on loopback, or ones that push to a receiver."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.context import PORT
from zk_pipeline.cli.output import as_json, note, print_json, print_table, wide_option
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import stop_event
from zk_pipeline.store.store import utc_now

if TYPE_CHECKING:
    from zk_pipeline.simulator.company.workforce import Workforce
    from zk_pipeline.simulator.push.terminal import PushingTerminal

RECEIVER_URL = "http://127.0.0.1:8081"
# Shorter than the receiver's, which a terminal does not know before its adoption.
_ERROR_DELAY_SECONDS = 5.0


@click.command()
@click.option("--devices", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--employees", type=click.IntRange(min=1), default=120, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--port", type=PORT, help="Port of the first terminal; the others follow.  [default: free ports]")
@click.option("--push", is_flag=True, help="Emulate terminals that push to a receiver.")
@click.option("--receiver", metavar="URL", help=f"Address of the receiver, with --push.  [default: {RECEIVER_URL}]")
@wide_option
@as_json
def simulate(
    *, devices: int, employees: int, days: int, port: int | None, push: bool, receiver: str | None, as_json: bool
) -> int:
    """Run emulated terminals only. They record a punch every few seconds until interrupted.

    Without --push they listen on loopback and are polled. With --push they connect to a receiver; the output has the
    commands that adopt them.

    \b
    Example:  zk-pipeline simulate --devices 3 --employees 50 --days 30 --port 4370
    """
    from zk_pipeline.simulator.company.workforce import generate  # noqa: PLC0415 (slow to import)

    if push and port is not None:
        raise UsageError("--port is for terminals that are polled: leave it out with --push")
    if receiver is not None and not push:
        raise UsageError("--receiver is for terminals that push: add --push")
    if port is not None and port + devices - 1 > 65535:
        raise UsageError(f"--port {port} leaves no room for {devices} terminals")
    workforce = generate(devices=devices, employees=employees, days=days, until=utc_now())
    if push:
        return _push(workforce, receiver or RECEIVER_URL, as_json=as_json)
    return _serve(workforce, None if port is None else list(range(port, port + devices)), as_json=as_json)


def _serve(workforce: Workforce, ports: list[int] | None, *, as_json: bool) -> int:
    from zk_pipeline.demo.live_traffic import punch_until  # noqa: PLC0415
    from zk_pipeline.simulator.terminal.fleet import Fleet  # noqa: PLC0415

    with stop_event() as stopped, Fleet.serve(workforce.emulated_terminals(), ports=ports) as fleet:
        rows = [
            {"name": one.name, "ip": fleet.host, "port": fleet.port_of(one.name), "timezone": one.timezone,
             "site": one.site, "layout": one.layout, "comm_key": one.comm_key,
             "punches": fleet.terminal(one.name).record_count}
            for one in workforce.terminals
        ]  # fmt: skip
        if as_json:
            print_json(rows)
        else:
            print_table(rows, list(rows[0]))
        punch_until(stopped, fleet, workforce, now=utc_now)
    return 0


def _push(workforce: Workforce, receiver_url: str, *, as_json: bool) -> int:
    from zk_pipeline.demo.live_traffic import punch_until  # noqa: PLC0415
    from zk_pipeline.simulator.push.fleet import PushFleet  # noqa: PLC0415
    from zk_pipeline.simulator.push.workforce import pushing_terminals  # noqa: PLC0415

    terminals = pushing_terminals(workforce, receiver_url)
    rows = [
        {"name": one.name, "serial_number": one.serial_number, "firmware": one.profile.name,
         "timezone": one.definition.timezone, "site": one.definition.site, "punches": one.log.pending_count,
         "adopt": _adopt_command(one)}
        for one in terminals
    ]  # fmt: skip
    if as_json:
        print_json(rows)
    else:
        print_table(rows, [column for column in rows[0] if column != "adopt"])
        click.echo("\nAdopt them, then they upload:")
        for row in rows:
            click.echo(row["adopt"])
    with stop_event() as stopped, PushFleet(terminals, error_delay_seconds=_ERROR_DELAY_SECONDS) as fleet:
        punch_until(stopped, fleet, workforce, now=utc_now)
        connected, pending = fleet.connected_count, fleet.pending_count
    note(f"{connected} of {len(terminals)} terminals were connected to {receiver_url}, {pending} punches not uploaded")
    return 0


def _adopt_command(terminal: PushingTerminal) -> str:
    definition = terminal.definition
    options = ["--name", definition.name, "--timezone", definition.timezone, "--site", definition.site]
    return shlex.join(["zk-pipeline", "device", "adopt", terminal.serial_number, *options])
