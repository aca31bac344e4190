"""Run coordinator that tags each poll with the queue of its terminals' site (POLL_QUEUES).

It applies to every origin of a run: schedule, command, API, UI, backfill and retry. `dagster.yaml` defines which tags
the run launcher needs. The coordinator belongs to the instance, not to a code location: it reads the settings of the
process that submits a run.
"""

# No postponed annotations: Dagster inspects the class.

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import dagster as dg

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.defs.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    ConfigurableClassData,
    UserConfigSchema,
)
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.routing import group_by_queue
from zk_pipeline.store.store import Store


class SiteQueueRunCoordinator(dg.QueuedRunCoordinator):
    """QueuedRunCoordinator that adds to each poll the tags of its site's queue.

    `poll_tags`: tag → value; `{queue}` in a value is replaced by the name of the queue.
    """

    def __init__(self, poll_tags: Mapping[str, str], inst_data: ConfigurableClassData | None = None, **queue: Any):
        super().__init__(inst_data=inst_data, **queue)
        self.poll_tags = dict(poll_tags)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        poll_tags = dg.Field({str: str}, description="Tags of polls; {queue} is the queue's name")
        return {**cast("Mapping[str, Any]", super().config_type()), "poll_tags": poll_tags}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        settings = load_settings()
        run = context.dagster_run
        if settings.poll_rules is not None and _is_poll(run, Names(settings.key_prefix)):
            queue = self._queue_of(run, settings)
            tags = {tag: value.replace("{queue}", queue) for tag, value in self.poll_tags.items()}
            self._instance.add_run_tags(run.run_id, {QUEUE_TAG: queue, **tags})
        return super().submit_run(context)

    def _queue_of(self, run: dg.DagsterRun, settings: Settings) -> str:
        requested = run.tags.get(QUEUE_TAG)
        if requested is not None and run.parent_run_id is None:
            return requested
        # A run from the UI has no queue, and the queue of a retry may be out of date.
        names = set(_partition_keys(run, self._instance, Names(settings.key_prefix)))
        devices = [device for device in Store.at(settings.store).devices.all() if device.name in names]
        queues = group_by_queue(devices, settings.poll_rules or {})
        if len(queues) == 1:
            return next(iter(queues))
        listed = "; ".join(f"{queue}: {', '.join(one.name for one in members)}" for queue, members in queues.items())
        raise UsageError(
            f"the terminals of this run belong to several queues ({listed}): start a run per queue, or use "
            "`zk-pipeline poll`"
            if queues
            else "a poll needs the partitions of registered devices: select some, or use `zk-pipeline poll`"
        )


def check_run_coordinator(instance: dg.DagsterInstance) -> None:
    """Raises UsageError if the instance's run coordinator would ignore POLL_QUEUES."""
    if not isinstance(instance.run_coordinator, SiteQueueRunCoordinator):
        raise UsageError(
            "POLL_QUEUES is set, but the run_coordinator in dagster.yaml is not SiteQueueRunCoordinator: use the "
            "dagster.yaml in deploy/celery or deploy/kubernetes, or unset POLL_QUEUES"
        )


def _is_poll(run: dg.DagsterRun, names: Names) -> bool:
    return run.job_name == names.poll or names.asset("raw_punches") in (run.asset_selection or ())


def _partition_keys(run: dg.DagsterRun, instance: dg.DagsterInstance, names: Names) -> Sequence[str]:
    key = run.tags.get(PARTITION_NAME_TAG)
    if key is not None:
        return [key]
    first, last = (run.tags.get(tag) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
    if first is None or last is None:
        return []
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return names.device_partitions.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))


RoutedRunCoordinator = SiteQueueRunCoordinator  # former name, in dagster.yaml files of users
