"""Dagster's daemons, one iteration at a time in this process, on a real instance with the shipped `dagster.yaml` and a
real workspace. No run process is started: launched runs stay STARTING, or are executed in this process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteRepository
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._daemon.sensor import execute_sensor_iteration
from dagster_graphql.schema import create_schema

NO_LAUNCHER = ("dagster._core.test_utils", "MockedRunLauncher")
IN_PROCESS_LAUNCHER = ("dagster._core.launcher.sync_in_memory_run_launcher", "SyncInMemoryRunLauncher")
_MAX_ITERATIONS = 12
_DEFINITIONS = """
    from zk_pipeline.defs.build import build_definitions
    from zk_pipeline.config.settings import load_settings
    import dagster as dg
    defs = dg.Definitions.merge(
        build_definitions(load_settings()), dg.Definitions(executor=dg.in_process_executor)
    )
"""
_LAUNCH = """
mutation Launch($job: String!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", jobName: $job},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message stack } }
}
"""


_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message stack }
  }
}
"""
_STALE = """
query Stale($asset: AssetKeyInput!, $keys: [String!]) {
  assetNodeOrError(assetKey: $asset) { ... on AssetNode {
    staleStatusByPartition(partitions: $keys)
    staleCausesByPartition(partitions: $keys) { key { path } partitionKey category reason dependency { path } }
  } }
}
"""


_schema = cache(create_schema)


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
        launched: dict[str, Any] = self.ask(_LAUNCH, job=job, tags=given)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def ask(self, query: str, **variables: Any) -> Any:
        """Data of a GraphQL answer of the web server."""
        context = self.context.create_request_context()
        answer = asyncio.run(_schema().execute_async(query, context_value=context, variables=variables))
        assert not answer.errors, answer.errors
        return answer.data

    def launch_backfill(self, assets: Sequence[str], keys: Sequence[str] | None = None) -> str:
        """Launch a backfill as the UI does, of all partitions without `keys`; its id."""
        which = {"allPartitions": True} if keys is None else {"partitionNames": list(keys)}
        params = {"assetSelection": [{"path": [asset]} for asset in assets], "title": "test", **which}
        launched = self.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfill(self, assets: Sequence[str], keys: Sequence[str] | None = None) -> str:
        """Launch a backfill and execute it; its final status."""
        backfill_id = self.launch_backfill(assets, keys)
        for _ in range(_MAX_ITERATIONS):
            for error in execute_backfill_iteration(self.context, logging.getLogger("test")):
                assert error is None, error
            self.dequeue()
            backfill = self.instance.get_backfill(backfill_id)
            assert backfill is not None
            if backfill.status is not BulkActionStatus.REQUESTED:
                return backfill.status.value
        raise AssertionError("the backfill has not ended")

    def stale(self, asset: str, keys: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """Category of each cause and the asset that it comes from, per stale partition in the UI."""
        node = self.ask(_STALE, asset={"path": [asset]}, keys=list(keys))["assetNodeOrError"]
        by_key = dict(zip(keys, node["staleCausesByPartition"], strict=True))
        statuses = ["STALE" if causes else "FRESH" for causes in by_key.values()]
        assert node["staleStatusByPartition"] == statuses, node
        return {
            key: [(cause["category"], cause["key"]["path"][-1]) for cause in causes]
            for key, causes in by_key.items()
            if causes
        }

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
def open_daemons(home: Path, launcher: tuple[str, str] = NO_LAUNCHER) -> Iterator[Daemons]:
    """Daemons on the instance of `home`, which is exported."""
    module, name = launcher
    lines = f"\nrun_launcher:\n  module: {module}\n  class: {name}\n"
    (home / "dagster.yaml").write_text((home / "dagster.yaml").read_text() + lines)
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
