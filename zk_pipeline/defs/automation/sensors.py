"""Sensors that ask earlier than the schedules for what is due. Each asks the store; none keeps a cursor that could be
lost. Those that tell people are `alert_sensors`.
"""

# No postponed annotations here: Dagster reads them when it decorates.

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.automation.schedules import MAX_RUNS, unless_busy
from zk_pipeline.defs.instance.runs_in_progress import UNDER_WAY
from zk_pipeline.defs.job_names import POLL, PROCESS
from zk_pipeline.defs.partitions import DEVICE_PARTITIONS, DateRange, contiguous, last_work_date
from zk_pipeline.defs.pools import register_pools
from zk_pipeline.defs.resources import StoreResource
from zk_pipeline.operations.alerting.routing import side_by_side
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.store import utc_now
from zk_pipeline.store.work_dates.staleness import StaleDate


@dataclass(frozen=True)
class PartitionChange:
    """What makes the device partitions those of the registry."""

    add: list[str]
    delete: list[str]


def partition_change(registered: Sequence[str], partitions: Sequence[str], *, poll_in_flight: bool) -> PartitionChange:
    """A partition is not taken from under a run: deletions wait while a poll is in flight."""
    add = [name for name in registered if name not in set(partitions)]
    delete = [] if poll_in_flight else [name for name in partitions if name not in set(registered)]
    return PartitionChange(add, delete)


def out_of_order(wanted: Sequence[str], partitions: Sequence[str]) -> list[str]:
    """Which of `partitions` to take away and to add again, so that they stand as in `wanted`."""
    there = set(partitions)
    order = [name for name in wanted if name in there]
    known = [name for name in partitions if name in set(order)]
    kept = next((number for number, (one, other) in enumerate(zip(order, known, strict=True)) if one != other), None)
    return [] if kept is None else order[kept:]


def move_to_the_end(instance: dg.DagsterInstance, moved: Sequence[str]) -> None:
    """Dagster orders these partitions by when they were added, and what it knows of one does not go with it.

    If it is interrupted, the next tick adds what is missing.
    """
    name = str(DEVICE_PARTITIONS.name)
    for key in moved:
        instance.delete_dynamic_partition(name, key)
    instance.add_dynamic_partitions(name, moved)


def run_key(part: DateRange, stale: Sequence[StaleDate]) -> str:
    """Asked once for the same punches, again for newer ones."""
    newest = max(item.latest_punch_seq for item in stale if part.first <= item.work_date <= part.last)
    return f"{part}@{newest}"


def sensors(settings: Settings) -> Sequence[dg.SensorDefinition]:
    @dg.sensor(
        name="device_registry_sensor",
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Keeps one `raw_punches` partition per registered device, and the pools known to the queue.",
    )
    def device_registry_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        register_pools(context.instance)
        try:
            devices = store.open().devices.all()
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        runs = context.instance.get_runs_count(dg.RunsFilter(job_name=POLL, statuses=UNDER_WAY))
        partitions = context.instance.get_dynamic_partitions(str(DEVICE_PARTITIONS.name))
        change = partition_change([device.name for device in devices], partitions, poll_in_flight=runs > 0)
        requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if change.delete:
            requests.append(DEVICE_PARTITIONS.build_delete_request(change.delete))
        if change.add:
            requests.append(DEVICE_PARTITIONS.build_add_request(change.add))
        if not requests:
            moved: list[str] = []
            if settings.poll_rules is not None and not runs:  # of a poll under way it would change the range
                moved = out_of_order(side_by_side(devices, settings.poll_rules), partitions)
                move_to_the_end(context.instance, moved)
            words = f"; {len(moved)} of them were put beside the others of their queue" if moved else ""
            return dg.SkipReason(f"the partitions are those of the registry{words}")
        return dg.SensorResult(dynamic_partitions_requests=requests)

    @dg.sensor(
        name="new_punches_sensor",
        job_name=PROCESS,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for exactly the work dates whose punches are newer than their rows.",
    )
    def new_punches_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        def ask() -> Iterator[dg.RunRequest | dg.SkipReason]:
            stale = stale_dates(store.open(), settings, last=last_work_date(settings, utc_now()))
            if not stale:
                yield dg.SkipReason("no work date has punches newer than its result")
            for part in contiguous(item.work_date for item in stale)[:MAX_RUNS]:
                yield dg.RunRequest(run_key=run_key(part, stale), tags=part.tags)

        yield from unless_busy(context.instance, [PROCESS], ask)

    return [device_registry_sensor, new_punches_sensor]
