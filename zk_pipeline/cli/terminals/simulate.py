"""`zk-pipeline simulate`: emulated terminals on loopback."""

from __future__ import annotations

import click

from zk_pipeline.cli.context import PORT
from zk_pipeline.cli.output import as_json, print_json, print_table
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import stop_event
from zk_pipeline.store.store import utc_now


@click.command()
@click.option("--devices", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--employees", type=click.IntRange(min=1), default=120, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=60, show_default=True)
@click.option("--port", type=PORT, help="Port of the first terminal; the others follow.  [default: free ports]")
@as_json
def simulate(devices: int, employees: int, days: int, port: int | None, as_json: bool) -> int:
    """Run emulated terminals only. They listen on loopback until interrupted and record a punch every few seconds.

    \b
    Example:  zk-pipeline simulate --devices 3 --employees 50 --days 30 --port 4370
    """
    from zk_pipeline.simulator.company.workforce import generate  # noqa: PLC0415
    from zk_pipeline.simulator.terminal.fleet import Fleet  # noqa: PLC0415 (slow to import)

    if port is not None and port + devices - 1 > 65535:
        raise UsageError(f"--port {port} leaves no room for {devices} terminals")
    workforce = generate(devices=devices, employees=employees, days=days, until=utc_now())
    ports = None if port is None else list(range(port, port + devices))
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
        from zk_pipeline.demo.live_traffic import punch_until  # noqa: PLC0415

        punch_until(stopped, fleet, workforce, now=utc_now)
    return 0
