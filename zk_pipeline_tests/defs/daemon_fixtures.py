"""Dagster's daemons, one iteration at a time in this process, on a real instance with the shipped `dagster.yaml` and a
real workspace. No run process is started: launched runs stay STARTING.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster_graphql.schema import create_schema

_NO_PROCESSES = "\nrun_launcher:\n  module: dagster._core.test_utils\n  class: MockedRunLauncher\n"
_DEFINITIONS = """
    from zk_pipeline.defs.build import build_definitions
    from zk_pipeline.config.settings import load_settings
    defs = build_definitions(load_settings())
"""
_LAUNCH = """
mutation Launch($job: String!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", jobName: $job},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message stack } }
}
"""


@dataclass(frozen=True)
class Daemons:
    context: WorkspaceProcessContext
    queue: QueuedRunCoordinatorDaemon

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.context.instance

    @property
    def repository(self) -> RemoteRepository:
        location = self.context.create_request_context().get_code_location("zk_pipeline")
        return location.get_repository("__repository__")

    def ask_for(self, job: str, tags: Mapping[str, str]) -> str:
        """Launch a run as the UI does. Returns the id of the queued run."""
        given = [{"key": key, "value": value} for key, value in tags.items()]
        variables, context = {"job": job, "tags": given}, self.context.create_request_context()
        answer = asyncio.run(create_schema().execute_async(_LAUNCH, context_value=context, variables=variables))
        assert answer.data is not None, answer.errors
        launched: dict[str, Any] = answer.data["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def dequeue(self) -> list[str]:
        """One iteration of the run queue. Returns the jobs of the runs in progress after it, oldest first."""
        assert [error for error in self.queue.run_iteration(self.context) if error is not None] == []
        starting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
        return [run.job_name for run in reversed(self.instance.get_runs(starting))]

    def end(self, run_id: str) -> None:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        self.instance.report_run_canceled(run)

    def look_with_sensors(self) -> None:
        """One iteration of all sensors."""
        for error in execute_sensor_iteration(self.context, logging.getLogger("test"), None, None):
            assert error is None, error


@contextmanager
def open_daemons(home: Path) -> Iterator[Daemons]:
    """Daemons on the instance of `home`, which is exported."""
    (home / "dagster.yaml").write_text((home / "dagster.yaml").read_text() + _NO_PROCESSES)
    definitions = home / "definitions_of_a_test.py"
    definitions.write_text(textwrap.dedent(_DEFINITIONS))
    loadable = LoadableTargetOrigin(
        executable_path=sys.executable, python_file=str(definitions), working_directory=str(home)
    )
    target = InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(loadable, location_name="zk_pipeline"))
    with ExitStack() as stack:
        instance = stack.enter_context(dg.DagsterInstance.get())
        context = stack.enter_context(WorkspaceProcessContext(instance, target))
        queue = stack.enter_context(QueuedRunCoordinatorDaemon(interval_seconds=1))
        yield Daemons(context, queue)
