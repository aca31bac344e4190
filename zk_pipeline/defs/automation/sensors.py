"""Sensors for device partitions and new punches. They read the store. The cursor of `new_punches_sensor` only spares
it to read Dagster's log for work dates that it has observed.
"""

# No postponed annotations: Dagster inspects them.

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.work_dates import observations
from zk_pipeline.defs.automation.schedules import MAX_RUNS, unless_in_progress
from zk_pipeline.defs.instance.requirements import unmet_requirements
from zk_pipeline.defs.instance.runs_in_progress import polls_in_progress
from zk_pipeline.defs.names import Names, schedule_name
from zk_pipeline.defs.partitions import STALE_SITES_TAGS, DateRange, contiguous
from zk_pipeline.defs.pools import limit_pools
from zk_pipeline.defs.resources import StoreResource, with_resource_keys
from zk_pipeline.devices.models import Device
from zk_pipeline.operations.alerting.routing import order_by_queue
from zk_pipeline.operations.process import stale_dates
from zk_pipeline.operations.work_dates import last_work_date
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.store import utc_now
from zk_pipeline.store.work_dates.staleness import StaleDate


@dataclass(frozen=True)
class PartitionChange:
    """Changes that make the device partitions equal to the device registry."""

    add: list[str]
    delete: list[str]


def partition_change(
    registered: Sequence[str], partitions: Sequence[str], *, is_poll_in_progress: bool
) -> PartitionChange:
    """Differences between device registry and partitions. No deletions while a poll is in progress."""
    add = [name for name in registered if name not in set(partitions)]
    delete = [] if is_poll_in_progress else [name for name in partitions if name not in set(registered)]
    return PartitionChange(add, delete)


def add_missing_partitions(instance: dg.DagsterInstance, definition: str, registered: Sequence[str]) -> None:
    """Add the partitions of registered devices that have none."""
    change = partition_change(registered, instance.get_dynamic_partitions(definition), is_poll_in_progress=True)
    if change.add:
        instance.add_dynamic_partitions(definition, change.add)


def out_of_order(wanted: Sequence[str], partitions: Sequence[str]) -> list[str]:
    """The `partitions` to delete and add again, in that order, so that their order is that of `wanted`."""
    existing = set(partitions)
    order = [name for name in wanted if name in existing]
    current = [name for name in partitions if name in set(order)]
    pairs = enumerate(zip(order, current, strict=True))
    first_change = next((number for number, (one, other) in pairs if one != other), None)
    return [] if first_change is None else order[first_change:]


def move_to_end(instance: dg.DagsterInstance, definition: str, moved: Sequence[str]) -> None:
    """Move dynamic partitions to the end: Dagster orders them by creation. Their materializations are kept.

    After an interruption the next tick adds the missing partitions.
    """
    for key in moved:
        instance.delete_dynamic_partition(definition, key)
    instance.add_dynamic_partitions(definition, moved)


def run_key(part: DateRange, stale: Sequence[StaleDate]) -> str:
    """Run key of a range: the same for the same punches, another one for newer punches."""
    newest = max(item.latest_punch_seq for item in stale if part.first <= item.work_date <= part.last)
    return f"{part}@{newest}"


def earlier_run(instance: dg.DagsterInstance, names: Names, key: str) -> dg.DagsterRun | None:
    """The latest run of a run key. Dagster drops such a request without a reason in the tick."""
    tags = {**names.run_tags, "dagster/run_key": key}
    found = instance.get_runs(dg.RunsFilter(job_name=names.process, tags=tags), limit=1)
    return found[0] if found else None


