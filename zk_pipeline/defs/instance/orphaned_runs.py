"""Orphaned runs: unfinished runs whose process is gone.

Dagster's default run launcher does not detect them, and a run that stays STARTED blocks the schedules of its job. So
each run records its process in a tag, and every check for unfinished runs first marks orphaned runs as failed.
"""

from __future__ import annotations

import os

import dagster as dg

from zk_pipeline.runtime.processes import exit_with_parent, is_alive, process_identity

PROCESS_TAG = ".dagster/zk_pipeline_process"  # the UI's run list hides tags with this prefix

_STATUSES_WITH_PROCESS = [
    dg.DagsterRunStatus.NOT_STARTED,  # a run of a command has its process from its creation
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def record_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """Record the process of a run in a tag, and make it end with `zk-pipeline up`. Called in the run's process."""
    exit_with_parent(os.environ)
    instance.add_run_tags(run_id, {PROCESS_TAG: process_identity()})


def fail_orphaned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs whose process is gone as failed. Returns their ids."""
    orphaned = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_STATUSES_WITH_PROCESS)):
        process = _process_of(instance, run)
        if process is not None and not is_alive(process):
            instance.report_run_failed(run, _orphan_message(process))
            orphaned.append(run.run_id)
    return orphaned


def _process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Process of a run; None until the run has recorded it. A retry starts with the tags of its parent run, including
    that run's process.
    """
    process = run.tags.get(PROCESS_TAG)
    parent = None if process is None or run.parent_run_id is None else instance.get_run_by_id(run.parent_run_id)
    return None if parent is not None and parent.tags.get(PROCESS_TAG) == process else process


def _orphan_message(process: str) -> str:
    host, pid, _ = process.rsplit(":", 2)
    return f"The process of this run ({pid} on {host}) exited unexpectedly (killed, out of memory, or host restart)."
