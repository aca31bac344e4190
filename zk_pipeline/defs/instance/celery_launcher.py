"""Runs on Celery workers, each as a whole: dagster-celery's launcher, which also notices that a worker is gone.

Upstream believes for ever in a task that began: a worker that was killed leaves its run `started` (dagster #33493).
Here the worker itself is asked. Needs the extra `celery`; only a `dagster.yaml` that names this class imports it.
"""

# No postponed annotations: Dagster reads the class by its configuration.

import time
import warnings
from collections.abc import Mapping
from typing import Any

import dagster as dg
from celery import states
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError

from zk_pipeline.defs.dagster_internals import CheckRunHealthResult, WorkerStatus

# Upstream makes its task anew for every run, of which only the name counts.
warnings.filterwarnings("ignore", message="Task name 'execute_job' is already registered")

ANSWER_SECONDS = 3.0  # for a worker to say what it does
PATIENCE_SECONDS = 90.0  # of silence, before its run is taken for lost


class WorkerLauncher(CeleryRunLauncher):
    """Configured as CeleryRunLauncher."""

    def __init__(self, **config: Any):
        super().__init__(**config)
        self._silent_since: dict[str, float] = {}

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """What the worker says that began the run; it is lost if that does not know it, or is silent for too long."""
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:  # a command does it in its own process
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            _, worker = self._state(task_id)
            answers = self._asked("query_task", worker, task_id)
            state, _ = self._state(task_id)  # only now: it may just have ended
        except OperationalError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"the broker cannot be asked: {error}")
        if state in states.READY_STATES:
            is_well = state == states.SUCCESS
            status = WorkerStatus.SUCCESS if is_well else WorkerStatus.FAILED
            return CheckRunHealthResult(status, f"its Celery task ended as {state}")
        if any(task_id in known for known in answers.values()):
            self._silent_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return self._lost(run.run_id, worker, is_silent=worker not in answers)

    def _lost(self, run_id: str, worker: str | None, *, is_silent: bool) -> CheckRunHealthResult:
        if not is_silent:
            return CheckRunHealthResult(WorkerStatus.FAILED, f"{worker} was killed and started anew meanwhile")
        now = time.monotonic()
        silent = now - self._silent_since.setdefault(run_id, now)
        status = WorkerStatus.RUNNING if silent < PATIENCE_SECONDS else WorkerStatus.FAILED
        return CheckRunHealthResult(status, f"{worker or 'its worker'} has not answered for {silent:.0f} s")

    def terminate(self, run_id: str) -> bool:
        """A run that has begun is told to end and says so itself; one that waits for a worker has ended then."""
        run = self._instance.get_run_by_id(run_id)
        task_id = None if run is None else run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if run is None or run.is_finished or task_id is None:
            return False
        self._instance.report_run_canceling(run)
        self.celery.control.revoke(task_id, terminate=True)
        if self._state(task_id)[0] == states.PENDING:
            self._instance.report_run_canceled(run)
        return True

    def get_run_worker_debug_info(self, run: dg.DagsterRun, include_container_logs: bool | None = True) -> str | None:  # noqa: ARG002
        """Who listens to the run's queue."""
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        answers = self._asked("active_queues", None)
        listening = sorted(worker for worker, queues in answers.items() if queue in {one["name"] for one in queues})
        return f"Workers that listen to its queue, {queue}: {', '.join(listening) or 'none'}."

    def _state(self, task_id: str) -> tuple[str, str | None]:
        """What the results say of a task, and the worker that began it."""
        found: Mapping[str, Any] = self.celery.backend.get_task_meta(task_id)
        begun = found.get("result")
        return str(found["status"]), begun.get("hostname") if isinstance(begun, dict) else None

    def _asked(self, question: str, worker: str | None, *arguments: str) -> dict[str, Any]:
        """Answers by worker: of the one that is named, or of all."""
        whom = None if worker is None else [worker]
        inspect = self.celery.control.inspect(destination=whom, timeout=ANSWER_SECONDS)
        return getattr(inspect, question)(*arguments) or {}
