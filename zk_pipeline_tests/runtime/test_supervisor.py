"""The start of the webserver, which must refuse unknown host names, and the end of a process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.runtime import supervisor
from zk_pipeline.runtime.processes import start_child
from zk_pipeline.runtime.supervisor import ENDED_FILE, Supervisor, webserver_answers
from zk_pipeline_tests.ports import free_port


class Server(BaseHTTPRequestHandler):
    """Refuse unknown host names with `status`."""

    status = 421

    def do_GET(self) -> None:
        self.send_response(200 if self.headers["Host"].startswith("127.") else self.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_the_webserver_is_there_once_it_refuses_an_unknown_host_name(port: int) -> None:
    assert webserver_answers(port)
    assert not webserver_answers(free_port())


def test_a_webserver_that_accepts_any_host_name_is_an_error(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "status", 200)
    with pytest.raises(ZkPipelineError, match="does not check host names"):
        webserver_answers(port)


@pytest.mark.parametrize(
    ("ended", "message"),
    [("daemon -9", "the daemon ended with code -9"), (None, "the dagster-processes ended with code 1")],
)
def test_the_process_that_ended_is_named(
    ended: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        if ended is not None:
            Path(command[command.index("--folder") + 1], ENDED_FILE).write_text(ended)
        return start_child([sys.executable, "-c", "raise SystemExit(1)"], **options)

    monkeypatch.setattr(supervisor, "start_child", start)
    log = tmp_path / "logs" / f"{(ended or 'dagster-processes').split()[0]}.log"
    with (
        pytest.raises(ZkPipelineError, match=re.escape(f"{message}; its output is in {log}")),
        Supervisor(tmp_path, {}, free_port(), tmp_path / "logs"),
    ):
        pass
    assert not (tmp_path / ".run").exists()
