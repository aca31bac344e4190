"""`zk-pipeline period …`: payroll periods."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

import click

from zk_pipeline.cli.attendance.operators import operator_name
from zk_pipeline.cli.context import WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_rows, warn, wide_option
from zk_pipeline.counted import counted
from zk_pipeline.store.payroll.periods import PayrollPeriod

_PERIOD = click.argument("period", metavar="PERIOD")


@click.group()
def period() -> None:
    """Payroll periods: open, close, open again, list adjustments."""


@period.command("open")
@_PERIOD
@click.option("--first-date", type=WORK_DATE, help="First work date (default: of the month PERIOD).")
@click.option("--last-date", type=WORK_DATE, help="Last work date, included (default: of the month PERIOD).")
@as_json
def open_(*, period: str, first_date: date | None, last_date: date | None, as_json: bool) -> None:
    """Open PERIOD: a month such as 2026-11, or a name with both dates, such as from the 26th to the 25th.

    An open period can be opened again with other dates, also after `period reopen`. Periods do not overlap.

    \b
    Example:  zk-pipeline period open 2026-11
    """
    made = open_context().store.payroll.open(period, operator_name(), first=first_date, last=last_date)
    _print_period(made, as_json=as_json)


@period.command("close")
@_PERIOD
@click.option("--force", is_flag=True, help="Close it although its figures are not final; the problems are stored.")
@as_json
def close(*, period: str, force: bool, as_json: bool) -> None:
    """Close PERIOD: fix what it pays for its days, together with the adjustments of closed periods before it.

    Refused unless its figures are final: its dates over, all terminals read, all work dates processed, punch requests
    decided and outliers reviewed, and earlier periods closed. A period that ends in the future is never closed.

    \b
    Example:  zk-pipeline period close 2026-10
    """
    done = open_context().store.payroll.close(period, operator_name(), force=force)
    if done.period.overridden:
        warn(f"warning: {period} is closed in spite of: {done.period.overridden}")
    if as_json:
        print_json(
            {**asdict(done.period), "days": done.days, "absences": done.absences, "adjustments": done.adjustments}
        )
    else:
        _print_period(done.period, as_json=False)
        click.echo(f"paid: {done.summary}")


@period.command("reopen")
@_PERIOD
@as_json
def reopen(*, period: str, as_json: bool) -> None:
    """Open the closed PERIOD again: it counts as not paid until it is closed and exported again.

    \b
    Example:  zk-pipeline period reopen 2026-11
    """
    _print_period(open_context().store.payroll.reopen(period, operator_name()), as_json=as_json)
    note(f"files that were exported from {period} are no longer valid")


@period.command("diff")
@_PERIOD
@click.option("--paid", is_flag=True, help="The adjustments that PERIOD has paid.")
@wide_option
@as_json
def diff(*, period: str, paid: bool, as_json: bool) -> None:
    """Print adjustments: differences between current days and what was paid for them, by pay class.

    Of a closed PERIOD: those of its own days that no period has paid yet. Of an open one: those of the closed periods
    before it, which it will pay. A warning names dates that are not processed yet.

    \b
    Example:  zk-pipeline period diff 2026-11
    """
    payroll = open_context().store.payroll
    found = payroll.paid_adjustments(period) if paid else payroll.unpaid_adjustments(period)
    waiting = [] if paid else payroll.unprocessed_dates(period)
    columns = ["period", "work_date", "site", "user_id", "pay_class", "minutes", "reason"]
    none = "no adjustments so far" if waiting else "no adjustments"
    print_rows([asdict(one) for one in found], columns, as_json=as_json, none=none)
    if waiting:
        dates = ", ".join(map(str, waiting))
        warn(f"warning: adjustments may be missing: {counted(len(waiting), 'work date')} not processed: {dates}")


@period.command("list")
@wide_option
@as_json
def list_(*, as_json: bool) -> None:
    """List payroll periods.

    \b
    Example:  zk-pipeline period list
    """
    columns = ["period", "first_date", "last_date", "state", "closed_at", "closed_by", "overridden"]
    rows = [asdict(one) for one in open_context().store.payroll.all()]
    print_rows(rows, columns, as_json=as_json, none="no payroll periods; open one with `zk-pipeline period open`")


def _print_period(one: PayrollPeriod, *, as_json: bool) -> None:
    if as_json:
        print_json(one)
    else:
        click.echo(f"{one.state} {one.period}: {one.first_date} to {one.last_date}")
