"""Run launcher for commands: executes a job in this process, as a run of the Dagster instance that the UI shows."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.automation.jobs import sync_config
from zk_pipeline.defs.automation.sensors import add_missing_partitions
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG, fail_orphaned_runs
from zk_pipeline.defs.instance.run_coordinator import check_run_coordinator
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import STALE_SITES_TAGS, DateRange, device_range_tags
from zk_pipeline.defs.pools import limit_pools
from zk_pipeline.operations.alerting.routing import group_by_queue
from zk_pipeline.operations.date_range import check_in_history
from zk_pipeline.runs.instance import open_instance
from zk_pipeline.runs.submit import check_daemon, failure_message, submit, wait_for, was_interrupted
from zk_pipeline.runtime.processes import check_for_end, ended_by, process_identity
from zk_pipeline.store.store import Store

STARTED_BY_TAG = "zk_pipeline/started_by"
_NO_RETRIES = {"dagster/max_retries": "0"}  # the daemon cannot retry a run of a command's process


@dataclass(frozen=True)
class RunResult:
    """Outcome of a run. `partitions`: metadata of each materialized partition; `observed`: metadata of the run's asset
    observations without a partition; `failure`: error message, None on success; `is_interrupted`: a signal ended the
    run.
    """

    run_id: str
    partitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    observed: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None
    is_interrupted: bool = False

    @property
    def success(self) -> bool:
        return self.failure is None


@dataclass(frozen=True)
class Launcher:
    """Executes jobs of the code location in this process."""

    settings: Settings
    instance: dg.DagsterInstance
    started_by: str = "zk-pipeline"
    tags: Mapping[str, str] = field(default_factory=dict)  # added to every run
    new_run_id: Callable[[], str] = lambda: str(uuid.uuid4())

    @property
    def names(self) -> Names:
        return Names(self.settings.key_prefix)

    @cached_property
    def definitions(self) -> dg.Definitions:
        return build_definitions(self.settings)

    def poll(
        self,
        devices: Sequence[str],
        registered: Sequence[str],
        *,
        full: bool = False,
        lock_while_reading: bool = False,
    ) -> list[RunResult]:
        """Poll the named devices: one run per contiguous range of their partitions; with POLL_QUEUES, one run or more
        per queue, executed by its workers.

        Adds missing partitions first, like `device_registry_sensor`.
        """
        op_config = {"devices": list(devices), "full": full, "lock_while_reading": lock_while_reading}
        config = {"ops": {self.names.step("raw_punches"): {"config": op_config}}}
        partitions = self._device_partitions(registered)
        if self.settings.poll_rules is not None:
            return self._poll_by_queue(self.settings.poll_rules, set(devices), partitions, config)
        ranges = device_range_tags(partitions, set(devices))
        return [self.run(self.names.poll, tags=tags, config=config) for tags in ranges]

    def process(self, dates: DateRange, *, only_stale_sites: bool = False) -> RunResult:
        """Process a range of work dates; `only_stale_sites`: of each, only the sites that make it stale."""
        return self.run(self.names.process, tags=dates.tags | (STALE_SITES_TAGS if only_stale_sites else {}))

    def sync(self, dates: DateRange, config: Mapping[str, object]) -> RunResult:
        """Send the due deliveries of a range of work dates; `config` as `crm_sync.SyncConfig`."""
        return self.run(self.names.sync, tags=dates.tags, config=sync_config(self.names, config))

    def clean_up(self, *, dry_run: bool) -> RunResult:
        """Retention and space reclaim."""
        config = {"ops": {self.names.unique("clean_up"): {"config": {"dry_run": dry_run}}}}
        return self.run(self.names.cleanup, config=config)

    def check_partitions(self, dates: DateRange, today: date) -> None:
        """Raises UsageError for work dates without a partition."""
        check_in_history(dates.first, dates.last, begins=self.settings.history_start, today=today)

    def run(
        self, job: str, *, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> RunResult:
        """Execute a job and wait for it. Errors within the run are in the result. Raises KeyboardInterrupt after a
        shutdown signal, also one that ended an earlier run.
        """
        check_for_end()
        if ended_by() is not None:
            raise KeyboardInterrupt
        fail_orphaned_runs(self.instance)
        limit_pools(self.instance, self.names.pools)
        definition = self.definitions.resolve_job_def(job)
        with _quiet_console():
            result = definition.execute_in_process(
                instance=self.instance,
                run_id=self.new_run_id(),
                tags={**(tags or {}), **self.tags, **_NO_RETRIES, **self._process_tags()},
                run_config={**(config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
        return self._result(result.run_id, failure_message(self.instance, result.dagster_run))

    def _process_tags(self) -> dict[str, str]:
        return {STARTED_BY_TAG: self.started_by, PROCESS_TAG: process_identity()}

    def _poll_by_queue(
        self, rules: Mapping[str, str], names: Set[str], partitions: Sequence[str], config: Mapping[str, Any]
    ) -> list[RunResult]:
        """Submit the runs of all queues in parallel to the workers that reach the terminals; wait for all of them."""
        check_run_coordinator(self.instance)
        check_daemon(self.instance, self.names)
        job = self.definitions.resolve_job_def(self.names.poll)
        devices = [device for device in Store.at(self.settings.store).devices.all() if device.name in names]
        common = {**self.tags, STARTED_BY_TAG: self.started_by}
        run_ids = [
            submit(self.instance, job, self.new_run_id(), tags={**tags, **common, QUEUE_TAG: queue}, config=config)
            for queue, reachable in group_by_queue(devices, rules).items()
            for tags in device_range_tags(partitions, {device.name for device in reachable})
        ]
        return [
            self._result(run_id, failure_message(self.instance, wait_for(self.instance, run_id))) for run_id in run_ids
        ]

    def _result(self, run_id: str, failure: str | None) -> RunResult:
        return RunResult(
            run_id=run_id,
            partitions=self._materialized(run_id),
            observed=self._observed(run_id),
            failure=failure,
            is_interrupted=failure is not None and (ended_by() is not None or was_interrupted(self.instance, run_id)),
        )

    def _device_partitions(self, registered: Sequence[str]) -> list[str]:
        name = self.names.device_partitions_name
        add_missing_partitions(self.instance, name, registered)
        return list(self.instance.get_dynamic_partitions(name))

    # Read from the event log: the result of a failed step lacks the events that it logged before it failed.

    def _materialized(self, run_id: str) -> dict[str, dict[str, Any]]:
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        events = [entry.asset_materialization for entry in entries]
        return {event.partition: _plain(event) for event in events if event is not None and event.partition is not None}

    def _observed(self, run_id: str) -> dict[str, Any]:
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
        events = [entry.asset_observation for entry in entries]
        found = [event for event in events if event is not None and event.partition is None]
        return {key: value for event in found for key, value in _plain(event).items()}


@contextmanager
def open_launcher(settings: Settings) -> Iterator[Launcher]:
    """Launcher on the instance of DAGSTER_HOME, see `open_instance`."""
    with open_instance() as instance:
        yield Launcher(settings, instance)


@contextmanager
def _quiet_console() -> Iterator[None]:
    """Suppress Dagster's console log: a command prints results only."""
    logger = logging.getLogger("dagster")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _plain(event: dg.AssetMaterialization | dg.AssetObservation) -> dict[str, Any]:
    return {key: value.value for key, value in event.metadata.items()}
