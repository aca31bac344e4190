"""`zk-pipeline export`: raw punches, attendance days or absences as a file."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import PurePath
from typing import TYPE_CHECKING, cast

import click

from zk_pipeline.cli.context import DEVICE, SITE, WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, print_json, progress_of, working
from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.date_range import check_date_range, option_name
from zk_pipeline.store.queries.exports import ExportScope, What

if TYPE_CHECKING:
    from zk_pipeline.operations.files.table_writers import Format

_FORMATS = ("csv", "parquet", "xlsx")


@click.command()
@click.argument("what", type=click.Choice(["raw", "attendance", "absences"]))
@click.option("--start-date", type=WORK_DATE, help="First date (default: the earliest).")
@click.option("--end-date", type=WORK_DATE, help="Last date (default: the latest).")
@click.option("--user-id", help="Only this user.")
@click.option("--site", type=SITE, help="Only this site.")
@click.option("--device", type=DEVICE, help="Only this device (for days: the device of the clock-in).")
@click.option("--format", "kind", type=click.Choice(_FORMATS), help="File format (default: the suffix of FILE).")
@click.option("-o", "--output", "target", required=True, metavar="FILE", help="File to write or replace; - is stdout.")
@as_json
def export(
    *,
    what: str,
    start_date: date | None,
    end_date: date | None,
    user_id: str | None,
    site: str | None,
    device: str | None,
    kind: str | None,
    target: str,
    as_json: bool,
) -> None:
    """Export raw punches, attendance days or absences as a CSV, Parquet or Excel file.

    Dates are work dates for `attendance` and `absences` (expected by an assigned shift, without punches), and
    wall-clock dates of the terminals for `raw`. Instants are UTC; columns that end in _local are wall clock. In CSV a
    text that begins like a formula (= + - @) is prefixed with an apostrophe; Parquet has every text unchanged.

    \b
    Example:  zk-pipeline export attendance --start-date 2026-11-01 --end-date 2026-11-30 -o november.xlsx
    """
    check_date_range(start_date, end_date, word=option_name)
    chosen = _format(kind, target)
    if target == "-" and as_json:
        raise UsageError("--json and -o - both write to standard output: choose one")
    if target == "-" and chosen != "csv" and sys.stdout.isatty():
        raise UsageError(f"cannot print {chosen} on a terminal: give a file with -o")
    from zk_pipeline.operations.files.atomic_file import atomic_output  # noqa: PLC0415
    from zk_pipeline.operations.files.export import export as write_export  # noqa: PLC0415 (openpyxl and pyarrow: slow)

    context = open_context()
    scope = ExportScope(start_date, end_date, user_id, site, device)
    with (
        working(f"exporting to {target}"),
        progress_of("zk_pipeline.operations.files.export"),
        atomic_output(target, keep=context.settings.database_path) as stream,
    ):
        rows = write_export(context.store.exports, cast(What, what), scope, kind=chosen, stream=stream)
    if as_json:
        print_json({"file": target, "format": chosen, "rows": rows})
    elif target != "-":
        click.echo(f"{counted(rows, 'row')} in {target}")


def _format(kind: str | None, target: str) -> Format:
    chosen = kind or PurePath(target).suffix.lstrip(".").lower()
    if chosen not in _FORMATS:
        raise UsageError(f"{target} has no known suffix: give --format {'|'.join(_FORMATS)}")
    return cast("Format", chosen)
