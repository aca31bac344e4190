"""`zk-pipeline receive` as a process: kills, signals, output; a terminal that is polled and pushes at once."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from zk_pipeline.cli.main import run
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.operations.poll import poll_devices
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import Punch
from zk_pipeline.store.store import Store
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
from zk_pipeline_tests.receiver.receiver_fixtures import SERIAL, adopt, line, punches, receiver_of, serve
from zk_pipeline_tests.store.store_fixtures import busy
from zk_pipeline_tests.waiting import until

NINE = "2026-06-01 09:00:00"
# The command, which dies by SIGKILL after its first transaction of uploads, before any answer.
DIES_AFTER_COMMIT = """
import os, signal
from zk_pipeline.cli.main import run
from zk_pipeline.store.push.upload_writer import UploadWriter
store = UploadWriter.store
def die(self, uploads):
    store(self, uploads)
    os.kill(os.getpid(), signal.SIGKILL)
UploadWriter.store = die
run(["receive", "--port", "0"])
"""


@contextmanager
def receiving(home: Path, *command: str) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A running receiver of a home: the process, its URL and its log."""
    log = home / "receiver.log"
    with log.open("wb") as stream:
        arguments = command or ("-m", "zk_pipeline", "receive", "--port", "0")
        process = subprocess.Popen([sys.executable, *arguments], stdout=stream, stderr=stream)
    try:
        until(lambda: "receiver at http" in log.read_text() or process.poll() is not None, seconds=60)
        found = re.search(r"receiver at (http://127\.0\.0\.1:\d+);", log.read_text())
        assert found, log.read_text()
        until(lambda: _is_live(found[1]), seconds=60)
        yield process, found[1], log
    finally:
        process.kill()
        process.wait(30)


def upload(url: str, body: bytes) -> int:
    """Status of an upload, 0 without an answer."""
    try:
        answer = httpx.post(
            f"{url}/iclock/cdata",
            params={"SN": SERIAL, "table": "ATTLOG", "Stamp": "9"},
            content=body,
            trust_env=False,
            verify=NO_CERTIFICATES,
        )
    except httpx.TransportError:
        return 0
    return answer.status_code


def test_a_kill_loses_and_doubles_nothing_and_an_interrupt_records_what_is_only_in_memory(
    home: Path, home_store: Store
) -> None:
    """The kill comes between the commit and the answer; the interrupt ends the next process."""
    adopt(home_store)
    body = line("1", NINE) + line("2", NINE)
    with receiving(home, "-c", DIES_AFTER_COMMIT) as (process, url, _):
        assert upload(url, body) == 0
        assert process.wait(30) == -signal.SIGKILL
    assert len(punches(home_store)) == 2
    with receiving(home) as (process, url, log):
        assert upload(url, body) == 200
        info = httpx.get(
            f"{url}/iclock/getrequest?SN={SERIAL}&INFO=Ver,3,0,77,10.0.0.1", trust_env=False, verify=NO_CERTIFICATES
        )
        assert info.text == "OK"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert [user for user, _, _ in punches(home_store)] == ["1", "2"]
    assert '"lines": 2, "new": 0, "duplicates": 2' in log.read_text()
    assert [one.record_count for one in home_store.push.terminals()] == [77]
    assert "Traceback" not in log.read_text()


def test_a_stop_answers_the_upload_that_waits_for_the_store(home: Path, home_store: Store) -> None:
    adopt(home_store)
    body = line("1", NINE)
    head = f"POST /iclock/cdata?SN={SERIAL}&table=ATTLOG HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with receiving(home) as (process, url, _):
        port = httpx.URL(url).port
        with busy(home_store, "a run"), socket.create_connection(("127.0.0.1", port or 0), 30) as waiting:
            waiting.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
            assert waiting.recv(100).startswith(b"HTTP/1.1 100")  # the receiver reads the body
            waiting.sendall(body)
            process.send_signal(signal.SIGTERM)
            until(lambda: not _is_live(url), seconds=30)
            assert process.poll() is None
            answering = waiting.dup()
        with answering:
            answering.settimeout(30)
            answer = b"".join(iter(lambda: answering.recv(4096), b""))
        assert process.wait(30) == 0
    assert answer.endswith(b"OK: 1")
    assert len(punches(home_store)) == 1


@pytest.mark.usefixtures("home")
def test_a_port_that_is_taken_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["receive", "--port", str(port)]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"zk-pipeline: cannot listen on 127.0.0.1 port {port}: ")
    assert printed.count("\n") == 1


def test_a_terminal_that_is_polled_and_pushes_is_one_device_with_each_punch_once(store: Store) -> None:
    rows = [*present(MONDAY), *present(MONDAY, "1002")]
    later = [("1003", f"{MONDAY} 1{number}:30:00") for number in range(4)]
    with Fleet() as fleet:
        polled = gate("North", *rows)
        switch_on(fleet, store, polled)
        gateway = TerminalGateway(timeout=5, deadline=20, comm_keys=lambda _: 0)
        _poll(store, gateway)
        adopt(store, polled.definition.serial_number, "North")
        with serve(receiver_of(store)) as served:
            pushing = PushingTerminal(polled.definition, served.url, clock=store.clock)
            for user_id, at in rows:
                pushing.record(Punch(user_id, datetime.fromisoformat(at)))
            polled.listen(pushing.record)
            assert pushing.cycle()
            for number, (user_id, at) in enumerate(later):
                polled.punch(user_id, datetime.fromisoformat(at))
                if number % 2:
                    _poll(store, gateway)
                assert pushing.upload() == 1
            _poll(store, gateway)
    (device,) = store.devices.all()
    assert (device.name, device.polled, device.pushes) == ("North", True, True)
    assert punches(store) == sorted((user_id, at, "North") for user_id, at in [*rows, *later])
    with store.database.read("test") as connection:
        sources = connection.execute("SELECT source, count(*) FROM raw_punches GROUP BY 1 ORDER BY 1").fetchall()
    assert sources == [("poll", 6), ("push", 2)]


def _poll(store: Store, gateway: TerminalGateway) -> None:
    (polled,) = poll_devices(store, store.devices.all(), gateway.read, deadline_seconds=30, run_id=None)
    assert polled.error is None


def _is_live(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live", trust_env=False, verify=NO_CERTIFICATES).status_code == 200
    except httpx.TransportError:
        return False
