"""CRM_LOOKUP: an unknown outcome is looked up before the record is sent again; a CRM without idempotency keys."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.endpoint import CrmEndpoint
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.mapping import IDENTITY_MAPPING, FieldMapping, read_mapping
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import record_body
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.errors import UsageError
from zk_pipeline_tests.crm.crm_doubles import NOON, TOKEN, deliveries, delivery
from zk_pipeline_tests.crm.raw_crm import answer, raw_crm

LOOKUP = "/held/?user={user_id}&date={date}"
OURS = {"user_id": "EMP001", "date": "2026-11-11", "clock_in": "2026-11-11T08:15:30+03:00", "revision": 1}


class NaiveCrm:
    """Appends whatever comes, whatever its key. `loses`: number of answers that never arrive."""

    def __init__(self, loses: int = 0, instead: str = "") -> None:
        self.held: list[dict[str, object]] = []
        self.loses = loses
        self.instead = instead  # status that comes for a lost answer; without, the connection ends
        self.asked: list[str] = []

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        method, target, _ = request.split(b" ", 2)
        if method == b"GET":
            self.asked.append(target.decode())
            connection.sendall(answer(json.dumps({"results": self.found(target.decode())}).encode(), status="200 OK"))
            return
        body = json.loads(request.partition(b"\r\n\r\n")[2])
        records = body if isinstance(body, list) else [body]
        self.held += records
        if self.loses > 0:
            self.loses -= 1
            if self.instead:
                connection.sendall(answer(b"", status=self.instead))
                connection.close()
            else:
                connection.shutdown(socket.SHUT_RDWR)  # at once: closed, it would be lost at the timeout
            return
        results = [{"idempotency_key": one.get("idempotency_key"), "status": 201} for one in records]
        connection.sendall(answer(json.dumps(results).encode() if isinstance(body, list) else b"{}"))

    def found(self, target: str) -> list[dict[str, object]]:
        user = target.partition("user=")[2].partition("&")[0]
        return [one for one in self.held if one["user_id"] == user]


def client_at(
    url: str, mapping: FieldMapping = IDENTITY_MAPPING, lookup: str | None = LOOKUP, timeout: float = 5
) -> CrmClient:
    endpoint = CrmEndpoint(url=url, timeout=timeout, lookup=lookup)
    return CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON, mapping=mapping)


def test_a_crm_without_keys_gets_each_record_once() -> None:
    crm = NaiveCrm(loses=1)
    with raw_crm(crm) as server, client_at(server.url) as client:
        assert client.post_one(delivery()).meaning is ResponseClass.UNKNOWN
        assert crm.asked == [], "nothing is looked up before an outcome is unknown"
        assert client.post_one(delivery()) == DeliveryResult(meaning=ResponseClass.DELIVERED, status=200)
        assert crm.asked == ["/held/?user=EMP001&date=2026-11-11"]
        assert client.post_one(delivery("EMP002")).meaning is ResponseClass.DELIVERED
    assert [one["user_id"] for one in crm.held] == ["EMP001", "EMP002"]


@pytest.mark.parametrize("status", ["500 Error", "502 Bad Gateway", "504 Gateway Timeout"])
def test_an_answer_of_a_gateway_is_looked_up_in_the_same_run_too(status: str) -> None:
    """The commonest unknown outcome: the CRM was slower than the proxy before it."""
    crm = NaiveCrm(loses=1, instead=status)
    with raw_crm(crm) as server, client_at(server.url) as client:
        assert client.post_one(delivery()).meaning is ResponseClass.UNAVAILABLE
        assert client.post_one(delivery()) == DeliveryResult(meaning=ResponseClass.DELIVERED, status=200)
    assert len(crm.held) == len(crm.asked) == 1


def test_a_crm_that_says_it_did_not_get_to_it_is_not_asked() -> None:
    crm = NaiveCrm(loses=1, instead="503 Busy")
    with raw_crm(crm) as server, client_at(server.url) as client:
        assert client.post_one(delivery()).meaning is ResponseClass.UNAVAILABLE
        client.post_one(delivery())
    assert crm.asked == []


def test_an_outcome_that_was_unknown_when_another_run_ended_is_looked_up_too() -> None:
    crm = NaiveCrm()
    unknown = [replace(each, sent_body=record_body(each)) for each in deliveries(2)]
    with raw_crm(crm) as server, client_at(server.url) as client:
        crm.held = [json.loads(unknown[0].sent_body or "")]
        assert [client.post_one(each).meaning for each in unknown] == [ResponseClass.DELIVERED] * 2
    assert [one["user_id"] for one in crm.held] == ["EMP00000", "EMP00001"]


def test_of_a_batch_only_what_is_not_there_is_sent_again() -> None:
    crm = NaiveCrm(loses=1)
    due = deliveries(4)
    with raw_crm(crm) as server, client_at(server.url) as client:
        assert {a.meaning for a in client.post_batch(due[:2])} == {ResponseClass.UNKNOWN}
        assert [a.meaning for a in client.post_batch(due)] == [ResponseClass.DELIVERED] * 4
    assert [one["user_id"] for one in crm.held] == [each.user_id for each in due]
    assert len(crm.asked) == 2


def looked_up(
    status: str, body: bytes, due: Delivery, mapping: FieldMapping = IDENTITY_MAPPING
) -> tuple[DeliveryResult, int]:
    """The answer for a record whose outcome is unknown, and how often it was sent."""
    posts = 0

    def serve(connection: socket.socket, request: bytes) -> None:
        nonlocal posts
        if request.startswith(b"GET"):
            html = b"Content-Type: text/html\r\n" if body.startswith(b"<html") else b""
            connection.sendall(answer(body, status=status, headers=html))
        else:
            posts += 1
            connection.sendall(answer())

    with raw_crm(serve) as server, client_at(server.url, mapping) as client:
        return client.post_one(replace(due, sent_body=record_body(due, mapping))), posts


def held(**more: object) -> bytes:
    return json.dumps(OURS | more).encode()


@pytest.mark.parametrize(
    ("status", "body", "meaning", "posts"),
    [
        ("200 OK", held(), ResponseClass.DELIVERED, 0),
        (
            "200 OK",
            b"[" + held(user_id="EMP002", revision=9) + b"," + held(revision="1") + b"]",
            ResponseClass.DELIVERED,
            0,
        ),
        ("200 OK", b'{"count": 1, "results": [' + held(date="2026-11-11T00:00:00") + b"]}", ResponseClass.DELIVERED, 0),
        ("200 OK", b'{"data": ' + held(revision=2) + b"}", ResponseClass.DELIVERED, 0),
        ("200 OK", held(revision=0), ResponseClass.DELIVERED, 1),
        ("200 OK", b"[]", ResponseClass.DELIVERED, 1),
        ("200 OK", b'{"results": []}', ResponseClass.DELIVERED, 1),
        ("404 Not Found", b'{"detail": "no"}', ResponseClass.DELIVERED, 1),
        ("204 No Content", b"", ResponseClass.DELIVERED, 1),
        ("200 OK", b"[" + held(user_id="EMP002") + b"]", ResponseClass.UNKNOWN, 0),
        ("200 OK", b"{}", ResponseClass.UNKNOWN, 0),
        ("200 OK", b'{"user_id": "EMP001", "date": "2026-11-11"}', ResponseClass.UNKNOWN, 0),
        ("200 OK", b'{"error": "database"}', ResponseClass.UNKNOWN, 0),
        ("200 OK", b"not json", ResponseClass.UNKNOWN, 0),
        ("200 OK", b"", ResponseClass.UNKNOWN, 0),
        ("503 Busy", b"", ResponseClass.UNAVAILABLE, 0),
        ("404 Not Found", b"<html>", ResponseClass.MISCONFIGURED, 0),
        ("302 Found", b"", ResponseClass.MISCONFIGURED, 0),
        ("403 No", b"", ResponseClass.MISCONFIGURED, 0),
        ("400 No", b"", ResponseClass.MISCONFIGURED, 0),
    ],
)
def test_only_what_is_seen_not_to_be_there_is_sent_again(
    status: str, body: bytes, meaning: ResponseClass, posts: int
) -> None:
    found, sent = looked_up(status, body, delivery())
    assert (found.meaning, sent) == (meaning, posts)
    assert (found.error is None) == (meaning is ResponseClass.DELIVERED)
    assert found.error is None or "CRM_LOOKUP" in found.error


def test_a_retraction_is_held_by_its_revision_and_sent_again_where_nothing_is() -> None:
    gone = replace(delivery(revision=2), clock_in=None)
    assert looked_up("200 OK", held(revision=2, clock_in=None), gone)[1] == 0
    assert looked_up("200 OK", held(revision=1), gone)[1] == 1
    assert looked_up("404 Not Found", b"", gone)[1] == 1


def test_the_crms_names_and_the_site_are_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "crm_mapping.yaml"
    file.write_text("rename: {user_id: employee, date: day, revision: version}\nadd: {site: plant}")
    mapping = read_mapping(file)
    ours = {"employee": "EMP001", "day": "2026-11-11", "version": 1, "plant": "Main Office"}
    per_site = replace(delivery(), record_per="site")
    assert looked_up("200 OK", json.dumps([ours]).encode(), per_site, mapping)[1] == 0
    elsewhere = json.dumps([ours | {"plant": "Depot"}]).encode()
    assert looked_up("200 OK", elsewhere, per_site, mapping)[0].meaning is ResponseClass.UNKNOWN


def test_a_record_of_the_persons_date_is_found_whatever_site_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "crm_mapping.yaml"
    file.write_text("add: {site: plant}")
    before = json.dumps([{"user_id": "EMP001", "date": "2026-11-11", "revision": 1, "plant": "Depot"}]).encode()
    answer, posts = looked_up("200 OK", before, delivery(revision=2), read_mapping(file))
    assert (answer.meaning, posts) == (ResponseClass.DELIVERED, 1), "it moved there from another site"


def test_a_lookup_that_does_not_answer_leaves_the_record_unsent() -> None:
    posts: list[bytes] = []

    def serve(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"POST"):
            posts.append(request)
        connection.close()

    with raw_crm(serve) as server, client_at(server.url, timeout=0.5) as client:
        assert client.post_one(replace(delivery(), sent_body="{}")).meaning is ResponseClass.UNKNOWN
    assert posts == []


def test_without_the_setting_an_unknown_outcome_is_sent_again_under_its_key() -> None:
    crm = NaiveCrm()
    with raw_crm(crm) as server, client_at(server.url, lookup=None) as client:
        assert (
            client.post_one(replace(delivery(), sent_body=record_body(delivery()))).meaning is ResponseClass.DELIVERED
        )
    assert crm.asked == []


@pytest.mark.parametrize(
    ("lookup", "url"),
    [
        ("/held/{user_id}/{date}/", "https://crm.example.com/held/a%2Fb%3F%20%C3%BC/2026-11-11/"),
        ("?u={user_id}&d={date}", "https://crm.example.com/api/?u=a%2Fb%3F%20%C3%BC&d=2026-11-11"),
        ("https://crm.example.com/x/{date}/{user_id}", "https://crm.example.com/x/2026-11-11/a%2Fb%3F%20%C3%BC"),
    ],
)
def test_the_template_is_filled_with_quoted_values(lookup: str, url: str) -> None:
    endpoint = CrmEndpoint(url="https://crm.example.com/api/?key=hush", lookup=lookup)
    assert endpoint.lookup_url("a/b? ü", delivery().work_date) == url
    assert "hush" not in repr(endpoint)


@pytest.mark.parametrize(
    ("lookup", "said"),
    [
        ("/held/{user_id}", "{user_id} and {date}"),
        ("/held/{user}/{date}", "{user_id} and {date}"),
        ("/held/{user_id}/{date}/{site}", "{user_id} and {date}"),
        ("/held/{user_id}/{date} x", "{user_id} and {date}"),
        ("/held/{user_id}/{date}#x", "{user_id} and {date}"),
        ("https://other.example.com/{user_id}/{date}", "on the server of CRM_API_URL"),
        ("http://crm.example.com/{user_id}/{date}", "on the server of CRM_API_URL"),
        ("//other.example.com/{user_id}/{date}", "on the server of CRM_API_URL"),
    ],
)
def test_a_wrong_template_is_refused_by_name(lookup: str, said: str) -> None:
    with pytest.raises(CrmMisconfigured) as refused:
        CrmEndpoint(url="https://crm.example.com/api/", lookup=lookup)
    assert isinstance(refused.value, UsageError)
    assert said in str(refused.value)
    assert "CRM_LOOKUP" in str(refused.value)


def test_a_lookup_needs_the_revision(tmp_path: Path) -> None:
    file = tmp_path / "crm_mapping.yaml"
    file.write_text("drop: [revision]")
    making: Callable[[], CrmClient] = lambda: client_at("https://crm.example.com/", read_mapping(file))  # noqa: E731
    with pytest.raises(CrmMisconfigured, match="revision"):
        making()
