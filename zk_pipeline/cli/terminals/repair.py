"""`zk-pipeline repair`: correct punches that earlier versions stored wrongly."""

from __future__ import annotations

from dataclasses import asdict

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_table, wide_option, working


@click.command()
@click.option("--dry-run", is_flag=True, help="Show the punches that would be repaired, change nothing.")
@wide_option
@as_json
def repair(dry_run: bool, as_json: bool) -> None:
    """Correct punches that earlier versions stored wrongly.

    Their instants are those of another zone (`instants`), or their user is the one who had the terminal's slot later
    (`users`). Punches of the wrong user are voided, never deleted. The next processing computes the days again, and
    the next sync delivers them.
    `zk-pipeline doctor` reports whether a repair is needed; make a backup first.

    \b
    Example:  zk-pipeline repair --dry-run
    """
    with working("comparing stored punches"):
        repaired = open_context().store.repairs.run(dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "repaired": [asdict(one) for one in repaired]})
    elif repaired:
        print_table([asdict(one) for one in repaired], ["device", "what", "punches"])
        if not dry_run:
            note("`zk-pipeline process` computes the days of these punches again")
    else:
        click.echo("nothing to repair")
