"""Commands with a running Dagster UI, and answers of the UI's API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests

from zk_pipeline_tests.demo.demo_fixtures import environ, processes_of
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.waiting import until

_RUNS = """
{ runsOrError { ... on Runs { results {
  runId jobName status endTime assetSelection { path } tags { key value }
} } } }
"""
_REPOSITORY = """
{ repositoryOrError(repositorySelector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__"}) {
    ... on Repository { schedules { name scheduleState { id } } sensors { name sensorState { id } } }
} }
"""
_STOP_SCHEDULE = "mutation Stop($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
_STOP_SENSOR = "mutation Stop($id: String!) { stopSensor(id: $id) { __typename } }"
_START_SCHEDULE = """
mutation Start($name: String!) {
  startSchedule(scheduleSelector: {
    repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", scheduleName: $name
  }) { __typename }
}
"""
_LAUNCH = """
mutation Launch($job: String!, $tags: [ExecutionTag!]!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "zk_pipeline", repositoryName: "__repository__", jobName: $job},
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}
"""


@dataclass(frozen=True)
class Run:
    job: str
    status: str
    tags: Mapping[str, str]
    assets: frozenset[str] = frozenset()  # selected ones; none for a run of a whole job
    ended_at: float = 0.0


@dataclass(frozen=True)
class Ui:
    """A command that serves the Dagster UI of what lies below `home`."""

    home: Path
    url: str
    process: subprocess.Popen[bytes]
    output: Path

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=120).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def runs(self) -> list[Run]:
        """All runs, the newest first."""
        found = self.ask(_RUNS)["runsOrError"]["results"]
        return [
            Run(
                r["jobName"],
                r["status"],
                {t["key"]: t["value"] for t in r["tags"]},
                frozenset(key["path"][-1] for key in r["assetSelection"] or ()),
                r["endTime"] or 0.0,
            )
            for r in found
        ]

    def launch(self, job: str, tags: Mapping[str, str]) -> None:
        given = [{"key": key, "value": value} for key, value in tags.items()]
        launched = self.ask(_LAUNCH, job=job, tags=given)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched

    def stop_schedules(self, *, and_sensors: bool = False) -> None:
        """Stop all schedules: each run that one requests is a process."""
        found = self.ask(_REPOSITORY)["repositoryOrError"]
        for schedule in found["schedules"]:
            until(partial(self._stops, schedule["scheduleState"]["id"]), seconds=30)
        for sensor in found["sensors"] if and_sensors else ():
            self._stop_sensor(sensor["sensorState"]["id"])

    def stop_one(self, name: str) -> None:
        """Stop a schedule or sensor by its name."""
        found = self.ask(_REPOSITORY)["repositoryOrError"]
        for schedule in found["schedules"]:
            if schedule["name"] == name:
                until(partial(self._stops, schedule["scheduleState"]["id"]), seconds=30)
        for sensor in found["sensors"]:
            if sensor["name"] == name:
                self._stop_sensor(sensor["sensorState"]["id"])

    def _stop_sensor(self, sensor: str) -> None:
        stopped = self.ask(_STOP_SENSOR, id=sensor)["stopSensor"]
        assert stopped["__typename"] == "StopSensorMutationResult", stopped

    def _stops(self, schedule: str) -> bool:
        """Stop a schedule. False if its state was added by the scheduler at the same moment: PythonError."""
        stopped = self.ask(_STOP_SCHEDULE, id=schedule)["stopRunningSchedule"]
        return bool(stopped["__typename"] == "ScheduleStateResult")

    def start_schedule(self, name: str) -> None:
        started = self.ask(_START_SCHEDULE, name=name)["startSchedule"]
        assert started["__typename"] == "ScheduleStateResult", started


def answers(url: str) -> bool:
    """Whether it is Dagster's web server that is there, and takes requests."""
    try:
        return "dagster_version" in requests.get(f"{url}/server_info", timeout=30).json()
    except (requests.ConnectionError, requests.JSONDecodeError):
        return False


@contextmanager
def serving_ui(
    home: Path, command: Sequence[str], output: Path, *, python: str = sys.executable, **settings: str
) -> Iterator[Ui]:
    """`zk-pipeline command --port P` of an interpreter, from the moment it says that the UI is there."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [python, "-m", "zk_pipeline", *command, "--port", str(port)],
            cwd=output.parent,  # not a checkout, whose package would come before the installed one
            env=environ(home, **settings),
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:

        def is_there() -> bool:
            assert process.poll() is None, output.read_text()
            return f"Dagster UI at {url}" in output.read_text() and answers(url)

        until(is_there, seconds=100)
        yield Ui(home, url, process, output)
    finally:
        process.kill()
        process.wait()
        for pid in processes_of(home):  # whatever a failed test has left
            os.kill(pid, signal.SIGKILL)
