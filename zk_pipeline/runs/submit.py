"""Submit a run to the run queue, from which the daemon launches it on a worker, and wait for its end.

The run belongs to the code location `zk_pipeline`: only POLL_QUEUES submits runs, which needs a location of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    DEFAULT_DAGSTER_ENTRY_POINT,
    WILL_RETRY_TAG,
    JobPythonOrigin,
    ModuleCodePointer,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
    RepositoryPythonOrigin,
)
from zk_pipeline.defs.instance.daemon_health import daemon_status
from zk_pipeline.defs.names import Names
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.store import utc_now

_LOCATION, _REPOSITORY = "zk_pipeline", "__repository__"
_POLL_INTERVAL_SECONDS = 0.5
_MAX_TAG_POLLS = 60  # after the end of a failed run: a live daemon writes the retry tag within this time


def check_daemon(instance: dg.DagsterInstance, names: Names) -> None:
    """Raises ZkPipelineError if no daemon would dequeue a run."""
    status = daemon_status(instance, names, utc_now())
    if not status.is_daemon_alive:
        raise ZkPipelineError(f"no worker can receive runs: the Dagster daemon has had {status.daemon_message()}")


def submit(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    run_id: str,
    *,
    tags: Mapping[str, str],
    config: Mapping[str, Any],
) -> str:
    """Submit a run of `job` to the run queue, as the UI does. Returns its id."""
    pointer = ModuleCodePointer("zk_pipeline.definitions", "defs", None)
    origin = RepositoryPythonOrigin(
        sys.executable, pointer, container_image=None, entry_point=DEFAULT_DAGSTER_ENTRY_POINT, container_context=None
    )
    run = instance.create_run_for_job(
        job,
        run_id=run_id,
        run_config=config,
        tags={**job.run_tags, **tags},
        remote_job_origin=remote_job_origin(job.name),
        job_code_origin=JobPythonOrigin(job.name, origin),
    )
    # `instance.submit_run` requires a workspace, which starts a code server; neither run coordinator uses it.
    workspace: Any = None
    instance.run_coordinator.submit_run(dg.SubmitRunContext(run, workspace))
    return run.run_id


def remote_job_origin(job: str) -> RemoteJobOrigin:
    """Origin of a job of the code location `zk_pipeline`, which a run names."""
    return RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(_LOCATION), _REPOSITORY), job)


def wait_for(
    instance: dg.DagsterInstance, run_id: str, *, sleep: Callable[[float], None] = time.sleep
) -> dg.DagsterRun:
    """Wait for the end of a run and return it, for a failed run with the tag that announces a retry.

    Dagster writes that tag shortly after the status; the daemon writes it if the process died in between. A run
    without a worker ends by Dagster's start timeout.
    """
    tag_polls = 0
    while True:
        run = instance.get_run_by_id(run_id)
        if run is None:
            raise ZkPipelineError(f"run {run_id} was deleted before it ended")
        if run.is_finished:
            is_retry_undecided = (
                run.status is dg.DagsterRunStatus.FAILURE
                and instance.run_retries_enabled
                and WILL_RETRY_TAG not in run.tags
            )
            if not is_retry_undecided or tag_polls == _MAX_TAG_POLLS:
                return run
            tag_polls += 1
        check_for_end()
        sleep(_POLL_INTERVAL_SECONDS)


def failure_message(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Error message of a failed or canceled run in one line, from its events; None on success."""
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return None
    retry = " (the daemon retries the run)" if run.tags.get(WILL_RETRY_TAG) == "true" else ""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        user_failure = data.user_failure_data
        if user_failure is not None and user_failure.description:
            return f"{user_failure.description}{retry}"
        if data.error is not None:
            cause = data.error.cause or data.error
            return f"{cause.message.strip().splitlines()[0]}{retry}"
    kinds = {dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        if message := " ".join((entry.get_dagster_event().message or "").split()):
            return f"{message}{retry}"
    return f"the run ended as {run.status.value.lower()}{retry}"


def was_interrupted(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a signal ended a step of the run."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    errors = [entry.get_dagster_event().step_failure_data.error for entry in entries]
    return any(error is not None and error.cls_name in _INTERRUPTS for error in errors)


_INTERRUPTS = {dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__}
