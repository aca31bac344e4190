"""What a person asks for from outside the daemon, as runs: which devices, which work dates, what is due."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.partitions import DateRange, contiguous, last_work_date, newest_range
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.sync import additional_states, check_crm, pause_message
from zk_pipeline.runs.launcher import Launcher, RunResult, open_launcher
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store, utc_now

Tell = Callable[[str], None]  # progress, for a person


def _silently(_: str) -> None:
    pass


ACTION_TAG = "zk_pipeline/action"  # id of an action's first run, on all of its runs


def run_action(kind: str, arguments: Mapping[str, Any], *, first_run_id: str) -> list[RunResult]:
    """Do one of `poll`, `process` and `sync` with fresh settings; its first run has the id that is given.

    Raises ZkPipelineError for what is wrong before any run was started; there is none where nothing is to be done.
    """
    settings = load_settings()
    ids = iter([first_run_id])
    with open_launcher(settings) as launcher:
        mine = replace(
            launcher,
            started_by="api",
            tags={ACTION_TAG: first_run_id},
            new_run_id=lambda: next(ids, None) or str(uuid.uuid4()),
        )
        store = Store.at(settings.store)
        return _KINDS[kind](mine, store, **arguments)


def poll(
    launcher: Launcher,
    store: Store,
    *,
    names: Sequence[str] | None,
    full: bool = False,
    lock_while_reading: bool = False,
    tell: Tell = _silently,
) -> list[RunResult]:
    """Read the named devices; all enabled ones where None."""
    registered = store.devices.all()
    chosen = store.devices.select(names) if names is not None else [one for one in registered if one.enabled]
    if not chosen:
        return []
    tell(f"polling {len(chosen)} devices ...")
    return launcher.poll(
        [one.name for one in chosen],
        [one.name for one in registered],
        full=full,
        lock_while_reading=lock_while_reading,
    )


def process(
    launcher: Launcher, store: Store, *, dates: tuple[date, date] | None, tell: Tell = _silently
) -> list[RunResult]:
    """Make the days of these work dates, in one run; of every stale one where None, a run for each range of them."""
    today = last_work_date(launcher.settings, utc_now())
    if dates is None:
        ranges = contiguous(item.work_date for item in stale_dates(store, launcher.settings, last=today))
    else:
        ranges = [DateRange(*dates)]
        launcher.check_partitions(ranges[0], today)
    results = []
    for part in ranges:
        tell(f"processing {part} ...")
        results.append(launcher.process(part))
    return results


def sync(
    launcher: Launcher,
    store: Store,
    *,
    scope: SyncScope,
    limit: int | None,
    retry: bool = False,
    force: bool = False,
    tell: Tell = _silently,
) -> list[RunResult]:
    """Deliver what of `scope` is due, at most `limit` records, in one run; none where nothing is due."""
    check_crm(launcher.settings)  # said before anything is started, also when nothing is due
    history = launcher.settings.history_start
    asked = replace(
        scope, first=max(scope.first or history, history), states=additional_states(retry=retry, force=force)
    )
    due = store.deliveries.due_dates(asked)
    if not due:
        return []
    paused = None if force else pause_message(store, launcher.settings)
    tell(paused if paused else f"delivering {sum(due.values())} due records of {len(due)} work dates ...")
    span = {name: day.isoformat() for name, day in (("first", scope.first), ("last", scope.last)) if day is not None}
    how = {"retry": retry, "failed": retry, "force": force, "user_id": scope.user_id, "limit": limit}
    return [launcher.sync(newest_range(due), {**how, **span, "all_due": True})]


_KINDS: Mapping[str, Callable[..., list[RunResult]]] = {"poll": poll, "process": process, "sync": sync}
