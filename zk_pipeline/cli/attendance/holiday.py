"""`zk-pipeline holiday …`: add, import, list and remove holidays."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.cli.context import SITE, WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, print_import, print_rows, wide_option
from zk_pipeline.operations.files.holiday_file import import_holiday_file


@click.group()
def holiday() -> None:
    """Dates on which no attendance is expected."""


@holiday.command("add")
@click.argument("day", metavar="DATE", type=WORK_DATE)
@click.argument("name")
@click.option("--site", type=SITE, help="Only at this site.  [default: all sites]")
def add(day: date, name: str, site: str | None) -> None:
    """Add the holiday NAME on DATE.

    \b
    Example:  zk-pipeline holiday add 2026-05-01 "Labour Day"
    """
    open_context().store.holidays.put([Holiday(day=day, name=name, site=site)])
    click.echo(f"{day} is {name}" + ("" if site is None else f" at {site}"))


@holiday.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--site", type=SITE, help="Only at this site.  [default: all sites, or the column `site` of a table]")
@as_json
def import_(file: Path, site: str | None, as_json: bool) -> int:
    """Import the holidays of a calendar (.ics: whole-day events) or of a table (.csv, .xlsx: date,name[,site]). A
    repeated import applies only differences, including events that were moved or cancelled in the calendar.

    Unreadable events are reported with their line and skipped; the others are imported, and the exit code is 1.
    Appointments at a time of day are also reported and skipped, without an error.

    \b
    Example:  zk-pipeline holiday import holidays.ics
    """
    context = open_context()
    done = import_holiday_file(context.store, file, site, history_start=context.settings.history_start)
    return print_import(done, file, as_json=as_json)


@holiday.command("list")
@wide_option
@as_json
def list_(as_json: bool) -> None:
    """List all holidays.

    \b
    Example:  zk-pipeline holiday list
    """
    rows = [{"date": one.day, "name": one.name, "site": one.site} for one in open_context().store.holidays.all()]
    none = "no holidays; import some with `zk-pipeline holiday import FILE`"
    print_rows(rows, ["date", "name", "site"], as_json=as_json, none=none)


@holiday.command("remove")
@click.argument("day", metavar="DATE", type=WORK_DATE)
@click.option("--site", type=SITE, help="Remove the holiday of this site.  [default: that of all sites]")
def remove(day: date, site: str | None) -> None:
    """Remove the holiday on DATE.

    \b
    Example:  zk-pipeline holiday remove 2026-05-01
    """
    removed = open_context().store.holidays.remove(day, site)
    click.echo(f"{day} is no longer {removed.name}")
