"""Runs of the code server of `up`: forked, and canceled, killed and crashed as Dagster's own are.

The tests share one code server and run in the order in which they stand; the last one kills its fork server.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._grpc.client import DagsterGrpcClient

from zk_pipeline.config.settings import load_settings
from zk_pipeline.defs.build import build_definitions
from zk_pipeline.defs.instance.orphaned_runs import PROCESS_TAG
from zk_pipeline.defs.names import Names
from zk_pipeline.defs.partitions import range_tags
from zk_pipeline.runs.submit import remote_job_origin
from zk_pipeline.runtime.fork_server import ONE_THREAD
from zk_pipeline.runtime.processes import start_child, terminate
from zk_pipeline.simulator.terminal.faults import HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.store.store import Store
from zk_pipeline_tests.conftest import exported
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.waiting import until

GATES = ("Gate 1", "Gate 2", "Gate 3")
SECRET = "password-of-the-crm"
LONG = "ZKTECO_TIMEOUT=3600\nZKTECO_POLL_DEADLINE=3600\n"


@dataclass(frozen=True)
class CodeServer:
    home: Path
    process: subprocess.Popen[bytes]
    client: DagsterGrpcClient
    instance: dg.DagsterInstance
    job: dg.JobDefinition

    def poll(self, device: str) -> str:
        """Launch a poll as the default run launcher does. Returns the id of the run."""
        tags = {**self.job.run_tags, **range_tags(device, device)}
        origin = remote_job_origin(self.job.name)
        run = self.instance.create_run_for_job(self.job, tags=tags, remote_job_origin=origin)
        DefaultRunLauncher.launch_run_from_grpc_client(self.instance, run, self.client)
        return run.run_id

    def process_of(self, run_id: str) -> int:
        until(lambda: PROCESS_TAG in self.run(run_id).tags)
        return int(self.run(run_id).tags[PROCESS_TAG].split(":")[-2])

    def run(self, run_id: str) -> dg.DagsterRun:
        run = self.instance.get_run_by_id(run_id)
        assert run is not None
        return run

    def ended(self, run_id: str) -> tuple[str, str]:
        """Status and last words of a run that ends."""
        until(lambda: self.run(run_id).is_finished)
        return self.run(run_id).status.value, "\n".join(entry.message for entry in self.instance.all_logs(run_id))

    @property
    def fork_server(self) -> int:
        (server,) = [pid for pid in children(self.process.pid) if "code_server" in command_line(pid)]
        return server


def children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.fixture(scope="module")
def server(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CodeServer]:
    home = shutil.copytree(empty_home, tmp_path_factory.mktemp("forked") / "home")
    (home / ".env").write_text(LONG)
    socket = home / "code.sock"
    command = [sys.executable, "-m", "zk_pipeline.runs.code_server", "--socket", str(socket), "--location-name", "here"]
    with exported(home) as patch, Fleet() as fleet, dg.DagsterInstance.get() as instance:
        patch.setenv("CRM_API_TOKEN", SECRET)
        store = Store.at(home / "data" / "attendance.duckdb")
        switch_on(fleet, store, *(gate(name, *present(MONDAY)) for name in GATES))
        for name in GATES[:2]:
            fleet.inject(name, HangAt(Command.CMD_CONNECT))
        instance.add_dynamic_partitions(Names().device_partitions_name, list(GATES))
        process = start_child(command, cwd=home, environ={**os.environ, **ONE_THREAD}, output=home / "log")
        try:
            until(socket.exists)
            job = build_definitions(load_settings()).resolve_job_def("poll_devices")
            yield CodeServer(home, process, DagsterGrpcClient(socket=str(socket)), instance, job)
        finally:
            terminate(process)


def test_runs_are_forked_from_one_idle_process_and_show_no_secret(server: CodeServer) -> None:
    runs = [server.poll(name) for name in GATES]
    forked = [server.process_of(run) for run in runs[:2]]
    assert server.ended(runs[2])[0] == "SUCCESS", "while two others wait"
    assert len(set(forked)) == 2
    until(lambda: sorted(children(server.fork_server)) == sorted(forked))
    assert len(list(Path(f"/proc/{server.fork_server}/task").iterdir())) == 1
    assert not any(SECRET in command_line(pid) for pid in (server.fork_server, *forked))

    os.kill(forked[0], signal.SIGKILL)
    os.kill(forked[1], signal.SIGSEGV)
    (killed, why), (crashed, why_crashed) = (server.ended(run) for run in runs[:2])
    assert (killed, crashed) == ("FAILURE", "FAILURE")
    assert "was terminated by signal 9 (SIGKILL)" in why
    assert "was terminated by signal 11 (SIGSEGV)" in why_crashed
    until(lambda: children(server.fork_server) == [])


def test_a_canceled_run_records_its_end(server: CodeServer) -> None:
    run = server.poll(GATES[0])
    process = server.process_of(run)
    assert server.instance.run_launcher.terminate(run)
    status, log = server.ended(run)
    assert status == "CANCELED", log
    until(lambda: process not in children(server.fork_server))


def test_a_run_has_the_settings_of_the_moment_it_starts(server: CodeServer) -> None:
    (server.home / ".env").write_text("ZKTECO_TIMEOUT=0.25\n")
    try:
        status, log = server.ended(server.poll(GATES[0]))
    finally:
        (server.home / ".env").write_text(LONG)
    assert status == "FAILURE"
    assert "within 0.25 s" in log, log


def test_a_killed_fork_server_ends_its_runs_and_the_code_server(server: CodeServer) -> None:
    run = server.poll(GATES[0])
    process = server.process_of(run)
    os.kill(server.fork_server, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{process}").exists())
    assert server.process.wait(30) == 0
    assert "the fork server" in (server.home / "log").read_text()
    assert server.ended(run)[0] == "FAILURE"
