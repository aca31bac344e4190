"""`up` and `simulate`: what runs until it is told to end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, print_json, print_table
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.runtime.processes import stop_event
from zk_pipeline.runtime.supervisor import Supervisor, single_instance
from zk_pipeline.store.store import utc_now

if TYPE_CHECKING:
    from zk_pipeline.simulator.terminal.fleet import Fleet

PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the Dagster UI, on loopback.")
def up(port: int) -> int:
    """Production start on one machine: webserver and daemon, schedules and sensors running. It ends when interrupted.

    The UI has no login of its own, so it listens on loopback only: put a reverse proxy with one in front of it.

    \b
    Example:  zk-pipeline up --port 3000
    """
    session = open_context()
    with session.store.database.read("check the store"):
        pass  # a store that cannot be used is said now, not by the first tick
    if session.settings.crm_api_url is not None:
        check_crm(session.settings)  # and so is a setting that would fail every sync
    home = session.settings.home
    with stop_event() as stopped, single_instance(home), Supervisor(home, dict(os.environ), port) as supervisor:
        click.echo(f"Dagster UI at {supervisor.url} (home {home}); Ctrl-C ends it", err=True)
        while not stopped.wait(1.0):
            supervisor.check()
    return 0


@click.command()
@click.option("--devices", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--employees", type=click.IntRange(min=1), default=120, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--port", type=PORT, help="Port of the first terminal; the others follow.  [default: free ones]")
@as_json
def simulate(devices: int, employees: int, days: int, port: int | None, as_json: bool) -> int:
    """Run emulated terminals only. They listen on loopback until interrupted; people go on punching every few seconds.

    \b
    Example:  zk-pipeline simulate --devices 3 --employees 50 --days 30 --port 4370
    """
    from zk_pipeline.simulator.company.workforce import generate  # noqa: PLC0415
    from zk_pipeline.simulator.terminal.fleet import Fleet  # noqa: PLC0415 (only this command needs it)

    if port is not None and port + devices - 1 > 65535:
        raise UsageError(f"--port {port} leaves no room for {devices} terminals")
    workforce = generate(devices=devices, employees=employees, days=days, until=utc_now())
    ports = None if port is None else list(range(port, port + devices))
    with stop_event() as stopped, Fleet.serve(workforce.emulated_terminals(), ports=ports) as fleet:
        rows = [
            {"name": one.name, "ip": fleet.host, "port": fleet.port_of(one.name), "timezone": one.timezone,
             "site": one.site, "layout": one.layout, "comm_key": one.comm_key, "punches": _held(fleet, one.name)}
            for one in workforce.terminals
        ]  # fmt: skip
        if as_json:
            print_json(rows)
        else:
            print_table(rows, list(rows[0]))
        from zk_pipeline.demo.live_traffic import punch_until  # noqa: PLC0415

        punch_until(stopped, fleet, workforce, now=utc_now)
    return 0


def _held(fleet: Fleet, name: str) -> int:
    return fleet.terminal(name).record_count
