"""Runs in progress. A tick is skipped while its job has one, so that runs do not queue up behind a slow run."""

from __future__ import annotations

import dagster as dg

from zk_pipeline.defs.instance.orphaned_runs import fail_orphaned_runs

QUEUE_TAG = "zk_pipeline/queue"  # queue of a poll, if POLL_QUEUES is set

UNFINISHED_RUN_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def run_in_progress(instance: dg.DagsterInstance, *job_names: str) -> str | None:
    """Skip reason if a run of one of the jobs is in progress; None if no run is."""
    fail_orphaned_runs(instance)
    for job_name in job_names:
        runs = instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNFINISHED_RUN_STATUSES), limit=1)
        if runs:
            return f"run {runs[0].run_id} of {job_name} is still {runs[0].status.value.lower()}"
    return None


def polls_in_progress(instance: dg.DagsterInstance, job: str) -> dict[str | None, str]:
    """Skip reason per queue with a poll in progress; the key None is a poll without a queue, of any terminal."""
    fail_orphaned_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=UNFINISHED_RUN_STATUSES))
    return {run.tags.get(QUEUE_TAG): f"run {run.run_id} of {job} is still {run.status.value.lower()}" for run in runs}


def any_run_in_progress(instance: dg.DagsterInstance) -> str | None:
    """Message about one run in progress of any job; None if no run is."""
    fail_orphaned_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES), limit=1)
    return f"run {runs[0].run_id} of {runs[0].job_name} is {runs[0].status.value.lower()}" if runs else None


def is_being_materialized(instance: dg.DagsterInstance, asset: dg.AssetKey) -> bool:
    """Whether a run in progress has selected the asset."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES))
    return any(asset in (run.asset_selection or ()) for run in runs)
