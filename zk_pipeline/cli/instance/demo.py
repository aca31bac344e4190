"""`zk-pipeline demo`: the whole pipeline without hardware, from emulated terminals to a local CRM."""

from __future__ import annotations

from pathlib import Path

import click

from zk_pipeline.cli.context import PORT
from zk_pipeline.cli.output import as_json
from zk_pipeline.demo.company import Company


@click.command()
@click.option("--employees", type=click.IntRange(min=1), default=Company.employees, show_default=True)
@click.option("--devices", type=click.IntRange(min=1), default=Company.devices, show_default=True)
@click.option("--days", type=click.IntRange(min=1), default=Company.days, show_default=True)
@click.option("--no-ui", is_flag=True, help="Exit after the summary.")
@click.option("--port", type=PORT, default=3000, show_default=True, help="Port of the Dagster UI.")
@click.option(
    "--dagster-yaml",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Dagster instance settings, such as deploy/celery/dagster.yaml: each site then has a worker.",
)
@as_json
def demo(
    *, employees: int, devices: int, days: int, no_ui: bool, port: int, dagster_yaml: Path | None, as_json: bool
) -> int:
    """First look without hardware: emulated terminals, a local CRM, the Dagster UI.

    The terminals speak the real protocol; poll → process → sync are Dagster runs; a summary recounts everything
    independently and fails on a difference; then the UI opens while the terminals record further punches.

    The demo has its own home, `.demo/`. With the same numbers it continues after the last run; with others it starts
    from an empty store.

    \b
    Example:  zk-pipeline demo --employees 20 --days 7 --no-ui
    """
    from zk_pipeline.cli.instance.demo_run import run_demo  # noqa: PLC0415 (pandas, slow to import)

    company = Company(employees, devices, days)
    run_demo(company, no_ui=no_ui, port=port, dagster_yaml=dagster_yaml, as_json=as_json)
    return 0
