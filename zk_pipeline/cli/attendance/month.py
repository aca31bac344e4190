"""`zk-pipeline month`: the month sheet of one employee."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import click

from zk_pipeline.cli.context import SITE, open_context
from zk_pipeline.cli.output import as_json, print_json, print_pairs, print_table, wide_option
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.atomic_file import atomic_output
from zk_pipeline.operations.files.month_sheet import MonthSheet, cells, month_sheet, shown
from zk_pipeline.store.store import utc_now

_MINUTE = timedelta(minutes=1)


class Month(click.ParamType):  # type: ignore[type-arg]
    """A month as YYYY-MM, converted to its first date."""

    name = "month"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        try:
            return datetime.strptime(str(value), "%Y-%m").date()  # noqa: DTZ007 (a month has no zone)
        except ValueError:
            self.fail(f"{value!r} is not a month such as 2026-11", param, ctx)


@click.command()
@click.option("--user-id", required=True, help="User id as enrolled on the terminals.")
@click.option("--month", "asked", type=Month(), help="Month as YYYY-MM (default: current month).")
@click.option("--site", type=SITE, help="Only this site (default: all with days of the user).")
@click.option(
    "--format", "kind", type=click.Choice(["text", "html", "xlsx"]), default="text", help="File format (default: text)."
)
@click.option(
    "-o", "--output", "target", default="-", metavar="FILE", help="File to write or replace (default: stdout)."
)
@wide_option
@as_json
def month(*, user_id: str, asked: date | None, site: str | None, kind: str, target: str, as_json: bool) -> None:
    """Print the month sheet of one employee.

    Each date with shift, clock-in, clock-out, time worked, late arrival, early leave, status and outliers, then totals.
    Times are wall clock at the site. A user with days at several sites has a row for each of them. A date without an
    attendance day has its reason: holiday, day off, absence or no punches.

    \b
    Example:  zk-pipeline month --user-id 1001 --month 2026-11 --format html -o november.html
    """
    if as_json and kind != "text":
        raise UsageError("give either --json or --format")
    if kind == "xlsx" and target == "-":
        raise UsageError("an Excel file cannot be printed: give -o FILE")
    context = open_context()
    today = utc_now().astimezone(ZoneInfo(context.settings.timezone)).date()
    sheet = month_sheet(context.store.person_months, user_id, asked or today.replace(day=1), site=site, today=today)
    if kind == "text" and target == "-":
        _print(sheet, as_json=as_json)
        return
    from zk_pipeline.operations.files.month_files import as_html, write_excel  # noqa: PLC0415 (openpyxl, slow to import)

    with atomic_output(target, keep=context.settings.database_path) as stream:
        if kind == "xlsx":
            write_excel(sheet, stream)
        elif kind == "html":
            stream.write(as_html(sheet).encode())
        else:
            with redirect_stdout(io.StringIO()) as text:
                _print(sheet, as_json=as_json)
            stream.write(text.getvalue().encode())


def _print(sheet: MonthSheet, *, as_json: bool) -> None:
    if as_json:
        print_json(_plain(sheet))
        return
    click.echo(f"{sheet.title}\n")
    print_table([cells(one) for one in sheet.days], sheet.columns)
    click.echo()
    print_pairs({label: shown(value) for label, value in sheet.totals.items()})


def _plain(sheet: MonthSheet) -> object:
    return {
        "user_id": sheet.user_id,
        "name": sheet.name,
        "site": sheet.sites[0] if len(sheet.sites) == 1 else None,
        "sites": sheet.sites,
        "month": f"{sheet.month:%Y-%m}",
        "days": sheet.days,
        "dates_with_punches": sheet.dates_with_punches,
        "incomplete": sheet.incomplete,
        "outliers": sheet.outliers,
        **{str(status): count for status, count in sheet.statuses.items()},
        "break_minutes": sheet.durations["break"] // _MINUTE,
        "worked_minutes": sheet.durations["worked"] // _MINUTE,
        "overtime_minutes": sheet.durations["overtime"] // _MINUTE,
        "late_minutes": sheet.durations["late"] // _MINUTE,
        "early_leave_minutes": sheet.durations["left early"] // _MINUTE,
    }
