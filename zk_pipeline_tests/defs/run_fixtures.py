"""Helpers that run jobs in this process and read their results from the instance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import dagster as dg

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.automation.sensors import sensors
from zk_pipeline.defs.checks.quality_checks import quality_sensor
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import DateRange, work_date_partitions
from zk_pipeline.defs.resources import resources
from zk_pipeline.runs.launcher import Launcher, RunResult
from zk_pipeline.store.store import Store, utc_now

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def poll_all(launcher: Launcher, store: Store) -> RunResult:
    """Poll all enabled devices, whose partitions must be contiguous."""
    devices = store.devices.all()
    (result,) = launcher.poll([one.name for one in devices if one.enabled], [one.name for one in devices])
    return result


def statuses(launcher: Launcher, asset: str, keys: Sequence[str | date]) -> dict[str, str]:
    """Status of each partition in the UI: `materialized`, `failed`, `in_progress` or `missing`."""
    partitions: dg.PartitionsDefinition[str] = (
        Names().device_partitions if asset == "raw_punches" else work_date_partitions(load_settings())
    )
    names = [str(key) for key in keys]
    found = launcher.instance.get_status_by_partition(dg.AssetKey(asset), names, partitions) or {}
    return {name: status.value.lower() if (status := found.get(name)) else "missing" for name in names}


def quality_tick(launcher: Launcher, cursor: str | None = None) -> tuple[dict[str, bool], str | None]:
    """Tick `quality_check_sensor`, log its evaluations as the daemon does; returns check → passed, and the cursor."""
    settings = load_settings()
    sensor = quality_sensor(settings)
    with dg.build_sensor_context(instance=launcher.instance, resources=resources(settings), cursor=cursor) as context:
        data = sensor.evaluate_tick(context)
    for event in data.asset_events:
        launcher.instance.report_runless_asset_event(event)
    evaluated = [event for event in data.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    return {event.check_name: event.passed for event in evaluated}, data.cursor


def observe_dates(launcher: Launcher, cursor: str | None = None) -> tuple[list[str], str | None]:
    """Tick `new_punches_sensor`, log its observations as the daemon does; returns the work dates, and the cursor."""
    (sensor,) = (one for one in sensors(launcher.settings) if one.name == "new_punches_sensor")
    given = resources(launcher.settings)
    with dg.build_sensor_context(instance=launcher.instance, resources=given, cursor=cursor) as context:
        data = sensor.evaluate_tick(context)
    for event in data.asset_events:
        launcher.instance.report_runless_asset_event(event)
    return [str(event.partition) for event in data.asset_events], data.cursor


def run_status(launcher: Launcher, result: RunResult) -> dg.DagsterRunStatus:
    run = launcher.instance.get_run_by_id(result.run_id)
    assert run is not None
    return run.status


def deliver(launcher: Launcher, first: date, last: date, **config: object) -> RunResult:
    return launcher.sync(DateRange(first, last), config)


def table_of(value: object) -> list[dict[str, object]]:
    """Rows of a table in metadata, of which `metadata_of` gives the value."""
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def metadata_of(launcher: Launcher, asset: str, partition: str | None = None) -> dict[str, object]:
    """Metadata of the latest materialization, as plain values."""
    wanted = dg.AssetRecordsFilter(
        asset_key=dg.AssetKey(asset), asset_partitions=None if partition is None else [partition]
    )
    records = launcher.instance.fetch_materializations(wanted, limit=1).records
    assert records, f"{asset} {partition} was not materialized"
    made = records[0].asset_materialization
    assert made is not None
    return {name: value.value for name, value in made.metadata.items()}


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, name: str) -> str | None:
    """Evaluate a schedule or sensor, do what the daemon does with its result, and return its skip reason."""
    repository, resources = definitions.get_repository_def(), definitions.resources
    if name.endswith("_schedule"):
        schedule = repository.get_schedule_def(name)
        with dg.build_schedule_context(instance, resources=resources, scheduled_execution_time=utc_now()) as context:
            ticked = schedule.evaluate_tick(context)
        run(definitions, instance, schedule.job_name, ticked.run_requests or ())
        return ticked.skip_message
    sensor = repository.get_sensor_def(name)
    with dg.build_sensor_context(instance, definitions=definitions, resources=resources) as sensor_context:
        found = sensor.evaluate_tick(sensor_context)
    for change in found.dynamic_partitions_requests or ():
        assert isinstance(change, dg.AddDynamicPartitionsRequest)
        instance.add_dynamic_partitions(change.partitions_def_name, list(change.partition_keys))
    for event in found.asset_events:
        instance.report_runless_asset_event(event)
    if found.run_requests and sensor.job_name:
        run(definitions, instance, sensor.job_name, found.run_requests)
    return found.skip_message


def run(
    definitions: dg.Definitions, instance: dg.DagsterInstance, job_name: str, requests: Sequence[dg.RunRequest]
) -> None:
    job = definitions.resolve_job_def(job_name)
    assert job.executor_def.name == "in_process"
    for request in requests:
        config = {**request.run_config, **QUIET}
        assert job.execute_in_process(instance=instance, tags=dict(request.tags), run_config=config).success
