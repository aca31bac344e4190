"""`poll`, `process`, `sync`, `cleanup`: each done as a Dagster run, which the UI shows like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from zk_pipeline.cli.dry_run import print_requests
from zk_pipeline.cli.output import as_json, note, print_json, print_pairs, print_table, progress_of
from zk_pipeline.cli.session import WORK_DATE, check_span, open_session
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.sync import check_crm
from zk_pipeline.store.outbox import Scope
from zk_pipeline.store.store import utc_now

if TYPE_CHECKING:
    from zk_pipeline.defs.launch import Launcher, RunResult
    from zk_pipeline.defs.partitions import DateRange

_POLLED = ["device", "status", "mode", "fetched", "new", "quarantined", "drift_seconds", "error"]
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
    session = open_session()
    registered = session.store.devices.all()
    chosen = session.store.devices.select(names) if names else [one for one in registered if one.enabled]
    if not chosen:
        raise ZkPipelineError("no enabled device: add one with `zk-pipeline device add NAME IP`")
    note(f"polling {len(chosen)} devices ...")
    with session.launcher() as launcher, progress_of("zk_pipeline.operations.poll"):
        results = launcher.poll(
            [one.name for one in chosen],
            [one.name for one in registered],
            full=full,
            lock_while_reading=lock_while_reading,
        )
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
    from zk_pipeline.defs.partitions import contiguous, last_work_date  # noqa: PLC0415 (Dagster, slow to import)

    asked = _asked(day, start_date, end_date)
    session = open_session()
    today = last_work_date(session.settings, utc_now())
    with session.launcher() as launcher:
        if asked is None:
            stale = stale_dates(session.store, session.settings, last=today)
            ranges = contiguous(item.work_date for item in stale)
        else:
            launcher.check_partitions(asked, today)
            ranges = [asked]
        results = _each(launcher.process, ranges, "processing")
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
@click.option("--force", is_flag=True, help="Also what the CRM has already, under the same keys.")
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
    check_span(start_date, end_date)
    session = open_session()
    states = (("retry", "failed") if retry_failed else ()) + (("delivered",) if force else ())
    scope = Scope(first=start_date, last=end_date, user_id=user_id, states=states)
    if dry_run:
        return print_requests(session.settings, session.store.deliveries.peek(scope, limit))
    check_crm(session.settings)  # said before anything is started, also when nothing is due
    config: dict[str, object] = {"retry": retry_failed, "failed": retry_failed, "force": force, "user_id": user_id}
    with session.launcher() as launcher, progress_of("zk_pipeline.operations.sync"):
        results = _sync_ranges(launcher, session.store.deliveries.due_dates(scope), config, limit)
    names = ("delivered", "retry", "failed", "unsent")
    counts = {name: sum(result.observed.get(name, 0) for result in results) for name in names}
    if as_json:
        print_json({"run_ids": [result.run_id for result in results]} | counts)
    elif results:
        print_pairs(counts)
    else:
        note("nothing is due at the CRM")
    return _exit_code(results)


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, delete nothing.")
@as_json
def cleanup(dry_run: bool, as_json: bool) -> int:
    """Do what the daily clean-up job does. That is retention of raw punches (RAW_RETENTION_DAYS), of
    quarantined records (QUARANTINE_RETENTION_DAYS) and of records of runs and polls (RUN_RETENTION_DAYS), and space
    reclaim.

    \b
    Example:  zk-pipeline cleanup --dry-run
    """
    session = open_session()
    with session.launcher() as launcher:
        result = launcher.clean_up(dry_run=dry_run)
    if as_json:
        print_json({"run_id": result.run_id} | result.observed)
    else:
        print_pairs(result.observed)
    return _exit_code([result])


def _asked(day: date | None, start: date | None, end: date | None) -> DateRange | None:
    from zk_pipeline.defs.partitions import DateRange  # noqa: PLC0415 (Dagster, slow to import)

    if day is not None and (start is not None or end is not None):
        raise UsageError("give either --date or --start-date and --end-date")
    if (start is None) != (end is None):
        raise UsageError("--start-date and --end-date belong together")
    if start is not None and end is not None:
        check_span(start, end)
        return DateRange(start, end)
    return DateRange(day, day) if day is not None else None


def _each(work: Any, ranges: Sequence[DateRange], what: str) -> list[RunResult]:
    results = []
    for part in ranges:
        note(f"{what} {part} ...")
        results.append(work(part))
    return results


def _sync_ranges(
    launcher: Launcher, due: dict[date, int], config: dict[str, object], limit: int | None
) -> list[RunResult]:
    """One run per contiguous range of due dates, until `limit` records were attempted or a run says that it cannot go
    on.
    """
    from zk_pipeline.defs.partitions import contiguous  # noqa: PLC0415 (Dagster, slow to import)

    results: list[RunResult] = []
    left = limit
    for part in contiguous(due):
        note(f"delivering {part} ...")
        result = launcher.sync(part, config | {"limit": left})
        results.append(result)
        attempted = sum(result.observed.get(name, 0) for name in ("delivered", "retry", "failed"))
        left = None if left is None else left - attempted
        if (left is not None and left <= 0) or not result.observed or result.observed.get("unsent"):
            break
    return results


def _exit_code(results: Sequence[RunResult]) -> int:
    for result in results:
        if result.failure:
            click.echo(f"zk-pipeline: run {result.run_id}: {result.failure}", err=True)
    return int(any(result.failure for result in results))
