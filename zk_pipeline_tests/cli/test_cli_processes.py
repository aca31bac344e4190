"""Commands as processes: signals, closed pipes, and emulated terminals until the end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.runtime.supervisor import single_instance
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.simulator.push.recording_receiver import RecordingReceiver
from zk_pipeline_tests.store.store_fixtures import device, execute
from zk_pipeline_tests.waiting import until

ZK = [sys.executable, "-m", "zk_pipeline"]


def read_array(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    """The JSON array that a running process prints."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "]\n":
            break
    found = json.loads("".join(lines))
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.matrix)])
@pytest.mark.usefixtures("bare_home")
def test_simulated_terminals_can_be_read_until_a_signal(number: signal.Signals) -> None:
    command = [*ZK, "simulate", "--devices", "2", "--employees", "6", "--days", "7", "--json"]  # with working days
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


@pytest.mark.usefixtures("bare_home")
def test_simulated_terminals_push_to_a_receiver_until_a_signal() -> None:
    command = [*ZK, "simulate", "--push", "--devices", "3", "--employees", "6", "--days", "7", "--json"]
    with RecordingReceiver() as receiver:
        command += ["--receiver", f"{receiver.url}/secret"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                terminals = read_array(process)
                until(lambda: len(receiver.at("getrequest")) >= 3)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
            finally:
                process.kill()
    assert (process.returncode, out, err) == (0, "", "")
    assert {one.path for one in receiver.at("cdata")} == {"/secret/iclock/cdata"}
    assert [one["firmware"] for one in terminals] == ["push-2.4", "tft-3", "security-3"]
    uploaded = {str(one["serial_number"]): 0 for one in terminals}
    for upload in (*receiver.uploads("ATTLOG"), *receiver.uploads("tabledata"), *receiver.uploads("rtlog")):
        if upload.parameters.get("tablename") != "user":
            uploaded[upload.parameters["SN"]] += len(upload.lines)
    for one in terminals:
        assert uploaded[str(one["serial_number"])] >= int(str(one["punches"])) > 0
    first = terminals[0]
    assert first["adopt"] == (
        f"zk-pipeline device adopt {first['serial_number']} --name {first['name']}"
        f" --timezone {first['timezone']} --site {first['site']}"
    )


def test_a_closed_pipe_causes_no_traceback(home: Path, home_store: Store) -> None:
    home_store.devices.add(device("Gate"))
    more = (
        "INSERT INTO devices SELECT devices.* REPLACE (name || number AS name) FROM devices, range(20) AS more(number)"
    )
    execute(home_store, more)  # more than the buffer of a pipe
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*ZK, "device", "list", "--json"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert home.exists()
    assert (done.returncode, done.stderr) == (1, "")


def test_an_interrupted_command_prints_one_line(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    home_store.devices.add(device("Gate"))
    monkeypatch.setattr("zk_pipeline.devices.gateway.TerminalGateway.users", interrupt)
    result = zk("device", "users", "Gate")
    assert (result.code, result.out) == (130, "")
    assert result.err == "zk-pipeline: interrupted\n"


def test_terminals_that_never_answer_do_not_delay_an_interrupt(
    home: Path, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home.exists()
    monkeypatch.setenv("ZKTECO_TIMEOUT", "100")
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        for number, one in enumerate(silent):
            host, port = one.getsockname()
            home_store.devices.add(Device(name=f"Gate {number}", ip_address=host, port=port, protocol="tcp"))
        with subprocess.Popen(
            [*ZK, "test-device"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as testing:
            try:
                for one in silent:  # connections are accepted and never answered
                    one.settimeout(30)
                    stack.enter_context(one.accept()[0])
                testing.send_signal(signal.SIGINT)
                out, err = testing.communicate(timeout=30)
            finally:
                testing.kill()
    assert (testing.returncode, out) == (130, "")
    assert err == "zk-pipeline: interrupted\n"


def test_an_up_that_is_refused_neither_creates_nor_upgrades_the_store(
    zk: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(home / "data", ignore_errors=True)
    with single_instance(home):
        assert "is in use by process" in zk("up").err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot be used" in zk("up", "--port", str(taken.getsockname()[1])).err
        monkeypatch.setenv("RECEIVER_ENABLED", "true")
        monkeypatch.setenv("RECEIVER_PORT", str(taken.getsockname()[1]))
        refused = zk("up", "--port", str(free_port())).err
        assert "the receiver cannot listen on 127.0.0.1" in refused
        assert "see RECEIVER_HOST and RECEIVER_PORT" in refused
    assert not (home / "data").exists()
