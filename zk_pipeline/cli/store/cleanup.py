"""`zk-pipeline cleanup`: retention and space reclaim, in a Dagster run."""

from __future__ import annotations

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, exit_code, print_json, print_pairs, working


@click.command()
@click.option("--dry-run", is_flag=True, help="Print counts of what would be deleted without deleting it.")
@as_json
def cleanup(dry_run: bool, as_json: bool) -> int:
    """Run the daily clean-up job now. It applies retention to raw punches (RAW_RETENTION_DAYS), quarantined records
    (QUARANTINE_RETENTION_DAYS) and records of runs, checks and polls (RUN_RETENTION_DAYS), and reclaims space.

    \b
    Example:  zk-pipeline cleanup --dry-run
    """
    context = open_context()
    with working("cleaning up"), context.launcher() as launcher:
        result = launcher.clean_up(dry_run=dry_run)
    if as_json:
        print_json({"run_id": result.run_id} | result.observed)
    else:
        print_pairs(result.observed)
    return exit_code([result])
