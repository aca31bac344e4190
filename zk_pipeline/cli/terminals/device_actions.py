"""`zk-pipeline device set-clock`, `users` and `clear-log`: actions on one terminal."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.cli.output import as_json, confirm, print_json, print_pairs, print_rows, wide_option, yes_option
from zk_pipeline.counted import counted
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError

if TYPE_CHECKING:
    from zk_pipeline.operations.pushing_terminals import RequestedKind


def _check_connects(device: Device, kind: RequestedKind) -> None:
    """Raise UsageError for a terminal that only pushes, naming the command to queue."""
    if device.pushes and not device.polled:
        queue = f"zk-pipeline device command {shlex.quote(device.name)} {kind}"
        raise UsageError(f"{device.name} only pushes, and nothing connects to it: `{queue}` queues the command")


@click.command("set-clock")
@click.argument("name", type=DEVICE)
@as_json
def set_clock(name: str, as_json: bool) -> None:
    """Set the clock of NAME to the current time in its zone.

    \b
    Example:  zk-pipeline device set-clock "Main Office"
    """
    from zk_pipeline.operations.set_clock import set_clock as set_clock_of  # noqa: PLC0415 (pandas, slow to import)

    context = open_context()
    device = context.store.devices.get(name)
    _check_connects(device, "set-clock")
    change = set_clock_of(context.store, context.terminals, device)
    if as_json:
        print_json(change)
    else:
        before = change.drift_before_seconds
        print_pairs(
            {
                "drift before (seconds)": "not a real date" if before is None else before,
                "drift now (seconds)": change.drift_after_seconds,
            }
        )


@click.command("users")
@click.argument("name", type=DEVICE)
@wide_option
@as_json
def users(name: str, as_json: bool) -> None:
    """List the users enrolled on NAME, read from the terminal now.

    \b
    Example:  zk-pipeline device users "Main Office" --json
    """
    from zk_pipeline.devices.protocol.decode import unreadable_names  # noqa: PLC0415 (with the protocol)

    context = open_context()
    device = context.store.devices.get(name)
    _check_connects(device, "users")
    enrolled = context.terminals.users(device)
    for line in unreadable_names(enrolled, device):
        click.echo(line, err=True)
    rows = [{str(key): value for key, value in row.items()} for row in enrolled.to_dict("records")]
    print_rows(rows, list(enrolled.columns), as_json=as_json, none=f"no users are enrolled on {name}")


@click.command("clear-log")
@click.argument("name", type=DEVICE)
@yes_option
@as_json
def clear_log(name: str, *, yes: bool, as_json: bool) -> None:
    """Delete the log of NAME after verifying, in the same session, that every record in it is stored.

    Asks for confirmation; scripts pass --yes. Refuses and changes nothing if a record is not stored. No other command
    and no job clears a log.

    \b
    Example:  zk-pipeline device clear-log "Main Office" --yes
    """
    from zk_pipeline.operations.clear_log import clear_log as clear_log_of  # noqa: PLC0415 (pandas, slow to import)

    context = open_context()
    device = context.store.devices.get(name)
    confirm(f"Delete the log of {device.name} ({device.ip_address}:{device.port}) from the terminal?", yes=yes)
    cleared = clear_log_of(context.store, context.terminals, device)
    counts = {"punches": len(cleared.punches), "quarantined": len(cleared.rejected)}
    if as_json:
        print_json({"device": name, "cleared": True} | counts)
    else:
        click.echo(
            f"cleared the log of {name}: {counted(counts['punches'], 'punch', 'punches')}, "
            f"{counted(counts['quarantined'], 'quarantined record')}"
        )
