"""`zk-pipeline api` as a process: output, log, stop."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
from zk_pipeline_tests.store.store_fixtures import busy
from zk_pipeline_tests.waiting import until


@pytest.mark.usefixtures("filled")
def test_it_says_where_it_listens_logs_each_request_and_finishes_what_it_was_asked_before_it_ends(
    home: Path, home_store: Store
) -> None:
    token = home_store.api_tokens.create("script", "read")
    log = home / "api.log"
    with log.open("w") as stream:
        command = [sys.executable, "-m", "zk_pipeline", "api", "--port", "0"]
        api = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        until(lambda: "at http://" in log.read_text() or api.poll() is not None, seconds=60)
        found = re.search(r"at (http://127\.0\.0\.1:\d+) .*for this machine only; Ctrl-C ends it", log.read_text())
        assert found, log.read_text()
        header = {"Authorization": f"Token {token}"}
        with httpx.Client(base_url=found[1], headers=header, timeout=60, verify=NO_CERTIFICATES) as client:
            until(lambda: _is_live(client), seconds=60)
            assert client.get("/api/devices/?user=hidden").status_code == 200
            answers: list[httpx.Response] = []
            with busy(home_store, "hold the store"):
                asking = threading.Thread(target=lambda: answers.append(client.get("/api/raw-attendance/?page_size=3")))
                asking.start()
                until(lambda: _waits_for_the_store(api.pid), seconds=30)
                api.send_signal(signal.SIGTERM)
                until(lambda: not _takes_connections(found[1]), seconds=30)
                assert api.poll() is None
            asking.join(60)
        assert api.wait(60) == 0
    finally:
        if api.poll() is None:
            api.kill()
            api.wait()
    assert [(one.status_code, one.json()["count"]) for one in answers] == [(200, 120)]
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert {"time", "client", "who", "method", "path", "status", "bytes", "ms"} == set(lines[-1])
    assert (lines[-1]["who"], lines[-1]["path"], lines[-1]["status"]) == ("script", "/api/raw-attendance/", 200)
    assert "hidden" not in log.read_text()
    assert token not in log.read_text()


def _is_live(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False


def _takes_connections(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout=5).close()
    except OSError:
        return False
    return True


def _waits_for_the_store(pid: int) -> bool:
    """A waiting process has the lock files open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if link.readlink().name.endswith((".lock", ".turnstile")):
                return True
        except FileNotFoundError:
            continue
    return False
