"""Runs in progress. A tick is skipped while its job has one, so that runs do not queue up behind a slow run."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from zk_pipeline.defs.instance.orphaned_runs import fail_orphaned_runs
from zk_pipeline.defs.instance.ownership import own_runs
from zk_pipeline.defs.names import Names

QUEUE_TAG = "zk_pipeline/queue"  # queue of a poll, if POLL_QUEUES is set

UNFINISHED_RUN_STATUSES = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def run_in_progress(instance: dg.DagsterInstance, names: Names, *job_names: str) -> str | None:
    """Skip reason if a run of one of the jobs is in progress; None if no run is."""
    fail_orphaned_runs(instance)
    for job_name in job_names:
        for run in _unfinished(instance, names, job_name):
            return _message(run, "still ")
    return None


def polls_in_progress(instance: dg.DagsterInstance, names: Names) -> dict[str | None, str]:
    """Skip reason per queue with a poll in progress; the key None is a poll without a queue, of any terminal."""
    fail_orphaned_runs(instance)
    return {run.tags.get(QUEUE_TAG): _message(run, "still ") for run in _unfinished(instance, names, names.poll)}


def any_run_in_progress(instance: dg.DagsterInstance, names: Names) -> str | None:
    """Message about one run in progress of the pipeline; None if no run is."""
    fail_orphaned_runs(instance)
    return next((_message(run) for run in _unfinished(instance, names)), None)


def _unfinished(instance: dg.DagsterInstance, names: Names, job: str | None = None) -> Iterator[dg.DagsterRun]:
    runs_filter = dg.RunsFilter(job_name=job, statuses=UNFINISHED_RUN_STATUSES)
    return (record.dagster_run for record in own_runs(instance, names, runs_filter))


def _message(run: dg.DagsterRun, still: str = "") -> str:
    return f"run {run.run_id} of {run.job_name} is {still}{run.status.value.lower()}"


def is_processing(instance: dg.DagsterInstance, names: Names) -> bool:
    """True while a run materializes `daily_attendance`."""
    asset = names.asset("daily_attendance")
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES))
    return any(run.job_name == names.process or asset in (run.asset_selection or ()) for run in runs)
