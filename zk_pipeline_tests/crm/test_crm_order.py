"""Each request gets its own answer: interim answers, unexpected answers, and connections that are not reused."""

from __future__ import annotations

import json
import socket
import threading
import time
from dataclasses import replace

import pytest

from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.deadline_connections import MAX_INTERIM_RESPONSES
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline_tests.crm.crm_doubles import NOON, TOKEN, deliveries, delivery
from zk_pipeline_tests.crm.raw_crm import Script, answer, raw_crm

REFUSED = answer(b'{"detail": "no such employee"}', status="422 Unprocessable")


def user_of(request: bytes) -> str:
    return str(json.loads(request.partition(b"\r\n\r\n")[2])["user_id"])


def exchange(
    script: Script, *, count: int = 3, pause: float = 0.0, greeting: bytes = b""
) -> tuple[list[DeliveryResult], int]:
    """The answers to so many records one after another, and the connections that were made."""
    with raw_crm(script, greeting=greeting) as crm:
        endpoint = CrmEndpoint(url=crm.url, timeout=3)
        with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
            answers = []
            for each in deliveries(count):
                answers.append(client.post_one(each))
                time.sleep(pause)
    return answers, crm.connections


def second_is_refused(connection: socket.socket, request: bytes, before: bytes = b"", after: bytes = b"") -> None:
    final = REFUSED if user_of(request) == "EMP00001" else answer()
    connection.sendall(before + final + after)


SHIFTED = [ResponseClass.DELIVERED, ResponseClass.REJECTED, ResponseClass.DELIVERED]
INTERIM = {
    "early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n",
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n" * 3,
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "an unknown one": b"HTTP/1.1 142 \r\nX: y\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("interim", INTERIM.values(), ids=INTERIM)
def test_interim_answers_are_read_until_the_final_one(interim: bytes) -> None:
    answers, connections = exchange(lambda c, r: second_is_refused(c, r, before=interim))
    assert [a.meaning for a in answers] == SHIFTED
    assert connections == 1


def test_interim_answers_and_their_length_have_a_bound() -> None:
    for endless in (INTERIM["processing"] * MAX_INTERIM_RESPONSES, b"HTTP/1.1 103 Hints\r\n" + b"X: " + b"y" * 70_000):
        answers, connections = exchange(lambda c, r, e=endless: second_is_refused(c, r, before=e), count=2)  # type: ignore[misc]
        assert [a.meaning for a in answers] == [ResponseClass.UNKNOWN] * 2
        assert "interim" in (answers[0].error or "")
        assert connections == 2


def test_a_switch_of_protocols_is_no_answer() -> None:
    answers, _ = exchange(
        lambda c, _: c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n" + answer())
    )
    assert [a.meaning for a in answers] == [ResponseClass.UNKNOWN] * 3


EXTRA = {
    "two answers at once": answer(),
    "longer than its length": b"more",
    "an interim answer behind it": INTERIM["early hints"],
}


@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["in one piece", "a moment later"])
@pytest.mark.parametrize("extra", EXTRA.values(), ids=EXTRA)
def test_what_comes_behind_an_answer_is_never_the_next_records(extra: bytes, pause: float) -> None:
    def speak(connection: socket.socket, request: bytes) -> None:
        second_is_refused(connection, request, after=b"" if pause else extra)
        if pause:
            time.sleep(pause)
            connection.sendall(extra)

    answers, connections = exchange(speak, pause=2 * pause)
    assert [a.meaning for a in answers] == SHIFTED
    assert connections == 3


def test_a_server_that_speaks_before_it_is_asked_is_not_told_anything() -> None:
    answers, _ = exchange(lambda c, _: c.sendall(answer()), pause=0.0, greeting=b"220 mail.example.com ESMTP\r\n")
    # The greeting is on its way while the request is being sent: read before, with, or after it.
    assert all(a.meaning in (ResponseClass.UNAVAILABLE, ResponseClass.UNKNOWN) for a in answers)


def test_an_answer_that_begins_before_the_request_was_sent_is_not_believed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(200)
                connection.sendall(answer())
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = CrmEndpoint(url=f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=5)
        with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
            found = client.post_one(replace(delivery(), outlier_reason="long" * 1_000_000))
        thread.join()
    assert found.meaning is ResponseClass.UNKNOWN


def test_a_connection_that_the_server_closed_is_replaced_before_anything_is_sent() -> None:
    def speak_and_close(connection: socket.socket, request: bytes) -> None:
        second_is_refused(connection, request)
        connection.shutdown(socket.SHUT_WR)

    answers, connections = exchange(speak_and_close, pause=0.05)
    assert [a.meaning for a in answers] == SHIFTED
    assert connections == 3
