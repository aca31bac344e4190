"""A run for somebody else to do: into the instance's queue, from which the daemon gives it to a worker, and waiting
until it has ended.
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
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.store import utc_now

_LOCATION, _REPOSITORY = "zk_pipeline", "__repository__"
_LOOK_EVERY = 0.5  # seconds
_LOOKS_FOR_TAG = 60  # after the end of a failed run: as long as a daemon that is alive needs


def check_daemon(instance: dg.DagsterInstance) -> None:
    """Raises ZkPipelineError where nobody would take a run from the queue."""
    found = daemon_status(instance, utc_now())
    if not found.is_daemon_alive:
        raise ZkPipelineError(f"nobody takes runs to the workers: the daemon is {found.daemon_words()}")


def submit(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    run_id: str,
    *,
    tags: Mapping[str, str],
    config: Mapping[str, Any],
) -> str:
    """Put a run of `job` into the queue, as the UI does; its id."""
    location = RegisteredCodeLocationOrigin(_LOCATION)
    pointer = ModuleCodePointer("zk_pipeline.definitions", "defs", None)
    origin = RepositoryPythonOrigin(
        sys.executable, pointer, container_image=None, entry_point=DEFAULT_DAGSTER_ENTRY_POINT, container_context=None
    )
    run = instance.create_run_for_job(
        job,
        run_id=run_id,
        run_config=config,
        tags=tags,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(location, _REPOSITORY), job.name),
        job_code_origin=JobPythonOrigin(job.name, origin),
    )
    # `instance.submit_run` wants a workspace, which starts a code server; no coordinator of ours looks at it.
    workspace: Any = None
    instance.run_coordinator.submit_run(dg.SubmitRunContext(run, workspace))
    return run.run_id


def wait_for(
    instance: dg.DagsterInstance, run_id: str, *, sleep: Callable[[float], None] = time.sleep
) -> dg.DagsterRun:
    """The run, once it has ended, with the tag that says whether a failed one is retried.

    Dagster writes that tag a moment after the status, and the daemon writes it where the process died in between.
    A queue whose worker is away ends the run, too, by its time-out for starting.
    """
    looks_for_tag = 0
    while True:
        run = instance.get_run_by_id(run_id)
        if run is None:
            raise ZkPipelineError(f"run {run_id} was deleted while it was waited for")
        if run.is_finished:
            is_undecided = (
                run.status is dg.DagsterRunStatus.FAILURE
                and instance.run_retries_enabled
                and WILL_RETRY_TAG not in run.tags
            )
            if not is_undecided or looks_for_tag == _LOOKS_FOR_TAG:
                return run
            looks_for_tag += 1
        check_for_end()
        sleep(_LOOK_EVERY)


def why_failed(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """In a line, what its events say; None for a run that succeeded."""
    if run.status is dg.DagsterRunStatus.SUCCESS:
        return None
    again = " (the daemon starts it once more)" if run.tags.get(WILL_RETRY_TAG) == "true" else ""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        data = entry.get_dagster_event().step_failure_data
        said = data.user_failure_data
        if said is not None and said.description:
            return f"{said.description}{again}"
        if data.error is not None:
            cause = data.error.cause or data.error
            return f"{cause.message.strip().splitlines()[0]}{again}"
    kinds = {dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        if words := " ".join((entry.get_dagster_event().message or "").split()):
            return f"{words}{again}"
    return f"the run ended as {run.status.value.lower()}{again}"


def was_interrupted(instance: dg.DagsterInstance, run_id: str) -> bool:
    """True where a step of the run ended because its process was told to end."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    errors = [entry.get_dagster_event().step_failure_data.error for entry in entries]
    return any(error is not None and error.cls_name in _INTERRUPTS for error in errors)


_INTERRUPTS = {dg.DagsterExecutionInterruptedError.__name__, KeyboardInterrupt.__name__}
