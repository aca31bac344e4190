"""`zk-pipeline doctor`: findings about settings, disks and the store, with advice."""

from __future__ import annotations

import os
from dataclasses import asdict

import click

from zk_pipeline.cli.output import as_json, print_json, print_table
from zk_pipeline.store.store import utc_now


@click.command()
@as_json
def doctor(as_json: bool) -> int:
    """Check settings, disks and the store; print findings with advice. Exit code 1 if a finding is an error.

    The exit code is 2 if a setting is wrong; warnings and notes leave it 0. Checks every integrity rule between the
    tables, disks, files and Dagster's home, in short reads while runs continue, and changes nothing.

    \b
    Example:  zk-pipeline doctor
    """
    from zk_pipeline.operations.doctor import examine  # noqa: PLC0415 (DuckDB and pandas, slow to import)

    findings = list(examine(os.environ, utc_now()))
    if as_json:
        print_json({"ok": all(one.severity != "error" for one in findings), "findings": findings})
    elif findings:
        order = ["error", "warning", "note"]
        findings.sort(key=lambda one: order.index(one.severity))
        print_table([asdict(one) for one in findings], ["severity", "name", "what", "advice"])
    else:
        click.echo("no findings")
    if any(one.name in ("settings", "crm-settings") for one in findings):
        return 2
    return int(any(one.severity == "error" for one in findings))
