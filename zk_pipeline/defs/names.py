"""Dagster names of one pipeline. A key prefix makes them unique in a code location and in an instance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import dagster as dg

SENSORS = (
    "device_registry_sensor",
    "new_punches_sensor",
    "pushed_punches_sensor",
    "quality_check_sensor",
    "run_failure_alert_sensor",
    "alert_sensor",
)


def schedule_name(job: str) -> str:
    return f"{job}_schedule"


@dataclass(frozen=True)
class Names:
    """Names of assets, jobs, schedules, sensors, resources, pools and partitions; `key_prefix` as in the settings."""

    key_prefix: tuple[str, ...] = ()
    pipeline_tag: ClassVar[str] = "zk_pipeline/pipeline"

    def unique(self, name: str) -> str:
        """Name of a job, schedule, sensor, resource, operation or partitions definition."""
        return "_".join((*self.key_prefix, name))

    def asset(self, name: str) -> dg.AssetKey:
        import dagster as dg  # noqa: PLC0415 (slow to import: reports use the other names)

        return dg.AssetKey([*self.key_prefix, name])

    def step(self, asset: str) -> str:
        """Step that materializes an asset, as in run config."""
        return self.asset(asset).to_python_identifier()

    @property
    def assets(self) -> tuple[dg.AssetKey, ...]:
        return tuple(map(self.asset, ("devices", "raw_punches", "daily_attendance", "crm_sync")))

    @property
    def work_dates(self) -> dg.AssetKey:
        """External asset: the store's table of work dates."""
        return self.asset("work_dates")

    @property
    def device_partitions(self) -> dg.DynamicPartitionsDefinition:
        import dagster as dg  # noqa: PLC0415

        return dg.DynamicPartitionsDefinition(name=self.device_partitions_name)

    @property
    def device_partitions_name(self) -> str:
        return self.unique("devices")

    @property
    def quality_checks(self) -> str:
        """Step that evaluates all checks."""
        return self.unique("quality_checks")

    @property
    def alert_sensor(self) -> str:
        return self.unique("alert_sensor")

    @property
    def pipeline(self) -> str:
        """Value of the tag of the pipeline's own runs."""
        return "/".join(self.key_prefix) or "zk_pipeline"

    @property
    def run_tags(self) -> dict[str, str]:
        return {self.pipeline_tag: self.pipeline}

    @property
    def instigators(self) -> frozenset[str]:
        """Names of the schedules and sensors."""
        return frozenset((*map(schedule_name, self.jobs), *map(self.unique, SENSORS)))

    # Jobs.

    @property
    def jobs(self) -> tuple[str, ...]:
        return (self.poll, self.process, self.sync, self.retry, self.cleanup)

    @property
    def poll(self) -> str:
        return self.unique("poll_devices")

    @property
    def process(self) -> str:
        return self.unique("process_attendance")

    @property
    def sync(self) -> str:
        return self.unique("sync_to_crm")

    @property
    def retry(self) -> str:
        return self.unique("retry_failed_syncs")

    @property
    def cleanup(self) -> str:
        return self.unique("daily_cleanup")

    # Pools.

    @property
    def pools(self) -> tuple[str, ...]:
        return (self.terminals_pool, self.attendance_pool, self.crm_pool)

    @property
    def terminals_pool(self) -> str:
        return self._pool("terminals")

    @property
    def attendance_pool(self) -> str:
        return self._pool("attendance")

    @property
    def crm_pool(self) -> str:
        return self._pool("crm")

    def _pool(self, name: str) -> str:
        """Pools belong to the whole instance: also without a prefix their names begin with that of the package."""
        return f"zk_pipeline_{self.unique(name)}"
