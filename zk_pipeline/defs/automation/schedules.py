"""Schedules of the jobs. A tick with nothing to do is skipped with a reason."""

# No postponed annotations: Dagster inspects them.

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.counted import counted
from zk_pipeline.defs.automation.jobs import sync_config
from zk_pipeline.defs.instance.run_coordinator import check_run_coordinator
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG, polls_in_progress, run_in_progress
from zk_pipeline.defs.names import Names, schedule_name
from zk_pipeline.defs.partitions import (
    STALE_SITES_TAGS,
    WORK_DATES_TAG,
    contiguous,
    device_range_tags,
    newest_range,
)
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.routing import group_by_queue
from zk_pipeline.operations.crm_pause import pause_message
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.errors import StoreBusy

MAX_RUNS = 10  # per tick; the next tick requests the rest

# Run keys distinguish the runs of one tick, which Dagster requires; they have no effect across ticks.

Tick = Iterator[dg.RunRequest | dg.SkipReason]


def schedules(
    settings: Settings,
    crons: Mapping[str, str | Sequence[str] | None] | None = None,
    default_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.RUNNING,
) -> Sequence[dg.ScheduleDefinition]:
    """All schedules, in the default time zone. `crons`: other cron expressions by the contract's name of a job; None
    leaves its schedule out.
    """
    names = Names(settings.key_prefix)
    every = {
        "poll_devices": cron_every(settings.polling_interval_minutes),
        "process_attendance": "5 * * * *",
        "sync_to_crm": cron_every(settings.crm_sync_interval_minutes),
        "retry_failed_syncs": "0 */6 * * *",
        "daily_cleanup": "0 2 * * *",
        **(crons or {}),
    }
    if unknown := every.keys() - Names().jobs:  # the contract's names, without the key prefix
        raise UsageError(f"no schedule of {', '.join(sorted(unknown))}: jobs are {', '.join(Names().jobs)}")
    found: list[dg.ScheduleDefinition] = []

    def scheduled(job: str, description: str) -> Callable[[Callable[..., Tick]], None]:
        def add(tick: Callable[..., Tick]) -> None:
            if (cron := every[job]) is not None:
                decorate = dg.schedule(
                    name=schedule_name(names.unique(job)),
                    job_name=names.unique(job),
                    cron_schedule=cron,
                    execution_timezone=settings.timezone,
                    default_status=default_status,
                    description=description,
                )
                found.append(decorate(with_resource_keys(names)(tick)))

        return add

    @scheduled(
        "poll_devices", "Polls all enabled terminals, except those that only push. Skipped while a poll is in progress."
    )
    def poll(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        if settings.poll_rules is None:
            yield from unless_in_progress(
                context.instance, names, [names.poll], lambda: _poll(context.instance, store, names)
            )
        else:
            check_run_coordinator(context.instance)
            poll_by_queue = partial(_poll_by_queue, context.instance, store, settings)
            yield from unless_in_progress(context.instance, names, [], poll_by_queue)

    @scheduled(
        "process_attendance",
        "Processes all stale work dates, also those that failed before. new_punches_sensor requests others sooner.",
    )
    def process(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        last = last_work_date(settings, context.scheduled_execution_time)
        yield from unless_in_progress(context.instance, names, [names.process], lambda: _process(store, settings, last))

    @scheduled("sync_to_crm", "Sends due deliveries to the CRM. Skipped while the CRM has asked for a pause.")
    def deliver(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        yield from unless_in_progress(
            context.instance, names, [names.sync, names.retry], lambda: _sync(store, settings, {})
        )

    @scheduled("retry_failed_syncs", "Sends deliveries again that failed by an error of the CRM or the network.")
    def retry(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        yield from unless_in_progress(
            context.instance, names, [names.sync, names.retry], lambda: _sync(store, settings, {"retry": True}, "retry")
        )

    @scheduled(
        "daily_cleanup",
        "Deletes data older than the retention settings and reclaims disk space; never attendance days.",
    )
    def clean_up(context: dg.ScheduleEvaluationContext) -> Tick:
        yield from unless_in_progress(context.instance, names, [names.cleanup], lambda: iter([dg.RunRequest()]))

    return found


def cron_every(minutes: int) -> str | list[str]:
    """Cron expressions for an interval in minutes that divides a day evenly."""
    if minutes == 1440:
        return "0 0 * * *"
    if 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    starts = range(0, 1440, minutes)
    by_minute: dict[int, list[int]] = {}
    for start in starts:
        by_minute.setdefault(start % 60, []).append(start // 60)
    return [f"{minute} {','.join(map(str, hours))} * * *" for minute, hours in sorted(by_minute.items())]


def unless_in_progress(
    instance: dg.DagsterInstance, names: Names, jobs: Sequence[str], request: Callable[[], Tick]
) -> Tick:
    """Run requests of `request`, or a skip reason if a run of one of `jobs` is in progress or the store is busy."""
    busy = run_in_progress(instance, names, *jobs)
    if busy:
        yield dg.SkipReason(busy)
        return
    try:
        yield from list(request())
    except StoreBusy as error:
        yield dg.SkipReason(str(error))


def _poll(instance: dg.DagsterInstance, store: StoreResource, names: Names) -> Tick:
    polled = {device.name for device in store.open().devices.all() if device.is_polled}
    keys = instance.get_dynamic_partitions(names.device_partitions_name)
    yield from _skip_poll(polled, keys)
    for tags in device_range_tags(keys, polled):
        yield dg.RunRequest(run_key="..".join(tags.values()), tags=tags)


def _poll_by_queue(instance: dg.DagsterInstance, store: StoreResource, settings: Settings) -> Tick:
    """Runs for each queue without a poll in progress, so that a site without a worker blocks no other site."""
    polled = [device for device in store.open().devices.all() if device.is_polled]
    names = Names(settings.key_prefix)
    keys = instance.get_dynamic_partitions(names.device_partitions_name)
    yield from _skip_poll({device.name for device in polled}, keys)
    busy = polls_in_progress(instance, names)
    requests: list[dg.RunRequest] = []
    waiting: list[str] = []
    for queue, devices in group_by_queue(polled, settings.poll_rules or {}).items():
        if reason := busy.get(queue) or busy.get(None):
            waiting.append(f"{queue}: {reason}")
            continue
        for tags in device_range_tags(keys, {device.name for device in devices}):
            key = "..".join((queue, *tags.values()))
            requests.append(dg.RunRequest(run_key=key, tags={**tags, QUEUE_TAG: queue}))
    if waiting and not requests:
        yield dg.SkipReason("; ".join(waiting))
    yield from requests


def _skip_poll(polled: Collection[str], keys: Sequence[str]) -> Tick:
    if not polled:
        yield dg.SkipReason("no enabled device is polled: add one with `zk-pipeline device add`")
    elif not set(polled).intersection(keys):
        yield dg.SkipReason("the polled devices have no partitions yet: device_registry_sensor adds them")


def _process(store: StoreResource, settings: Settings, last: date) -> Tick:
    stale = stale_dates(store.open(), settings, last=last)
    if not stale:
        yield dg.SkipReason("no stale work date: no punches newer than their attendance days")
    for part in contiguous(item.work_date for item in stale)[:MAX_RUNS]:
        yield dg.RunRequest(run_key=str(part), tags=part.tags | STALE_SITES_TAGS)


def _sync(store: StoreResource, settings: Settings, config: Mapping[str, Any], *states: str) -> Tick:
    """One run for all work dates with due deliveries."""
    opened = store.open()
    if paused := pause_message(opened, settings):
        yield dg.SkipReason(paused)
        return
    # Due deliveries before ZK_PIPELINE_HISTORY_START have no partition.
    due = opened.deliveries.due_dates(SyncScope(first=settings.history_start, states=states))
    if not due:
        yield dg.SkipReason("no delivery is due")
        return
    part = newest_range(due)
    tags = {**part.tags, WORK_DATES_TAG: f"{counted(len(due), 'date')} from {min(due)} to {max(due)}"}
    run_config = sync_config(Names(settings.key_prefix), {**config, "all_due": True})
    yield dg.RunRequest(run_key=str(part), tags=tags, run_config=run_config)
