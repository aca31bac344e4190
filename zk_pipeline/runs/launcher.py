"""Doing a job from outside the daemon, as a run like any other: in this process, against the instance, seen in the
UI.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.automation.jobs import sync_config
from zk_pipeline.defs.automation.sensors import partition_change
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG, fail_orphaned_runs
from zk_pipeline.defs.instance.run_coordinator import check_routes
from zk_pipeline.defs.instance.runs_in_progress import QUEUE_TAG
from zk_pipeline.defs.job_names import CLEANUP, POLL, PROCESS, SYNC
from zk_pipeline.defs.partitions import DEVICE_PARTITIONS, DateRange, device_range_tags
from zk_pipeline.operations.alerting.routing import group_by_queue
from zk_pipeline.operations.date_range import check_in_history
from zk_pipeline.runs.submit import check_daemon, submit, wait_for, was_interrupted, why_failed
from zk_pipeline.runtime.processes import check_for_end, ended_by, process_identity
from zk_pipeline.store.store import Store

BY_COMMAND = "zk_pipeline/started_by"
_NOT_AGAIN = {"dagster/max_retries": "0"}  # the daemon starts no run again that was executed in a command's process


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `partitions`: metadata of each partition that was materialized; `observed`: metadata of the
    run as a whole; `failure`: in words, None on success; `is_interrupted`: it ended because the process was told to.
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
    """Runs jobs of the code location in this process."""

    settings: Settings
    instance: dg.DagsterInstance
    started_by: str = "zk-pipeline"
    tags: Mapping[str, str] = field(default_factory=dict)  # of every run
    new_run_id: Callable[[], str] = lambda: str(uuid.uuid4())

    def poll(
        self,
        devices: Sequence[str],
        registered: Sequence[str],
        *,
        full: bool = False,
        lock_while_reading: bool = False,
    ) -> list[RunResult]:
        """Read the named devices, in one run unless others stand between their partitions; with POLL_QUEUES in a run
        for each queue, by its workers.

        The partitions are made first, as the sensor would.
        """
        how = {"devices": list(devices), "full": full, "lock_while_reading": lock_while_reading}
        config = {"ops": {"raw_punches": {"config": how}}}
        partitions = self._device_partitions(registered)
        if self.settings.poll_rules is not None:
            return self._poll_by_queue(self.settings.poll_rules, set(devices), partitions, config)
        return [self.run(POLL, tags=tags, config=config) for tags in device_range_tags(partitions, set(devices))]

    def process(self, dates: DateRange) -> RunResult:
        """Make the days of a range of work dates."""
        return self.run(PROCESS, tags=dates.tags)

    def sync(self, dates: DateRange, config: Mapping[str, object]) -> RunResult:
        """Deliver what is due of a range of work dates; `config` as `defs.crm.SyncConfig`."""
        return self.run(SYNC, tags=dates.tags, config=sync_config(config))

    def clean_up(self, *, dry_run: bool) -> RunResult:
        """Retention and space reclaim."""
        return self.run(CLEANUP, config={"ops": {"clean_up": {"config": {"dry_run": dry_run}}}})

    def check_partitions(self, dates: DateRange, today: date) -> None:
        """Raises UsageError for work dates that have no partition."""
        check_in_history(dates.first, dates.last, begins=self.settings.history_start, today=today)

    def run(
        self, job: str, *, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> RunResult:
        """Execute a job and wait for it. Never raises for what goes wrong within the run; KeyboardInterrupt where the
        command was told to end, also by the signal that ended a run before.
        """
        check_for_end()
        if ended_by() is not None:
            raise KeyboardInterrupt
        fail_orphaned_runs(self.instance)
        definition = build_definitions(self.settings).resolve_job_def(job)
        with _quiet_console():
            result = definition.execute_in_process(
                instance=self.instance,
                run_id=self.new_run_id(),
                tags={**(tags or {}), **self.tags, **_NOT_AGAIN, **self._who()},
                run_config={**(config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
        return self._result(result.run_id, why_failed(self.instance, result.dagster_run))

    def _who(self) -> dict[str, str]:
        return {BY_COMMAND: self.started_by, PROCESS_TAG: process_identity()}

    def _poll_by_queue(
        self, rules: Mapping[str, str], names: Set[str], partitions: Sequence[str], config: Mapping[str, Any]
    ) -> list[RunResult]:
        """By the workers that reach the terminals, all queues side by side; waits for the last of them."""
        check_routes(self.instance)
        check_daemon(self.instance)
        job = build_definitions(self.settings).resolve_job_def(POLL)
        devices = [one for one in Store.at(self.settings.store).devices.all() if one.name in names]
        common = {**self.tags, BY_COMMAND: self.started_by}
        asked = [
            submit(self.instance, job, self.new_run_id(), tags={**tags, **common, QUEUE_TAG: queue}, config=config)
            for queue, ours in group_by_queue(devices, rules).items()
            for tags in device_range_tags(partitions, {one.name for one in ours})
        ]
        return [self._result(run_id, why_failed(self.instance, wait_for(self.instance, run_id))) for run_id in asked]

    def _result(self, run_id: str, failure: str | None) -> RunResult:
        return RunResult(
            run_id=run_id,
            partitions=self._materialized(run_id),
            observed=self._observed(run_id),
            failure=failure,
            is_interrupted=failure is not None and (ended_by() is not None or was_interrupted(self.instance, run_id)),
        )

    def _device_partitions(self, registered: Sequence[str]) -> list[str]:
        name = str(DEVICE_PARTITIONS.name)
        change = partition_change(registered, self.instance.get_dynamic_partitions(name), poll_in_flight=True)
        if change.add:
            self.instance.add_dynamic_partitions(name, change.add)
        return list(self.instance.get_dynamic_partitions(name))

    # Asked of the event log: the result of a failed step does not carry the events it logged before it failed.

    def _materialized(self, run_id: str) -> dict[str, dict[str, Any]]:
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        made = [entry.asset_materialization for entry in entries]
        return {one.partition: _plain(one) for one in made if one is not None and one.partition is not None}

    def _observed(self, run_id: str) -> dict[str, Any]:
        entries = self.instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_OBSERVATION)
        seen = [entry.asset_observation for entry in entries]
        return {key: value for one in seen if one is not None for key, value in _plain(one).items()}


@contextmanager
def open_launcher(settings: Settings) -> Iterator[Launcher]:
    """A launcher on the instance of DAGSTER_HOME, which must be exported (`home.export_home`)."""
    with dg.DagsterInstance.get() as instance:
        yield Launcher(settings, instance)


@contextmanager
def _quiet_console() -> Iterator[None]:
    """Dagster's own console lines are for its processes' logs; a command prints results."""
    logger = logging.getLogger("dagster")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _plain(event: dg.AssetMaterialization | dg.AssetObservation) -> dict[str, Any]:
    return {key: value.value for key, value in event.metadata.items()}