def sensors(
    settings: Settings,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
    declared: Sequence[Device] = (),
) -> Sequence[dg.SensorDefinition]:
    """Sensors for device partitions and new punches. `declared`: devices that `device_registry_sensor` registers."""
    names = Names(settings.key_prefix)
    definition = names.device_partitions

    @dg.sensor(
        name=names.unique("device_registry_sensor"),
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=default_status,
        description="Adds and deletes partitions of raw_punches to match the registered terminals; limits the pools.",
    )
    @with_resource_keys(names)
    def device_registry_sensor(
        context: dg.SensorEvaluationContext, store: StoreResource
    ) -> dg.SensorResult | dg.SkipReason:
        limit_pools(context.instance, names.pools)
        try:
            opened = store.open()
            if not opened.devices.are_registered(declared):
                opened.devices.apply(declared)
            devices = opened.devices.all()
        except StoreBusy as error:
            return dg.SkipReason(str(error))
        polls = polls_in_progress(context.instance, names)
        partitions = context.instance.get_dynamic_partitions(names.device_partitions_name)
        change = partition_change([device.name for device in devices], partitions, is_poll_in_progress=bool(polls))
        requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if change.delete:
            requests.append(definition.build_delete_request(change.delete))
        if change.add:
            requests.append(definition.build_add_request(change.add))
        if not requests:
            moved: list[str] = []
            if settings.poll_rules is not None and not polls:  # reordering changes the range of a poll in progress
                moved = out_of_order(order_by_queue(devices, settings.poll_rules), partitions)
                move_to_end(context.instance, names.device_partitions_name, moved)
            reordered = f"; {len(moved)} of them were moved next to those of the same queue" if moved else ""
            unmet = sorted(
                {one.name for one in unmet_requirements(context.instance, settings) if one.severity != "note"}
            )
            advice = f"; see `zk-pipeline doctor` about {', '.join(unmet)}" if unmet else ""
            return dg.SkipReason(f"the partitions match the registered devices{reordered}{advice}")
        return dg.SensorResult(dynamic_partitions_requests=requests)

    @dg.sensor(
        name=names.unique("new_punches_sensor"),
        job_name=names.process,
        minimum_interval_seconds=settings.sensor_interval_seconds,
        default_status=default_status,
        description="Requests a run for each range of stale work dates (with punches or rules newer than their "
        "attendance days), once for the same punches, and observes them in work_dates.",
    )
    @with_resource_keys(names)
    def new_punches_sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult:
        observed: dict[str, dg.AssetObservation | None] = {}
        known: dict[str, str] = json.loads(context.cursor or "{}")  # version of each stale date that was observed

        def request() -> Iterator[dg.RunRequest | dg.SkipReason]:
            nonlocal known
            stale = stale_dates(store.open(), settings, last=last_work_date(settings, utc_now()))
            versions = {item.work_date.isoformat(): item.version for item in stale}
            new = [item for item in stale if known.get(item.work_date.isoformat()) != item.version]
            observed.update(observations(context.instance, names, new))
            known = {day: version for day, version in versions.items() if day in observed or known.get(day) == version}
            if not stale:
                yield dg.SkipReason("no stale work date: no punches newer than their attendance days")
            requested: list[str] = []
            parts = contiguous(item.work_date for item in stale)[:MAX_RUNS]
            for part in parts:
                key = run_key(part, stale)
                if earlier := earlier_run(context.instance, names, key):
                    requested.append(f"{part} by run {earlier.run_id[:8]} ({earlier.status.value.lower()})")
                else:
                    yield dg.RunRequest(run_key=key, tags=part.tags | STALE_SITES_TAGS)
            if parts and len(requested) == len(parts):
                retry = schedule_name(names.process)
                yield dg.SkipReason(f"requested before: {', '.join(requested)}; {retry} requests stale dates again")

        requested = list(unless_in_progress(context.instance, names, [names.process], request))
        return dg.SensorResult(
            run_requests=[one for one in requested if isinstance(one, dg.RunRequest)],
            skip_reason=next((one for one in requested if isinstance(one, dg.SkipReason)), None),
            cursor=json.dumps(known),
            asset_events=[event for event in observed.values() if event is not None],
        )

    return [device_registry_sensor, new_punches_sensor]
