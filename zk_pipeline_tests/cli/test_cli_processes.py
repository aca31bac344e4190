"""The command as a process: what signals and closed pipes do to it, and terminals served until it is told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_bench import CommandLine
from zk_pipeline_tests.store.store_bench import device

ZK = [sys.executable, "-m", "zk_pipeline"]


def read_array(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    """The JSON array that a process prints before it goes on."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "]\n":
            break
    found = json.loads("".join(lines))
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("bare_home")
def test_simulated_terminals_can_be_read_by_anybody_until_they_are_told_to_end(number: signal.Signals) -> None:
    command = [*ZK, "simulate", "--devices", "2", "--employees", "6", "--days", "3", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            served = read_array(process)
            assert len(served) == 2
            for one in served:
                read = Device(name=str(one["name"]), ip_address=str(one["ip"]), port=int(str(one["port"])))
                gateway = TerminalGateway(timeout=10, deadline=20, comm_keys=lambda _: 0)
                assert gateway.probe(read).record_count >= int(str(one["punches"])) > 0
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")


def test_a_reader_that_leaves_is_no_error_worth_a_traceback(home: Path, home_store: Store) -> None:
    for count in range(40):  # more than a pipe's own buffer takes of the first lines
        home_store.devices.add(device(f"Gate {count}"))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*ZK, "device", "list", "--json"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert home.exists()
    assert (done.returncode, done.stderr) == (1, "")


def test_an_interrupted_command_says_so_and_no_more(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    home_store.devices.add(device("Gate"))
    monkeypatch.setattr("zk_pipeline.devices.gateway.TerminalGateway.users", interrupt)
    said = zk("device", "users", "Gate")
    assert (said.code, said.out) == (130, "")
    assert said.err == "\nzk-pipeline: interrupted\n"  # the first line end takes it off the line of the ^C
