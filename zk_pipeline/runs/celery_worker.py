"""Celery worker that executes the runs of given queues. The broker is that of the instance's run launcher.

Each run executes in its own process, forked after all imports, and ends with its worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from celery.signals import worker_process_init
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

import zk_pipeline.definitions  # noqa: F401 (imported once, before the worker forks)
from zk_pipeline.defs.dagster_internals import setup_interrupt_handlers
from zk_pipeline.defs.instance.celery_launcher import WorkerLauncher
from zk_pipeline.errors import UsageError
from zk_pipeline.runs.instance import open_instance
from zk_pipeline.runtime.processes import exit_with_process, process_identity


def run_worker(queues: Sequence[str], *, name: str, concurrency: int) -> int:
    """Consume the queues until SIGTERM, which lets runs finish first. Returns the exit code.

    Raises UsageError if the run launcher in `dagster.yaml` is not WorkerLauncher.
    """
    with open_instance() as instance:  # closed before the worker forks
        launcher = instance.run_launcher
        if not isinstance(launcher, WorkerLauncher):
            raise UsageError(
                "the run_launcher in dagster.yaml is not WorkerLauncher: use the dagster.yaml in deploy/celery"
            )
        app = launcher.celery
    create_execute_job_task(app)
    create_resume_job_task(app)
    worker_process_init.connect(partial(_begin_run_process, process_identity()), weak=False)
    # One process per run: each run loads current settings and shares no state with others.
    app.worker_main(
        [
            *("worker", "--queues", ",".join(queues), "--hostname", f"{name}@%h", "--loglevel", "INFO"),
            *("--concurrency", str(concurrency), "--max-tasks-per-child", "1", "--without-gossip", "--without-mingle"),
        ]
    )
    return 0


def _begin_run_process(worker: str, **_: Any) -> None:
    exit_with_process(worker)
    setup_interrupt_handlers()  # a terminated run records its termination
