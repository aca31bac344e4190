"""`zk-pipeline process`: compute attendance days from punches, in Dagster runs."""

from __future__ import annotations

from datetime import date

import click

from zk_pipeline.cli.context import WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, exit_code, note, print_json, print_table
from zk_pipeline.operations.date_range import option_name, parse_date_range

_COLUMNS = ["work_date", "rows", "added", "changed", "unchanged", "retracted"]


@click.command()
@click.option("--date", "day", type=WORK_DATE, help="One work date.")
@click.option("--start-date", type=WORK_DATE, help="First work date of a range.")
@click.option("--end-date", type=WORK_DATE, help="Last work date of a range.")
@as_json
def process(day: date | None, start_date: date | None, end_date: date | None, as_json: bool) -> int:
    """Compute attendance days from punches. Default: every stale work date (punches newer than its days).

    \b
    Example:  zk-pipeline process --start-date 2026-11-01 --end-date 2026-11-22
    """
    dates = parse_date_range(day, start_date, end_date, word=option_name)
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    context = open_context()
    with context.launcher() as launcher:
        results = actions.process(launcher, context.store, dates=dates, notify=note)
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
    return exit_code(results)
