"""Everything Dagster is told, assembled from one set of settings: the seam for tests."""

from __future__ import annotations

import dagster as dg

from zk_pipeline.defs.attendance import attendance_assets
from zk_pipeline.defs.crm import crm_assets
from zk_pipeline.defs.jobs import jobs
from zk_pipeline.defs.resources import resources
from zk_pipeline.defs.schedules import schedules
from zk_pipeline.defs.sensors import sensors
from zk_pipeline.defs.terminals import terminal_assets
from zk_pipeline.settings import Settings


def build_definitions(settings: Settings) -> dg.Definitions:
    """Assets, jobs, schedules and sensors for `settings`. Opens no file and no connection."""
    return dg.Definitions(
        assets=[*terminal_assets(), *attendance_assets(settings), *crm_assets(settings)],
        jobs=jobs(),
        schedules=schedules(settings),
        sensors=sensors(settings),
        resources=resources(settings),
        # One process per run: a second one for its only step costs twice the CPU.
        executor=dg.in_process_executor,
    )
