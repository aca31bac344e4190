"""`zk-pipeline process`: compute attendance days from punches, in Dagster runs."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import click

from zk_pipeline.cli.context import WORK_DATE, CliContext, open_context
from zk_pipeline.cli.output import as_json, exit_code, note, print_json, print_table, warn, wide_option, working
from zk_pipeline.counted import counted
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.date_range import option_name, parse_date_range

_COLUMNS = ["work_date", "rows", "added", "changed", "unchanged", "retracted"]


@click.command()
@click.option("--date", "day", type=WORK_DATE, help="One work date.")
@click.option("--start-date", type=WORK_DATE, help="First work date of a range.")
@click.option("--end-date", type=WORK_DATE, help="Last work date of a range.")
@click.option("--rejudge", is_flag=True, help="Apply the current hours of the settings to these dates.")
@click.option("--dry-run", is_flag=True, help="With --rejudge: only show the days that would change.")
@wide_option
@as_json
def process(
    day: date | None, start_date: date | None, end_date: date | None, *, rejudge: bool, dry_run: bool, as_json: bool
) -> int:
    """Compute attendance days from punches. Default: every stale work date (punches newer than its days).

    Changed WORK_START_TIME, WORK_END_TIME and OUTLIER_…_HOURS apply from the date of the change on; --rejudge applies
    them to earlier dates, too.

    \b
    Example:  zk-pipeline process --start-date 2026-11-01 --end-date 2026-11-22
    """
    dates = parse_date_range(day, start_date, end_date, word=option_name)
    if rejudge and dates is None:
        raise UsageError("--rejudge needs the dates: give --date, or --start-date and --end-date")
    if dry_run and not rejudge:
        raise UsageError("--dry-run is for --rejudge only")
    context = open_context()
    if dates is not None and dry_run:
        return _preview(context, *dates, as_json=as_json)
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    with working("processing work dates"), context.launcher() as launcher:
        results = actions.process(launcher, context.store, dates=dates, rejudge=rejudge, notify=note)
    rows = [
        {"work_date": key, "rows": values["dagster/partition_row_count"], **values["changes"]}
        for result in results
        for key, values in sorted(result.partitions.items())
    ]
    if as_json:
        print_json({"run_ids": [result.run_id for result in results], "work_dates": rows})
    elif rows:
        print_table(rows, _COLUMNS)
    elif not results:
        note("nothing to do: no work date is stale")
    if dates is not None and not rejudge:
        _note_earlier_hours(context, *dates)
    return exit_code(results)


def _preview(context: CliContext, first: date, last: date, *, as_json: bool) -> int:
    from zk_pipeline.operations.rejudge import preview_rejudge  # noqa: PLC0415
    from zk_pipeline.operations.work_dates import work_rules  # noqa: PLC0415 (pandas, slow to import)

    with working("evaluating by the current hours"):
        days = preview_rejudge(context.store, work_rules(context.settings), first, last)
    rows = [
        {
            "work_date": one.work_date,
            "site": one.site,
            "user_id": one.user_id,
            "column": name,
            "now": before,
            "by current hours": after,
        }
        for one in days
        for name, (before, after) in one.changes.items()
    ]
    if as_json:
        print_json({"days": len(days), "changes": rows})
        return 0
    if rows:
        print_table(rows, list(rows[0]))
    click.echo(f"{counted(len(days), 'day')} of {first} to {last} would change; nothing was changed")
    return 0


def _note_earlier_hours(context: CliContext, first: date, last: date) -> None:
    """Name the earlier hours of the settings that still apply to some of the processed dates."""
    versions = context.store.days.configured_hours()
    for version, following in pairwise(versions):
        if version.valid_from <= last and following.valid_from > first and str(version) != str(versions[-1]):
            warn(
                f"dates before {following.valid_from} are evaluated by the earlier WORK_START_TIME and WORK_END_TIME "
                f"{version}: --rejudge applies the current ones, {versions[-1]}"
            )
