"""Runs whose process is gone. Dagster's default launcher cannot tell, and a run that stays `started` for ever would
stop every schedule that waits for it. So each run notes its process, and whoever asks first puts a dead one on
record.
"""

from __future__ import annotations

import os

import dagster as dg

from zk_pipeline.runtime.processes import exit_with_parent, is_alive, process_identity

PROCESS_TAG = ".dagster/zk_pipeline_process"  # this prefix keeps it out of the run list in the UI

_WITH_PROCESS = [
    dg.DagsterRunStatus.NOT_STARTED,  # a command's run has its process from the first moment
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def note_process(instance: dg.DagsterInstance, run_id: str) -> None:
    """To be called in a run's own process, which from then on ends when `up` was killed."""
    exit_with_parent(os.environ)
    instance.add_run_tags(run_id, {PROCESS_TAG: process_identity()})


def fail_orphaned_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark runs as failed whose process is gone; their ids."""
    dead = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_WITH_PROCESS)):
        process = _process_of(instance, run)
        if process is not None and not is_alive(process):
            instance.report_run_failed(run, _words(process))
            dead.append(run.run_id)
    return dead


def _process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """None while the run has not noted one: a retry begins with the tags of the run it repeats, its process too."""
    process = run.tags.get(PROCESS_TAG)
    repeated = None if process is None or run.parent_run_id is None else instance.get_run_by_id(run.parent_run_id)
    return None if repeated is not None and repeated.tags.get(PROCESS_TAG) == process else process


def _words(process: str) -> str:
    host, pid, _ = process.rsplit(":", 2)
    return (
        f"The process of this run ({pid} on {host}) exited unexpectedly: it was killed, ran out of memory, or the host "
        "was restarted."
    )
