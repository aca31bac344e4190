"""Alerts through Apprise to a real HTTP server."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.operations.alerts import Alert, send_alert

ALERT = Alert("zk_pipeline: poll_devices failed", "gate-2 | no answer\n\nRun 123")


@dataclass
class Receiver:
    """What arrived, and what is answered."""

    port: int = 0
    status: int = 200
    arrived: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str = "hook") -> str:
        return f"json://127.0.0.1:{self.port}/{path}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.arrived.append((self.path, json.loads(body)))
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


def test_an_alert_arrives_with_its_title_and_body(receiver: Receiver) -> None:
    assert send_alert(SecretStr(receiver.url()), ALERT)
    ((path, message),) = receiver.arrived
    assert (path, message["title"], message["message"]) == ("/hook", ALERT.title, ALERT.body)


@pytest.mark.parametrize("between", [",", " ", ", ", "\n", ",\n"])
def test_it_goes_to_every_channel(between: str, receiver: Receiver) -> None:
    assert send_alert(SecretStr(between.join([receiver.url("one"), receiver.url("two")])), ALERT)
    assert sorted(path for path, _ in receiver.arrived) == ["/one", "/two"]


def test_a_comma_may_be_part_of_an_address(receiver: Receiver) -> None:
    assert send_alert(SecretStr(receiver.url("to=a,b") + "," + receiver.url("two")), ALERT)
    assert sorted(unquote(path) for path, _ in receiver.arrived) == ["/to=a,b", "/two"]


@pytest.mark.parametrize("nothing", ["", " ", ",", " ,\n"])
def test_without_a_channel_nobody_is_told_and_the_caller_knows(nothing: str) -> None:
    assert not send_alert(SecretStr(nothing), ALERT)


def test_a_channel_that_refuses_is_a_failure_without_its_address(receiver: Receiver) -> None:
    receiver.status = 500
    with pytest.raises(ZkPipelineError, match="ALERT_URLS: at least one channel did not take the alert") as failed:
        send_alert(SecretStr(receiver.url("s3cret")), ALERT)
    assert "s3cret" not in str(failed.value)


def test_a_channel_that_is_down_does_not_keep_the_others_from_hearing(receiver: Receiver) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        dead = f"json://127.0.0.1:{taken.getsockname()[1]}/"
        with pytest.raises(ZkPipelineError, match="at least one channel"):
            send_alert(SecretStr(f"{dead} {receiver.url()}"), ALERT)
    assert len(receiver.arrived) == 1


@pytest.mark.parametrize("wrong", ["nonsense-s3cret", "unheard-of://s3cret", "slack://s3cret"])
def test_what_is_no_address_is_told_by_its_place_and_never_shown(
    wrong: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        pytest.raises(ZkPipelineError, match="ALERT_URLS: number 2 of 2 is not an Apprise URL") as failed,
    ):
        send_alert(SecretStr(f"{receiver.url()} {wrong}"), ALERT)
    assert "s3cret" not in str(failed.value) + caplog.text
    assert len(receiver.arrived) == 1  # whoever can be reached is told
