"""Runs to the queue whose workers can do them. Polls go to the queue of their terminals' site (POLL_QUEUES), however
they were asked for: schedule, command, API, the UI's buttons, backfill or retry. Which tag tells the engine, its
`dagster.yaml` says.
"""

# No postponed annotations: Dagster reads the class by its configuration.

from collections.abc import Mapping, Sequence
from typing import Any, cast

import dagster as dg
from typing_extensions import Self

from zk_pipeline.config.settings import Settings, load_settings
from zk_pipeline.defs.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    ConfigurableClassData,
    UserConfigSchema,
)
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG
from zk_pipeline.defs.job_names import POLL
from zk_pipeline.defs.partitions import DEVICE_PARTITIONS
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.alerting.routing import by_queue
from zk_pipeline.store.store import Store


class RoutedRunCoordinator(dg.QueuedRunCoordinator):
    """Dagster's queue, which first puts on each poll the tags that take it to the workers of its site.

    `poll_tags`: tag → its value, in which `{queue}` is the name of the queue.
    """

    def __init__(self, poll_tags: Mapping[str, str], inst_data: ConfigurableClassData | None = None, **queue: Any):
        super().__init__(inst_data=inst_data, **queue)
        self.poll_tags = dict(poll_tags)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        ours = dg.Field({str: str}, description="Tags of polls; {queue} is the queue's name")
        return {**cast("Mapping[str, Any]", super().config_type()), "poll_tags": ours}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **config_value)

    def submit_run(self, context: dg.SubmitRunContext) -> dg.DagsterRun:
        settings = load_settings()
        run = context.dagster_run
        if settings.poll_rules is not None and _polls(run):
            queue = self._queue_of(run, settings)
            tags = {tag: value.replace("{queue}", queue) for tag, value in self.poll_tags.items()}
            self._instance.add_run_tags(run.run_id, {QUEUE_TAG: queue, **tags})
        return super().submit_run(context)

    def _queue_of(self, run: dg.DagsterRun, settings: Settings) -> str:
        asked = run.tags.get(QUEUE_TAG)
        if asked is not None and run.parent_run_id is None:
            return asked
        # Asked for in the UI, or a retry: a terminal may have moved since.
        names = set(_partition_keys(run, self._instance))
        devices = [one for one in Store.at(settings.store).devices.all() if one.name in names]
        queues = by_queue(devices, settings.poll_rules or {})
        if len(queues) == 1:
            return next(iter(queues))
        found = "; ".join(f"{queue}: {', '.join(one.name for one in ours)}" for queue, ours in queues.items())
        raise UsageError(
            f"no worker reaches all of these terminals ({found}): start a run for each, or `zk-pipeline poll` them"
            if queues
            else "a poll needs the partitions of registered devices: choose some, or use `zk-pipeline poll`"
        )


def check_routes(instance: dg.DagsterInstance) -> None:
    """Raises UsageError where POLL_QUEUES would be without effect."""
    if not isinstance(instance.run_coordinator, RoutedRunCoordinator):
        raise UsageError(
            "POLL_QUEUES is set, but Dagster's instance has no RoutedRunCoordinator that would take polls to those "
            "queues: take dagster.yaml from deploy/celery or deploy/kubernetes, or leave POLL_QUEUES out"
        )


def _polls(run: dg.DagsterRun) -> bool:
    return run.job_name == POLL or dg.AssetKey("raw_punches") in (run.asset_selection or ())


def _partition_keys(run: dg.DagsterRun, instance: dg.DagsterInstance) -> Sequence[str]:
    key = run.tags.get(PARTITION_NAME_TAG)
    if key is not None:
        return [key]
    first, last = (run.tags.get(tag) for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG))
    if first is None or last is None:
        return []
    with dg.partition_loading_context(dynamic_partitions_store=instance):
        return DEVICE_PARTITIONS.get_partition_keys_in_range(dg.PartitionKeyRange(first, last))
