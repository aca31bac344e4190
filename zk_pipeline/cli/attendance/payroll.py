"""`zk-pipeline payroll …`: payroll export."""

from __future__ import annotations

import sys

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, print_json, warn
from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError


@click.group()
def payroll() -> None:
    """Hours by pay class, for payroll systems."""


@payroll.command("export")
@click.option("--period", required=True, help="The payroll period, such as 2026-11.")
@click.option("--profile", required=True, help="csv, xlsx, or a profile of payroll_profiles.yaml.")
@click.option("-o", "--output", "target", required=True, metavar="FILE", help="File to write or replace; - is stdout.")
@as_json
def export(*, period: str, profile: str, target: str, as_json: bool) -> None:
    """Export what a payroll period pays: one row per employee, and one for adjustments of each earlier period.

    Of a closed period this is what was fixed when it closed; of an open one, what it would pay now. Nothing is written
    if the sums by pay class are not those of the days and adjustments.

    \b
    Example:  zk-pipeline payroll export --period 2026-11 --profile csv -o november.csv
    """
    if target == "-" and as_json:
        raise UsageError("--json and -o - both write to standard output: choose one")
    from zk_pipeline.operations.files.atomic_file import atomic_output  # noqa: PLC0415
    from zk_pipeline.operations.payroll.pay_files import write_payroll  # noqa: PLC0415 (openpyxl: slow)
    from zk_pipeline.operations.payroll.profiles import find_profile  # noqa: PLC0415

    context = open_context()
    path = context.settings.payroll_profiles_path
    chosen = find_profile(profile, path)
    if target == "-" and chosen.format == "xlsx" and sys.stdout.isatty():
        raise UsageError("cannot print an Excel file on a terminal: give a file with -o")
    rows = context.store.payroll.rows(period)
    with atomic_output(target, keep=context.settings.database_path) as stream:
        written = write_payroll(rows, chosen, stream, templates=(path or context.settings.home).parent)
    if rows.period.notice:
        warn(f"warning: {rows.period.notice}")
    if as_json:
        print_json(
            {"file": target, "period": rows.period.period, "state": rows.period.state, "profile": profile,
             "rows": written, "minutes": {name.removesuffix("_minutes"): total for name, total in rows.totals.items()}}
        )  # fmt: skip
    elif target != "-":
        click.echo(f"{counted(written, 'row')} in {target}")
