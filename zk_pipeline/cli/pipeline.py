"""`poll`, `process`, `sync`, `cleanup`: each done as a Dagster run, which the UI shows like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.context import WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_pairs, print_table, progress_of
from zk_pipeline.cli.sync_preview import print_requests
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.date_range import check_date_range, option_name, parse_date_range
from zk_pipeline.operations.sync import additional_states, waiting_message
from zk_pipeline.store.deliveries.due_deliveries import SyncScope

if TYPE_CHECKING:
    from zk_pipeline.runs.launcher import RunResult

_POLLED = ["device", "status", "mode", "fetched", "new", "quarantined", "drift_seconds", "error", "warnings"]
_PROCESSED = ["work_date", "rows", "added", "changed", "unchanged", "retracted"]


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--full", is_flag=True, help="Read the whole log, not only what is new.")
@click.option("--lock-while-reading", is_flag=True, help="Nobody can punch while a log is read.")
@as_json
def poll(names: tuple[str, ...], *, full: bool, lock_while_reading: bool, as_json: bool) -> int:
    """Read terminals and store their punches. Without a NAME: all enabled ones.

    \b
    Example:  zk-pipeline poll "Main Office"
    """
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    session = open_context()
    with session.launcher() as launcher, progress_of("zk_pipeline.operations.poll"):
        results = actions.poll(
            launcher,
            session.store,
            names=names or None,
            full=full,
            lock_while_reading=lock_while_reading,
            notify=note,
        )
    if not results:
        raise ZkPipelineError("no enabled device: add one with `zk-pipeline device add NAME IP`")
    polls = [one for result in results for one in session.store.punches.polls_of(result.run_id)]
    if as_json:
        print_json({"run_ids": [result.run_id for result in results], "devices": polls})
    else:
        print_table([asdict(one) for one in polls], _POLLED)
    return _exit_code(results)


@click.command()
@click.option("--date", "day", type=WORK_DATE, help="One work date.")
@click.option("--start-date", type=WORK_DATE, help="First work date of a range.")
@click.option("--end-date", type=WORK_DATE, help="Last work date of a range.")
@as_json
def process(day: date | None, start_date: date | None, end_date: date | None, as_json: bool) -> int:
    """Make days from punches. Without dates: every work date with punches newer than its result.

    \b
    Example:  zk-pipeline process --start-date 2026-11-01 --end-date 2026-11-22
    """
    dates = parse_date_range(day, start_date, end_date, word=option_name)
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    session = open_context()
    with session.launcher() as launcher:
        results = actions.process(launcher, session.store, dates=dates, notify=note)
    rows = [
        {"work_date": key, "rows": values["dagster/partition_row_count"]}
        | {name: values[name] for name in _PROCESSED[2:]}
        for result in results
        for key, values in sorted(result.partitions.items())
    ]
    if as_json:
        print_json({"run_ids": [result.run_id for result in results], "work_dates": rows})
    elif rows:
        print_table(rows, _PROCESSED)
    elif not results:
        note("nothing to do: no work date has punches newer than its result")
    return _exit_code(results)


@click.command()
@click.option("--limit", type=click.IntRange(min=1), help="Deliver at most this many records.")
@click.option("--start-date", type=WORK_DATE, help="First work date.")
@click.option("--end-date", type=WORK_DATE, help="Last work date.")
@click.option("--user-id", help="Only this person.")
@click.option("--retry-failed", is_flag=True, help="Also what ended in retry, and dead letters.")
@click.option(
    "--force",
    is_flag=True,
    help="Also what the CRM has already, under the same keys; at once, also where it asked for a pause (Retry-After).",
)
@click.option("--dry-run", is_flag=True, help="Print the requests, send nothing.")
@as_json
def sync(
    *,
    limit: int | None,
    start_date: date | None,
    end_date: date | None,
    user_id: str | None,
    retry_failed: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Deliver to the CRM what is due. Each day's latest revision goes out once.

    \b
    Example:  zk-pipeline sync --start-date 2026-11-01 --end-date 2026-11-22 --retry-failed
    """
    check_date_range(start_date, end_date, word=option_name)
    session = open_context()
    scope = SyncScope(first=start_date, last=end_date, user_id=user_id)
    if dry_run:
        asked = replace(scope, states=additional_states(retry=retry_failed, force=force))
        return print_requests(session.settings, session.store.deliveries.peek(asked, limit))
    from zk_pipeline.runs import actions  # noqa: PLC0415 (Dagster, slow to import)

    with session.launcher() as launcher, progress_of("zk_pipeline.operations.sync"):
        results = actions.sync(
            launcher, session.store, scope=scope, limit=limit, retry=retry_failed, force=force, notify=note
        )
    names = ("delivered", "retry", "failed", "unsent")
    counts = {name: sum(result.observed.get(name, 0) for result in results) for name in names}
    is_interrupted = any(result.is_interrupted for result in results)
    if is_interrupted:
        left = sum(session.store.deliveries.due_dates(scope).values())
        counts["unsent"] = max(counts["unsent"], left)
    if as_json:
        print_json({"run_ids": [result.run_id for result in results]} | counts)
    elif results:
        print_pairs(counts)
    else:
        note("nothing is due at the CRM")
    code = _exit_code(results)
    if is_interrupted:
        _say(waiting_message(session.store, session.settings, left))
    if given_up := session.store.deliveries.states().get("retry", 0):
        _say(f"{given_up} failed while others arrived: their next round is retry_failed_syncs (every 6 hours)")
    return code


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, delete nothing.")
@as_json
def cleanup(dry_run: bool, as_json: bool) -> int:
    """Do what the daily clean-up job does. That is retention of raw punches (RAW_RETENTION_DAYS), of
    quarantined records (QUARANTINE_RETENTION_DAYS) and of records of runs, checks and polls (RUN_RETENTION_DAYS), and
    space reclaim.

    \b
    Example:  zk-pipeline cleanup --dry-run
    """
    session = open_context()
    with session.launcher() as launcher:
        result = launcher.clean_up(dry_run=dry_run)
    if as_json:
        print_json({"run_id": result.run_id} | result.observed)
    else:
        print_pairs(result.observed)
    return _exit_code([result])


def _say(words: str) -> None:
    click.echo(f"zk-pipeline: {words}", err=True)


def _exit_code(results: Sequence[RunResult]) -> int:
    for result in results:
        if result.failure:
            why = "interrupted" if result.is_interrupted else result.failure
            _say(f"run {result.run_id}: {why}")
    if any(result.is_interrupted for result in results):
        return 130
    return int(any(result.failure for result in results))
