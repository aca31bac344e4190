"""Actions of CLI, API and web admin as Dagster runs: poll devices, process work dates, sync due deliveries."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.partitions import DateRange, contiguous, newest_range
from zk_pipeline.devices.errors import check_polled
from zk_pipeline.operations.crm_pause import pause_message
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.sync import additional_states, check_crm
from zk_pipeline.operations.work_dates import last_work_date, work_rules
from zk_pipeline.runs.launcher import Launcher, RunResult, open_launcher
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store, utc_now

Notify = Callable[[str], None]  # receives progress messages


def _ignore(_: str) -> None:
    pass


ACTION_TAG = "zk_pipeline/action"  # on all runs of an action: the id of its first run


def run_action(kind: str, arguments: Mapping[str, Any], *, first_run_id: str) -> list[RunResult]:
    """Run `poll`, `process` or `sync` with freshly loaded settings; the first run gets the id `first_run_id`.

    Returns no result if there is nothing to do. Raises ZkPipelineError for errors before the first run starts.
    """
    settings = load_settings()
    ids = iter([first_run_id])
    with open_launcher(settings) as launcher:
        action_launcher = replace(
            launcher,
            started_by="api",
            tags={ACTION_TAG: first_run_id},
            new_run_id=lambda: next(ids, None) or str(uuid.uuid4()),
        )
        store = Store.at(settings.store)
        return _ACTIONS[kind](action_launcher, store, **arguments)


def poll(
    launcher: Launcher,
    store: Store,
    *,
    names: Sequence[str] | None,
    full: bool = False,
    lock_while_reading: bool = False,
    notify: Notify = _ignore,
) -> list[RunResult]:
    """Poll the named devices; with None, all enabled devices that are polled. Raises OnlyPushes for a named one that is
    not.
    """
    registered = store.devices.all()
    if names is None:
        chosen = [device for device in registered if device.is_polled]
    else:
        chosen = store.devices.select(names)
        check_polled(chosen)
    if not chosen:
        return []
    notify(f"polling {len(chosen)} devices ...")
    return launcher.poll(
        [device.name for device in chosen],
        [device.name for device in registered],
        full=full,
        lock_while_reading=lock_while_reading,
    )


def process(
    launcher: Launcher,
    store: Store,
    *,
    dates: tuple[date, date] | None,
    rejudge: bool = False,
    notify: Notify = _ignore,
) -> list[RunResult]:
    """Process a range of work dates in one run; with None, all stale work dates, one run per contiguous range.

    `rejudge`: apply the current hours of the settings to the range, whatever hours applied to it before.
    """
    today = last_work_date(launcher.settings, utc_now())
    if dates is None:
        ranges = contiguous(item.work_date for item in stale_dates(store, launcher.settings, last=today))
    else:
        ranges = [DateRange(*dates)]
        launcher.check_partitions(ranges[0], today)
        if rejudge:
            store.punches.rejudge(work_rules(launcher.settings), *dates)
    results = []
    for part in ranges:
        notify(f"processing {part} ...")
        results.append(launcher.process(part, only_stale_sites=dates is None))
    return results


def sync(
    launcher: Launcher,
    store: Store,
    *,
    scope: SyncScope,
    limit: int | None,
    retry: bool = False,
    force: bool = False,
    notify: Notify = _ignore,
) -> list[RunResult]:
    """Send the due deliveries in `scope`, at most `limit`, in one run; no run if nothing is due."""
    check_crm(launcher.settings)  # before any run, and also if nothing is due
    history = launcher.settings.history_start
    due_scope = replace(
        scope, first=max(scope.first or history, history), states=additional_states(retry=retry, force=force)
    )
    due = store.deliveries.due_dates(due_scope)
    if not due:
        return []
    paused = None if force else pause_message(store, launcher.settings)
    notify(paused if paused else f"delivering {sum(due.values())} due records of {len(due)} work dates ...")
    span = {name: day.isoformat() for name, day in (("first", scope.first), ("last", scope.last)) if day is not None}
    how = {"retry": retry, "failed": retry, "force": force, "user_id": scope.user_id, "limit": limit}
    return [launcher.sync(newest_range(due), {**how, **span, "all_due": True})]


_ACTIONS: Mapping[str, Callable[..., list[RunResult]]] = {"poll": poll, "process": process, "sync": sync}
