"""`zk-pipeline repair`: correct punches that earlier versions stored wrongly."""

from __future__ import annotations

from dataclasses import asdict

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_table


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be repaired.")
@as_json
def repair(dry_run: bool, as_json: bool) -> None:
    """Correct punches that earlier versions stored wrongly.

    They stand at the instants of another zone (`instants`), or for the person who had a slot of the terminal later
    (`persons`). Punches of the wrong person are voided, never deleted. The next processing makes the days again, and
    the next sync tells the CRM.
    `zk-pipeline doctor` tells whether there is anything to repair; make a backup first.

    \b
    Example:  zk-pipeline repair --dry-run
    """
    found = open_context().store.repairs.run(dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "repaired": [asdict(one) for one in found]})
    elif found:
        print_table([asdict(one) for one in found], ["device", "what", "punches"])
        if not dry_run:
            note("`zk-pipeline process` makes the days of these punches again")
    else:
        click.echo("nothing to repair")
