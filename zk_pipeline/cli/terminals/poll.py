"""`zk-pipeline poll`: read terminals in Dagster runs."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.cli.output import (
    as_json,
    exit_code,
    note,
    print_json,
    print_table,
    progress_of,
    wide_option,
    without_device,
    working,
)
from zk_pipeline.errors import ZkPipelineError

if TYPE_CHECKING:
    from zk_pipeline.runs.launcher import RunResult

_COLUMNS = ["device", "status", "mode", "fetched", "new", "quarantined", "drift_seconds", "error", "warnings"]


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=DEVICE)
@click.option("--full", is_flag=True, help="Read the whole log, not only new records.")
@click.option(
    "--lock-while-reading", is_flag=True, help="Lock the keypad during a reading: the terminal accepts no punches."
)
@wide_option
@as_json
def poll(names: tuple[str, ...], *, full: bool, lock_while_reading: bool, as_json: bool) -> int:
    """Read terminals and store their punches. Default: all enabled devices that are polled.

    \b
    Example:  zk-pipeline poll "Main Office"
    """
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    context = open_context()
    with working("polling terminals"), context.launcher() as launcher, progress_of("zk_pipeline.operations.poll"):
        results = actions.poll(
            launcher,
            context.store,
            names=names or None,
            full=full,
            lock_while_reading=lock_while_reading,
            notify=note,
        )
    if not results:
        raise ZkPipelineError("no device to poll: add one with `zk-pipeline device add NAME IP`")
    by_run = {result.run_id: context.store.punches.polls_of(result.run_id) for result in results}
    polls = [one for polls in by_run.values() for one in polls]
    if as_json:
        print_json({"run_ids": [result.run_id for result in results], "devices": polls})
    else:
        rows = [asdict(one) | {"error": without_device(one.error, one.device)} for one in polls]
        print_table(rows, _COLUMNS, keep={"status", "new", "error"})
    return exit_code([_shortened(one, sum(poll.error is not None for poll in by_run[one.run_id])) for one in results])


def _shortened(result: RunResult, listed: int) -> RunResult:
    """The result without the errors of devices, if the output lists them all."""
    found = re.match(rf"{listed} of \d+ devices failed(?=: )", result.failure or "")
    return replace(result, failure=found[0]) if found else result
