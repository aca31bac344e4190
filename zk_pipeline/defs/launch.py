"""Doing a job from outside the daemon, as a run like any other: in this process, against the instance, seen in the UI."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.dead_runs import report_dead_runs
from zk_pipeline.defs.jobs import POLL, PROCESS, SYNC
from zk_pipeline.defs.partitions import DEVICE_PARTITIONS, DateRange, last_work_date, range_tags
from zk_pipeline.defs.sensors import partition_change
from zk_pipeline.errors import UsageError
from zk_pipeline.settings import Settings

BY_COMMAND = "zk_pipeline/started_by"


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `partitions`: metadata of each partition that was materialized; `failure`: in words, None on success."""

    run_id: str
    partitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    failure: str | None = None

    @property
    def success(self) -> bool:
        return self.failure is None


@dataclass(frozen=True)
class Launcher:
    """Runs jobs of the code location in this process."""

    settings: Settings
    instance: dg.DagsterInstance

    def poll(self, devices: Sequence[str], registered: Sequence[str]) -> RunResult:
        """Read the named devices. Their partitions are made first, as the sensor would."""
        keys = self._device_partitions(registered)
        positions = [keys.index(name) for name in devices]
        tags = range_tags(keys[min(positions)], keys[max(positions)])
        return self.run(POLL, tags=tags, config={"ops": {"raw_punches": {"config": {"devices": list(devices)}}}})

    def process(self, dates: DateRange) -> RunResult:
        """Make the days of a range of work dates."""
        return self.run(PROCESS, tags=dates.tags)

    def sync(self, dates: DateRange, config: Mapping[str, object]) -> RunResult:
        """Deliver what is due of a range of work dates; `config` as `defs.crm.SyncConfig`."""
        return self.run(SYNC, tags=dates.tags, config={"ops": {"crm_sync": {"config": dict(config)}}})

    def check_partitions(self, dates: DateRange, today: date) -> None:
        """Raises UsageError for work dates that have no partition."""
        first = self.settings.history_start
        if dates.first < first:
            raise UsageError(f"{dates.first} is before ZK_PIPELINE_HISTORY_START ({first}): there is no such partition")
        if dates.last > today:
            raise UsageError(f"{dates.last} is in the future: the newest work date is {today}")

    def run(
        self, job: str, *, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> RunResult:
        """Execute a job and wait for it. Never raises for what goes wrong within the run."""
        report_dead_runs(self.instance)
        definition = build_definitions(self.settings).resolve_job_def(job)
        with _quiet_console():
            result = definition.execute_in_process(
                instance=self.instance,
                tags={**(tags or {}), BY_COMMAND: "zk-pipeline"},
                run_config={**(config or {}), "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
        return RunResult(
            run_id=result.run_id,
            partitions=dict(_materialized(result)),
            failure=None if result.success else _why(result),
        )

    def _device_partitions(self, registered: Sequence[str]) -> list[str]:
        name = str(DEVICE_PARTITIONS.name)
        change = partition_change(registered, self.instance.get_dynamic_partitions(name), poll_in_flight=True)
        if change.add:
            self.instance.add_dynamic_partitions(name, change.add)
        return list(self.instance.get_dynamic_partitions(name))


@contextmanager
def open_launcher(settings: Settings) -> Iterator[Launcher]:
    """A launcher on the instance of DAGSTER_HOME, which must be exported (`home.export_home`)."""
    with dg.DagsterInstance.get() as instance:
        yield Launcher(settings, instance)


def newest_work_date(settings: Settings, now: Callable[[], Any]) -> date:
    return last_work_date(settings, now())


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


def _materialized(result: dg.ExecuteInProcessResult) -> Iterator[tuple[str, dict[str, Any]]]:
    for event in result.get_asset_materialization_events():
        materialization = event.step_materialization_data.materialization
        if materialization.partition is not None:
            values = {key: value.value for key, value in materialization.metadata.items()}
            yield materialization.partition, values


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        data = event.event_specific_data if event.is_step_failure else None
        if isinstance(data, dg.StepFailureData if hasattr(dg, "StepFailureData") else object) and data is not None:
            user = getattr(data, "user_failure_data", None)
            if user is not None and user.description:
                return str(user.description)
            error = getattr(data, "error", None)
            if error is not None:
                cause = error.cause or error
                return str(cause.message).strip().splitlines()[0]
    return "the run failed; its events say why"
