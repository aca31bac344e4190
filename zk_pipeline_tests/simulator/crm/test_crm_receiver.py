"""Emulated CRM over http.client: accepted, refused and replayed requests, injected faults."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from zk_pipeline.simulator.crm.faults import (
    Fault,
    ReceivedRequest,
    any_of,
    first,
    html_page,
    no_fault,
    redirect,
    refusal,
    sometimes,
    whenever,
)
from zk_pipeline.simulator.crm.ledger import AnomalyKind
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.leftovers import nothing_left_behind
from zk_pipeline_tests.waiting import until

TOKEN = "right"
DAY = date(2026, 11, 11)


def record(**changes: object) -> dict[str, object]:
    return {
        "user_id": "EMP001",
        "date": "2026-11-11",
        "clock_in": "2026-11-11T08:15:30+03:00",
        "clock_out": None,
        "is_outlier": False,
        "outlier_reason": "",
        "device_name": "Main Office",
        "device_ip": "192.0.2.10",
        "revision": 1,
    } | changes


@dataclass(frozen=True)
class Got:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value


def ask(
    receiver: CrmReceiver,
    method: str = "POST",
    body: object = None,
    *,
    key: str | None = "k1",
    authorization: str | None = f"Token {TOKEN}",
    path: str = "/api/attendance/",
) -> Got:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    headers = {"Idempotency-Key": key, "Authorization": authorization}
    try:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data, {k: v for k, v in headers.items() if v is not None})
        answer = connection.getresponse()
        return Got(answer.status, dict(answer.headers), answer.read())
    finally:
        connection.close()


@pytest.fixture
def receiver() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as running:
        yield running


def test_the_first_use_of_a_key_applies_and_the_next_replays(receiver: CrmReceiver) -> None:
    once, again = ask(receiver, body=record()), ask(receiver, body=record())
    assert (once.status, once.headers.get("Idempotent-Replay")) == (201, None)
    assert (again.status, again.headers.get("Idempotent-Replay")) == (200, "true")
    assert once.json == again.json
    assert receiver.ledger.latest() == {("EMP001", DAY): record()}
    assert receiver.ledger.attempts == {"k1": 2}
    assert receiver.ledger.anomalies == []


def test_a_key_with_another_body_is_refused_and_noted(receiver: CrmReceiver) -> None:
    ask(receiver, body=record())
    assert ask(receiver, body=record(is_outlier=True)).status == 422
    assert [a.kind for a in receiver.ledger.anomalies] == [AnomalyKind.KEY_REUSED]
    assert receiver.ledger.latest()["EMP001", DAY]["is_outlier"] is False


def test_a_key_under_way_conflicts(receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(delay_before=60))
    slow = threading.Thread(target=lambda: ask_and_ignore_the_end(receiver))
    slow.start()
    until(lambda: bool(receiver.ledger.attempts))
    assert ask(receiver, body=record()).status == 409
    receiver.close()
    slow.join(timeout=5)
    assert not slow.is_alive()
    assert receiver.ledger.latest() == {}


def ask_and_ignore_the_end(receiver: CrmReceiver) -> None:
    try:
        ask(receiver, body=record())
    except (OSError, http.client.HTTPException):
        return


def test_revisions_out_of_order_and_doubled_are_noted(receiver: CrmReceiver) -> None:
    for key, revision in (("a", 1), ("b", 3), ("c", 2), ("d", 3)):
        assert ask(receiver, body=record(revision=revision), key=key).status == 201
    assert receiver.ledger.revisions("EMP001", DAY) == [1, 3, 2, 3]
    assert [(a.kind, a.key) for a in receiver.ledger.anomalies] == [
        (AnomalyKind.OUT_OF_ORDER, "c"),
        (AnomalyKind.APPLIED_TWICE, "d"),
    ]


@pytest.mark.parametrize(
    "authorization", [None, "", "Token wrong", f"Bearer {TOKEN}", TOKEN, f"token {TOKEN}", "Token é"]
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "OPTIONS"])
def test_wrong_credentials_are_refused(receiver: CrmReceiver, authorization: str | None, method: str) -> None:
    got = ask(receiver, method, record() if method == "POST" else None, authorization=authorization)
    assert got.status == 401
    assert got.headers["WWW-Authenticate"] == "Token"
    assert receiver.ledger.attempts == {}


def test_questions_are_answered_politely(receiver: CrmReceiver) -> None:
    ask(receiver, body=record())
    assert ask(receiver, "OPTIONS").status == 204
    assert ask(receiver, "GET").json == {"days": 1}
    assert (ask(receiver, "HEAD").status, ask(receiver, "HEAD").body) == (200, b"")
    assert ask(receiver, "GET", path="/else").status == 404


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user_id": ""}, "user_id"),
        ({"user_id": 7}, "user_id"),
        ({"date": "2026-13-01"}, "date"),
        ({"date": "20261111"}, "date"),
        ({"clock_in": "2026-11-11T08:15:30"}, "clock_in"),
        ({"clock_out": "late"}, "clock_out"),
        ({"is_outlier": 0}, "is_outlier"),
        ({"outlier_reason": None}, "outlier_reason"),
        ({"device_ip": None}, "device_ip"),
        ({"revision": 0}, "revision"),
        ({"revision": True}, "revision"),
        ({"surprise": 1}, "unknown surprise"),
        ({"site": None}, "site"),
    ],
)
def test_a_record_that_breaks_the_contract_is_refused_in_words(
    receiver: CrmReceiver, changes: dict[str, object], said: str
) -> None:
    got = ask(receiver, body=record(**changes))
    assert got.status == 400
    assert said in str(got.json["detail"])
    assert receiver.ledger.attempts == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"3", b'"x"', b"null", b'[{"user_id": "EMP001"}]', b"[3]"])
def test_a_body_that_is_no_record_is_refused(receiver: CrmReceiver, body: bytes) -> None:
    assert ask(receiver, body=body).status == 400


def test_a_missing_field_and_a_missing_key_are_refused(receiver: CrmReceiver) -> None:
    short = record()
    del short["clock_out"]
    assert ask(receiver, body=short).json["detail"] == "fields: missing clock_out"
    assert ask(receiver, body=record(), key=None).status == 400


def test_an_array_is_answered_record_by_record(receiver: CrmReceiver) -> None:
    receiver.unknown_users = {"EMP002"}
    users = ["EMP001", "EMP002", "EMP003"]
    array = [record(user_id=u, idempotency_key=f"key {u}") for u in users] + [record(user_id="", idempotency_key="bad")]
    got = ask(receiver, body=array, key="whole")
    assert got.status == 207
    results = got.json["results"]
    assert isinstance(results, list)
    assert [(r["idempotency_key"], r["status"]) for r in results] == [
        ("key EMP001", 201),
        ("key EMP002", 422),
        ("key EMP003", 201),
        ("bad", 400),
    ]
    assert receiver.ledger.latest().keys() == {("EMP001", DAY), ("EMP003", DAY)}
    again = ask(receiver, body=array, key="whole").json["results"]
    assert isinstance(again, list)
    assert [r["status"] for r in again] == [200, 422, 200, 400]


def test_a_body_beyond_the_bound_is_refused_unread(receiver: CrmReceiver) -> None:
    with socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection:
        connection.sendall(b"POST /api/attendance/ HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_connection_is_kept_for_many_requests(receiver: CrmReceiver) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", receiver.port, timeout=10)
    for number in range(3):
        headers = {"Authorization": f"Token {TOKEN}", "Idempotency-Key": str(number)}
        connection.request("POST", "/api/attendance/", json.dumps(record(revision=number + 1)), headers)
        assert connection.getresponse().read()
    connection.close()
    assert receiver.connections == 1


def test_the_ledger_outlives_the_process_and_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "crm" / "ledger.jsonl"
    with CrmReceiver(token=TOKEN, ledger_path=path) as receiver:
        ask(receiver, body=record())
        ask(receiver, body=record(revision=2), key="k2")
        assert len(path.read_bytes().splitlines()) == 2, "flushed before the answer"
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[0][:40])
    with CrmReceiver(token=TOKEN, ledger_path=path) as receiver:
        assert receiver.ledger.revisions("EMP001", DAY) == [1, 2]
        assert ask(receiver, body=record()).status == 200
        assert ask(receiver, body=record(revision=3), key="k3").status == 201
    with CrmReceiver(token=TOKEN, ledger_path=path) as receiver:
        assert receiver.ledger.revisions("EMP001", DAY) == [1, 2, 3]
        assert receiver.ledger.anomalies == []


def test_a_ledger_damaged_elsewhere_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"key": "a"}\n')
    with pytest.raises(ValueError, match="damaged at line 1"):
        CrmReceiver(token=TOKEN, ledger_path=path)


def test_a_drop_before_leaves_nothing_and_a_drop_after_leaves_the_record(receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(drop="before"))
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(receiver, body=record())
    assert receiver.ledger.latest() == {}
    receiver.fault_rule = first(1, Fault(drop="after"))
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(receiver, body=record())
    assert receiver.ledger.revisions("EMP001", DAY) == [1]


def test_an_answer_with_the_fault_cut_ends_early(receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(cut_after=-1))
    with pytest.raises((OSError, http.client.IncompleteRead)):
        ask(receiver, body=record())


@pytest.mark.parametrize(
    ("fault", "status", "header"),
    [
        (refusal(429, retry_after="7"), 429, ("Retry-After", "7")),
        (html_page(), 200, ("Content-Type", "text/html; charset=utf-8")),
        (redirect("https://elsewhere.example/"), 302, ("Location", "https://elsewhere.example/")),
        (Fault(drip=0.0001), 201, ("Content-Type", "application/json")),
    ],
)
def test_a_trouble_is_what_the_client_sees(
    receiver: CrmReceiver, fault: Fault, status: int, header: tuple[str, str]
) -> None:
    receiver.fault_rule = first(1, fault)
    got = ask(receiver, body=record())
    assert (got.status, got.headers[header[0]]) == (status, header[1])
    assert bool(receiver.ledger.latest()) == (status == 201)


def test_misbehaviours_combine_and_repeat_by_seed() -> None:
    def received(user: str) -> ReceivedRequest:
        return ReceivedRequest(number=1, key="k", body=b"", user_ids=frozenset({user}))

    busy, poison = refusal(503), refusal(422)
    both = any_of(no_fault, first(1, busy), whenever(lambda r: "bad" in r.user_ids, poison))
    assert [both(received(u)) for u in ("good", "bad", "good")] == [busy, poison, None]
    one, other = sometimes(0.3, busy, seed=5), sometimes(0.3, busy, seed=5)
    seen = [one(received("x")) for _ in range(200)]
    assert seen == [other(received("x")) for _ in range(200)]
    assert 40 <= seen.count(busy) <= 80


def test_closing_ends_every_thread_and_connection(tmp_path: Path) -> None:
    with nothing_left_behind():
        receiver = CrmReceiver(token=TOKEN, ledger_path=tmp_path / "ledger").start()
        connection = socket.create_connection(("127.0.0.1", receiver.port), timeout=10)
        until(lambda: receiver.connections == 1)
        receiver.close()
        assert connection.recv(1) == b""
        connection.close()
