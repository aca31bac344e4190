"""Run launcher for Celery workers that detects lost workers.

dagster-celery never re-checks a task once it has started: the run of a killed worker stays STARTED (dagster #33493).
This launcher queries the worker itself. Requires the extra `celery`; imported only if `dagster.yaml` names this class.
"""

# No postponed annotations: Dagster inspects the class.

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

# dagster-celery registers its task again for every run, under the same name.
warnings.filterwarnings("ignore", message="Task name 'execute_job' is already registered")

REPLY_TIMEOUT_SECONDS = 3.0  # of one query to a worker
LOST_WORKER_TIMEOUT_SECONDS = 90.0  # without a reply, after which the run counts as lost


class WorkerLauncher(CeleryRunLauncher):
    """CeleryRunLauncher with the same configuration, and a health check of the worker."""

    def __init__(self, **config: Any):
        super().__init__(**config)
        self._unreachable_since: dict[str, float] = {}  # run id → monotonic seconds

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """State of the run's task. FAILED if its worker does not know the task, or has not replied for too long."""
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:  # a command executes the run in its own process
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        try:
            _, worker = self._state(task_id)
            replies = self._inspect("query_task", worker, task_id)
            state, _ = self._state(task_id)  # read after the query: the task may have ended in between
        except OperationalError as error:
            return CheckRunHealthResult(WorkerStatus.RUNNING, f"the broker is unreachable: {error}")
        if state in states.READY_STATES:
            status = WorkerStatus.SUCCESS if state == states.SUCCESS else WorkerStatus.FAILED
            return CheckRunHealthResult(status, f"its Celery task ended as {state}")
        if any(task_id in tasks for tasks in replies.values()):
            self._unreachable_since.pop(run.run_id, None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return self._unknown_task(run.run_id, worker, is_reachable=worker in replies)

    def _unknown_task(self, run_id: str, worker: str | None, *, is_reachable: bool) -> CheckRunHealthResult:
        if is_reachable:
            return CheckRunHealthResult(WorkerStatus.FAILED, f"{worker} was killed and restarted, and has lost the run")
        now = time.monotonic()
        seconds = now - self._unreachable_since.setdefault(run_id, now)
        status = WorkerStatus.RUNNING if seconds < LOST_WORKER_TIMEOUT_SECONDS else WorkerStatus.FAILED
        return CheckRunHealthResult(status, f"{worker or 'its worker'} has not replied for {seconds:.0f} s")

    def terminate(self, run_id: str) -> bool:
        """Cancel a run. A started run gets SIGTERM and reports its cancellation; a queued task ends the run at once."""
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
        """The workers that consume the run's queue."""
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        replies = self._inspect("active_queues", None)
        consumers = sorted(worker for worker, queues in replies.items() if queue in {one["name"] for one in queues})
        return f"Workers that consume its queue {queue}: {', '.join(consumers) or 'none'}."

    def _state(self, task_id: str) -> tuple[str, str | None]:
        """Celery state of a task from the result backend, and the worker that started it."""
        meta: Mapping[str, Any] = self.celery.backend.get_task_meta(task_id)
        result = meta.get("result")
        return str(meta["status"]), result.get("hostname") if isinstance(result, dict) else None

    def _inspect(self, method: str, worker: str | None, *arguments: str) -> dict[str, Any]:
        """Replies of one worker, or of all workers (None), by worker."""
        destination = None if worker is None else [worker]
        inspect = self.celery.control.inspect(destination=destination, timeout=REPLY_TIMEOUT_SECONDS)
        return getattr(inspect, method)(*arguments) or {}
