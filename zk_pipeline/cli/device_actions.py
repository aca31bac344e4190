"""What is done to one terminal by hand: its clock, its people, its log. Subcommands of `zk-pipeline device`."""

from __future__ import annotations

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, confirm, print_json, print_pairs, print_table, yes_option
from zk_pipeline.devices.protocol.decode import unreadable_names
from zk_pipeline.operations.clear_log import clear_log as clear_log_of
from zk_pipeline.operations.set_clock import set_clock as set_clock_of


@click.command("set-clock")
@click.argument("name")
@as_json
def set_clock(name: str, as_json: bool) -> None:
    """Set the clock of NAME to the true time in its zone.

    \b
    Example:  zk-pipeline device set-clock "Main Office"
    """
    session = open_context()
    change = set_clock_of(session.store, session.terminals, session.store.devices.get(name))
    if as_json:
        print_json(change)
    else:
        before = change.drift_before_seconds
        print_pairs(
            {
                "off by before (seconds)": "not a real date" if before is None else before,
                "off by now (seconds)": change.drift_after_seconds,
            }
        )


@click.command("users")
@click.argument("name")
@as_json
def users(name: str, as_json: bool) -> None:
    """List the people enrolled on NAME, read from the terminal now.

    \b
    Example:  zk-pipeline device users "Main Office" --json
    """
    session = open_context()
    device = session.store.devices.get(name)
    enrolled = session.terminals.users(device)
    for line in unreadable_names(enrolled, device):
        click.echo(line, err=True)
    rows = [{str(key): value for key, value in row.items()} for row in enrolled.to_dict("records")]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, list(enrolled.columns))


@click.command("clear-log")
@click.argument("name")
@yes_option
@as_json
def clear_log(name: str, *, yes: bool, as_json: bool) -> None:
    """Delete the log of NAME, after every record in it was read, stored and found in the store, in the same session.

    It asks first; in scripts say --yes. It refuses when anything is not stored, and the log stays as it is. Nothing
    else ever clears a log.

    \b
    Example:  zk-pipeline device clear-log "Main Office" --yes
    """
    session = open_context()
    device = session.store.devices.get(name)
    confirm(f"Delete the log of {device.name} ({device.ip_address}:{device.port}) from the terminal?", yes=yes)
    held = clear_log_of(session.store, session.terminals, device)
    counts = {"punches": len(held.punches), "quarantined": len(held.rejected)}
    if as_json:
        print_json({"device": name, "cleared": True} | counts)
    else:
        click.echo(
            f"cleared the log of {name}: {counts['punches']} punches, {counts['quarantined']} quarantined records"
        )
