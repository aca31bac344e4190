"""Assembles all Dagster definitions from one set of settings. Tests call it with settings of their own."""

from __future__ import annotations

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.assets.crm_sync import crm_assets
from zk_pipeline.defs.assets.daily_attendance import attendance_assets
from zk_pipeline.defs.assets.raw_punches import terminal_assets
from zk_pipeline.defs.automation.alert_sensors import alert_sensors
from zk_pipeline.defs.automation.jobs import jobs
from zk_pipeline.defs.automation.schedules import schedules
from zk_pipeline.defs.automation.sensors import sensors
from zk_pipeline.defs.checks.quality_checks import quality_checks, quality_sensor
from zk_pipeline.defs.resources import resources


@dg.configured(
    dg.colored_console_logger, config_schema={"log_level": dg.Field(str, is_required=False, default_value="WARNING")}
)
def run_console(config: dict[str, str]) -> dict[str, str]:
    """Console logger of runs: warnings and errors only, since the event log has every message."""
    return config


def build_definitions(settings: Settings) -> dg.Definitions:
    """All definitions for `settings`. Opens no file and no connection."""
    return dg.Definitions(
        assets=[*terminal_assets(settings), *attendance_assets(settings), *crm_assets(settings)],
        asset_checks=quality_checks(settings),
        jobs=jobs(),
        schedules=schedules(settings),
        sensors=[*sensors(settings), quality_sensor(settings), *alert_sensors(settings)],
        resources=resources(settings),
        # One process per run: a second process for the only step doubles the CPU time.
        executor=dg.in_process_executor,
        loggers={"console": run_console},
    )
