"""Schedules: ask, at fixed times, for what is due then. A tick with nothing to do is skipped and says why."""

# No postponed annotations here: Dagster reads them when it decorates.

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.automation.jobs import sync_config
from zk_pipeline.defs.instance.run_coordinator import check_routes
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG, in_flight, polls_in_flight
from zk_pipeline.defs.job_names import CLEANUP, POLL, PROCESS, RETRY, SYNC
from zk_pipeline.defs.partitions import (
    DEVICE_PARTITIONS,
    contiguous,
    device_range_tags,
    last_work_date,
    newest_range,
)
from zk_pipeline.defs.resources import StoreResource
from zk_pipeline.operations.alerting.routing import group_by_queue
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.sync import pause_message
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.errors import StoreBusy

MAX_RUNS = 10  # per tick; what is left over is asked for by the next one

# A run key tells the runs of one tick apart (Dagster demands it); it holds for that tick only.

Tick = Iterator[dg.RunRequest | dg.SkipReason]


def schedules(settings: Settings) -> Sequence[dg.ScheduleDefinition]:
    """All schedules of the contract, running by default, in the default zone."""

    def scheduled(
        job: str, cron: str | Sequence[str], description: str
    ) -> Callable[[Callable[..., Tick]], dg.ScheduleDefinition]:
        return dg.schedule(
            name=f"{job}_schedule",
            job_name=job,
            cron_schedule=cron,
            execution_timezone=settings.timezone,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=description,
        )

    @scheduled(POLL, every(settings.polling_interval_minutes), "Read all enabled terminals.")
    def poll(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        if settings.poll_rules is None:
            yield from unless_busy(context.instance, [POLL], lambda: _poll(context.instance, store))
        else:
            check_routes(context.instance)
            yield from unless_busy(context.instance, [], lambda: _poll_by_queue(context.instance, store, settings))

    @scheduled(PROCESS, "5 * * * *", "Make the days of all stale work dates.")
    def process(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        last = last_work_date(settings, context.scheduled_execution_time)
        yield from unless_busy(context.instance, [PROCESS], lambda: _process(store, settings, last))

    @scheduled(SYNC, every(settings.crm_sync_interval_minutes), "Deliver what is due to the CRM.")
    def deliver(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        yield from unless_busy(context.instance, [SYNC, RETRY], lambda: _sync(store, settings, {}))

    @scheduled(RETRY, "0 */6 * * *", "A new round for deliveries that ended in `retry`.")
    def retry(context: dg.ScheduleEvaluationContext, store: StoreResource) -> Tick:
        yield from unless_busy(
            context.instance, [SYNC, RETRY], lambda: _sync(store, settings, {"retry": True}, "retry")
        )

    @scheduled(CLEANUP, "0 2 * * *", "Retention and space reclaim.")
    def clean_up(context: dg.ScheduleEvaluationContext) -> Tick:
        yield from unless_busy(context.instance, [CLEANUP], lambda: iter([dg.RunRequest()]))

    return [poll, process, deliver, retry, clean_up]


def every(minutes: int) -> str | list[str]:
    """Cron for a number of minutes that divides a day evenly."""
    if minutes == 1440:
        return "0 0 * * *"
    if 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    starts = range(0, 1440, minutes)
    by_minute: dict[int, list[int]] = {}
    for start in starts:
        by_minute.setdefault(start % 60, []).append(start // 60)
    return [f"{minute} {','.join(map(str, hours))} * * *" for minute, hours in sorted(by_minute.items())]


def unless_busy(instance: dg.DagsterInstance, jobs: Sequence[str], ask: Callable[[], Tick]) -> Tick:
    """`ask`, unless a run of one of `jobs` is under way. A busy store is a skipped tick, never an empty answer."""
    busy = in_flight(instance, *jobs)
    if busy:
        yield dg.SkipReason(busy)
        return
    try:
        yield from list(ask())
    except StoreBusy as error:
        yield dg.SkipReason(str(error))


def _poll(instance: dg.DagsterInstance, store: StoreResource) -> Tick:
    enabled = {device.name for device in store.open().devices.all() if device.enabled}
    keys = instance.get_dynamic_partitions(str(DEVICE_PARTITIONS.name))
    yield from _why_no_poll(enabled, keys)
    for tags in device_range_tags(keys, enabled):
        yield dg.RunRequest(run_key="..".join(tags.values()), tags=tags)


def _poll_by_queue(instance: dg.DagsterInstance, store: StoreResource, settings: Settings) -> Tick:
    """A run for each queue that has none under way: a site whose worker is away holds up no other, nor itself."""
    enabled = [device for device in store.open().devices.all() if device.enabled]
    keys = instance.get_dynamic_partitions(str(DEVICE_PARTITIONS.name))
    yield from _why_no_poll({device.name for device in enabled}, keys)
    busy = polls_in_flight(instance)
    asked: list[dg.RunRequest] = []
    waiting: list[str] = []
    for queue, devices in group_by_queue(enabled, settings.poll_rules or {}).items():
        if words := busy.get(queue) or busy.get(None):
            waiting.append(f"{queue}: {words}")
            continue
        for tags in device_range_tags(keys, {device.name for device in devices}):
            key = "..".join((queue, *tags.values()))
            asked.append(dg.RunRequest(run_key=key, tags={**tags, QUEUE_TAG: queue}))
    if waiting and not asked:
        yield dg.SkipReason("; ".join(waiting))
    yield from asked


def _why_no_poll(enabled: Collection[str], keys: Sequence[str]) -> Tick:
    if not enabled:
        yield dg.SkipReason("no enabled device: add one with `zk-pipeline device add`")
    elif not set(enabled).intersection(keys):
        yield dg.SkipReason("the enabled devices have no partitions yet: device_registry_sensor makes them")


def _process(store: StoreResource, settings: Settings, last: date) -> Tick:
    stale = stale_dates(store.open(), settings, last=last)
    if not stale:
        yield dg.SkipReason("no work date has punches newer than its result")
    for part in contiguous(item.work_date for item in stale)[:MAX_RUNS]:
        yield dg.RunRequest(run_key=str(part), tags=part.tags)


def _sync(store: StoreResource, settings: Settings, how: Mapping[str, Any], *states: str) -> Tick:
    """One run for all work dates on which something is due."""
    opened = store.open()
    if paused := pause_message(opened, settings):
        yield dg.SkipReason(paused)
        return
    # What was due when the history began earlier has no partition any more.
    due = opened.deliveries.due_dates(SyncScope(first=settings.history_start, states=states))
    if not due:
        yield dg.SkipReason("nothing is due at the CRM")
        return
    part = newest_range(due)
    yield dg.RunRequest(run_key=str(part), tags=part.tags, run_config=sync_config({**how, "all_due": True}))
