"""A Celery worker that does the runs of some queues, with the broker that the instance's launcher is configured with.

Each run has a process of its own, forked from one in which everything is imported, and ends with its worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import dagster as dg
from celery.signals import worker_process_init
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

import zk_pipeline.definitions  # noqa: F401 (so that no run has to)
from zk_pipeline.defs.dagster_internals import setup_interrupt_handlers
from zk_pipeline.defs.instance.celery_launcher import WorkerLauncher
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import end_with, process_identity


def work(queues: Sequence[str], *, name: str, concurrency: int) -> int:
    """Work until told to end (SIGTERM lets runs finish first); the exit code.

    Raises UsageError where `dagster.yaml` gives runs to no worker.
    """
    with dg.DagsterInstance.get() as instance:  # closed before there are children
        launcher = instance.run_launcher
        if not isinstance(launcher, WorkerLauncher):
            raise UsageError(
                "dagster.yaml gives runs to no worker: take that of deploy/celery, whose run_launcher is WorkerLauncher"
            )
        app = launcher.celery
    create_execute_job_task(app)
    create_resume_job_task(app)
    worker_process_init.connect(partial(_begin_run_process, process_identity()), weak=False)
    # A run has a process of its own, so that each sees the settings of now, and what one leaves behind nobody has.
    app.worker_main(
        [
            *("worker", "--queues", ",".join(queues), "--hostname", f"{name}@%h", "--loglevel", "INFO"),
            *("--concurrency", str(concurrency), "--max-tasks-per-child", "1", "--without-gossip", "--without-mingle"),
        ]
    )
    return 0


def _begin_run_process(worker: str, **_: Any) -> None:
    end_with(worker)
    setup_interrupt_handlers()  # a run that is told to end says how it ended
