"""`zk-pipeline doctor`: findings about settings, disks and the store, with advice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

from zk_pipeline.cli.output import as_json, print_findings, print_json, wide_option
from zk_pipeline.config.home import export_home, find_home
from zk_pipeline.config.settings import load_settings
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.quality.doctor import Finding
from zk_pipeline.store.store import utc_now


@click.command()
@wide_option
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
    if not any(one.name in ("settings", "dagster-home", "dagster-yaml", "read-only") for one in findings):
        findings += _instance_findings()
    if as_json:
        print_json({"ok": all(one.severity != "error" for one in findings), "findings": findings})
    elif findings:
        order = ["error", "warning", "note"]
        findings.sort(key=lambda one: order.index(one.severity))
        print_findings([asdict(one) for one in findings], ["severity", "name", "what", "advice"])
    else:
        click.echo("no findings")
    if any(one.name in ("settings", "crm-settings") for one in findings):
        return 2
    return int(any(one.severity == "error" for one in findings))


def _instance_findings() -> Iterator[Finding]:
    """Findings about Dagster's instance. None before its first use, which would create its files."""
    from zk_pipeline.defs.instance.requirements import unmet_requirements  # noqa: PLC0415 (Dagster, slow to import)
    from zk_pipeline.operations.doctor import is_instance_in_use  # noqa: PLC0415
    from zk_pipeline.runs.instance import open_instance  # noqa: PLC0415

    export_home(find_home(os.environ), os.environ)
    if not is_instance_in_use(Path(os.environ["DAGSTER_HOME"])):
        return
    try:
        with open_instance() as instance:
            yield from unmet_requirements(instance, load_settings(os.environ))
    except ZkPipelineError as error:
        yield Finding("error", "dagster-instance", str(error), "correct dagster.yaml, then restart `zk-pipeline up`")
