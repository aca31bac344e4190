"""The start of the webserver, which must refuse unknown host names."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.runtime.supervisor import webserver_answers
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
