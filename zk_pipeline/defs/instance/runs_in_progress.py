"""Whether a job is already being worked on, so that ticks do not pile up behind a slow run."""

from __future__ import annotations

import dagster as dg

from zk_pipeline.defs.instance.orphaned_runs import fail_orphaned_runs
from zk_pipeline.defs.job_names import POLL

QUEUE_TAG = "zk_pipeline/queue"  # whose workers a poll is for, where POLL_QUEUES says so

UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def in_flight(instance: dg.DagsterInstance, *job_names: str) -> str | None:
    """What to say in a SkipReason when a run of one of the jobs is under way; None when none is."""
    fail_orphaned_runs(instance)
    for job_name in job_names:
        runs = instance.get_runs(dg.RunsFilter(job_name=job_name, statuses=UNDER_WAY), limit=1)
        if runs:
            return f"run {runs[0].run_id} of {job_name} is still {runs[0].status.value.lower()}"
    return None


def polls_in_flight(instance: dg.DagsterInstance) -> dict[str | None, str]:
    """By queue, what to say of a poll that is under way there; None is the queue of one that may read any terminal."""
    fail_orphaned_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(job_name=POLL, statuses=UNDER_WAY))
    return {run.tags.get(QUEUE_TAG): f"run {run.run_id} of {POLL} is still {run.status.value.lower()}" for run in runs}


def any_in_flight(instance: dg.DagsterInstance) -> str | None:
    """In words, one run of any job that is under way; None when none is."""
    fail_orphaned_runs(instance)
    runs = instance.get_runs(dg.RunsFilter(statuses=UNDER_WAY), limit=1)
    return f"run {runs[0].run_id} of {runs[0].job_name} is {runs[0].status.value.lower()}" if runs else None
