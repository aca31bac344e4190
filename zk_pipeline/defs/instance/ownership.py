"""Ownership of runs, schedules and sensors in a Dagster instance that other pipelines and teams use as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.names import Names

ASSET_JOB = "__ASSET_JOB"  # the job of the UI's Materialize button, of all assets of a code location


def owns_run(run: dg.DagsterRun, names: Names) -> bool:
    """Ownership of a run: one of the pipeline's jobs, or a run of assets and checks that are all the pipeline's.

    Another team may have a job of the same name, so the tag decides. Runs of versions without the tag have recorded
    their process.
    """
    if run.job_name in names.jobs:
        tag = run.tags.get(names.pipeline_tag)
        return PROCESS_TAG in run.tags if tag is None else tag == names.pipeline
    assets = {*(run.asset_selection or ()), *(key.asset_key for key in run.asset_check_selection or ())}
    return run.job_name == ASSET_JOB and bool(assets) and assets <= set(names.assets)


def own_runs(
    instance: dg.DagsterInstance,
    names: Names,
    runs_filter: dg.RunsFilter,
    *,
    ascending: bool = False,
    page_size: int = 20,
) -> Iterator[dg.RunRecord]:
    """Records of the pipeline's own runs, newest first unless `ascending`, read in pages."""
    cursor: str | None = None
    while True:
        records = instance.get_run_records(runs_filter, limit=page_size, ascending=ascending, cursor=cursor)
        yield from (record for record in records if owns_run(record.dagster_run, names))
        if len(records) < page_size:
            return
        cursor = records[-1].dagster_run.run_id


def own_instigators(instance: dg.DagsterInstance, names: Names, location: str | None = None) -> Iterator[Any]:
    """States of the pipeline's own schedules and sensors; `location`: the code location if it is known."""
    for state in instance.all_instigator_state():
        origin = state.origin.repository_origin.code_location_origin
        if state.instigator_name in names.instigators and location in (None, origin.location_name):
            yield state
