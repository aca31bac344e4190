"""`zk-pipeline test-crm`: connection to the CRM and its credentials."""

from __future__ import annotations

from dataclasses import asdict

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, print_json, print_pairs, print_table, wide_option
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.sync import probe_crm


@click.command("test-crm")
@click.option("--stats", is_flag=True, help="Print counts of synced, unsynced and failed days instead of connecting.")
@wide_option
@as_json
def test_crm(stats: bool, as_json: bool) -> int:
    """Check the CRM's connection and credentials without creating a record.

    \b
    Example:  zk-pipeline test-crm --stats --json
    """
    context = open_context()
    if stats:
        counted = context.store.deliveries.stats()
        if as_json:
            print_json(counted)
        else:
            print_pairs(asdict(counted))
        return 0
    result = probe_crm(context.settings)
    if as_json:
        print_json(asdict(result) | {"ok": result.is_ok})
    else:
        print_table([asdict(step) for step in result.steps], list(asdict(result.steps[0])) if result.steps else [])
    if result.problem:
        raise ZkPipelineError(f"CRM at {result.url}: {result.problem}")
    return 0
