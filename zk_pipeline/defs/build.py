"""Assembles all Dagster definitions from one set of settings. Tests call it with settings of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.crm_sync import crm_assets
from zk_pipeline.defs.assets.daily_attendance import attendance_assets
from zk_pipeline.defs.assets.freshness import freshness_policies
from zk_pipeline.defs.assets.raw_punches import terminal_assets
from zk_pipeline.defs.assets.work_dates import work_dates_asset
from zk_pipeline.defs.automation.alert_sensors import alert_sensors
from zk_pipeline.defs.automation.jobs import jobs
from zk_pipeline.defs.automation.push_sensor import push_sensor
from zk_pipeline.defs.automation.schedules import schedules
from zk_pipeline.defs.automation.sensors import sensors
from zk_pipeline.defs.checks.quality_checks import quality_checks, quality_sensor
from zk_pipeline.defs.resources import resources
from zk_pipeline.devices.models import Device


def build_definitions(
    settings: Settings,
    *,
    group_name: str | None = None,
    schedule_crons: Mapping[str, str | Sequence[str] | None] | None = None,
    automation: bool = True,
    devices: Sequence[Device] = (),
    is_in_process: bool = False,
) -> dg.Definitions:
    """All definitions for `settings`, to merge with others: they name no executor and no logger. Opens no file and no
    connection.

    `group_name`: one group for all assets. `schedule_crons`: cron expressions by job, such as `poll_devices`; None
    leaves out its schedule. `automation`: whether schedules and sensors run by default; if not, nothing has to be
    fresh. `devices`: devices that `device_registry_sensor` registers and keeps as declared; others stay unchanged.
    `is_in_process`: whether the default executor of the code location is the in-process one; only then a run of the
    Materialize button records its process, and fails at once if that is killed.
    """
    sensor_status = dg.DefaultSensorStatus.RUNNING if automation else dg.DefaultSensorStatus.STOPPED
    schedule_status = dg.DefaultScheduleStatus.RUNNING if automation else dg.DefaultScheduleStatus.STOPPED
    policies = freshness_policies(settings, schedule_crons or {}) if automation else {}

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        policy = policies.get(spec.key.path[-1])
        return spec.replace_attributes(group_name=group_name or spec.group_name, freshness_policy=policy)

    assets: list[dg.AssetsDefinition | dg.AssetSpec] = [
        *terminal_assets(settings),
        work_dates_asset(settings),
        *attendance_assets(settings),
        *crm_assets(settings),
    ]
    return dg.Definitions(
        assets=list(dg.map_asset_specs(completed, assets)),
        asset_checks=quality_checks(settings),
        jobs=jobs(settings),
        schedules=schedules(settings, schedule_crons, schedule_status),
        sensors=[
            *sensors(settings, sensor_status, devices),
            push_sensor(settings, sensor_status),
            quality_sensor(settings, sensor_status),
            *alert_sensors(settings, sensor_status),
        ],
        resources=resources(settings, is_in_process=is_in_process),
    )
