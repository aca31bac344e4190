"""`up`: one set of processes per home, and none of them outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from zk_pipeline.defs.partitions import DEVICE_PARTITIONS, range_tags
from zk_pipeline.processes import is_alive, process_identity
from zk_pipeline.simulator.faults import HangAt
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.simulator.protocol import Command
from zk_pipeline.store.store import Store
from zk_pipeline_tests.demo.dagster_ui import serving_ui
from zk_pipeline_tests.demo.demo_bench import environ, processes_of
from zk_pipeline_tests.gates import gate, switch_on
from zk_pipeline_tests.waiting import until


@pytest.mark.timeout(240)
def test_killed_during_a_run_it_leaves_no_process_and_while_it_runs_no_second_one_starts(
    home: Path, fleet: Fleet, home_store: Store, tmp_path: Path
) -> None:
    switch_on(fleet, home_store, gate("Gate"))
    fleet.inject("Gate", HangAt(Command.CMD_CONNECT))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(str(DEVICE_PARTITIONS.name), ["Gate"])
    patience = {"ZKTECO_TIMEOUT": "3600", "ZKTECO_POLL_DEADLINE": "3600"}
    with serving_ui(home, ["up"], tmp_path / "up.log", **patience) as ui:
        second = subprocess.run(
            [sys.executable, "-m", "zk_pipeline", "up", "--port", "1"],
            env=environ(home),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (second.returncode, second.stdout) == (2, "")
        assert second.stderr == f"zk-pipeline: {home} is in use by process {ui.process.pid}: end it first\n"

        ui.launch("poll_devices", range_tags("Gate", "Gate"))
        until(lambda: [run.status for run in ui.runs()] == ["STARTED"], seconds=90)
        mine = {process_identity(pid): words for pid, words in processes_of(home).items()}
        assert len(mine) >= 5, mine  # up, code server, daemon, webserver, the run
        ui.process.send_signal(signal.SIGKILL)
        ui.process.wait()
        until(lambda: not any(map(is_alive, mine)), seconds=60)
        until(lambda: not processes_of(home), seconds=60)
