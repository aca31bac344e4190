"""CRM client against the real receiver over loopback: classification of each response."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from zk_pipeline.crm.address_evidence import USERS_WITH_SAME_ANSWER, USERS_WITH_SAME_REJECTION
from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.endpoint import CrmEndpoint, TokenFile
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.crm.transport import MAX_BODY_BYTES
from zk_pipeline.simulator.crm.faults import Fault, first, html_page, redirect, refusal, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.crm.crm_doubles import DAY, NOON, TOKEN, client_of, deliveries, delivery, stub_crm


@pytest.fixture
def receiver() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as running:
        yield running


@pytest.fixture
def client(receiver: CrmReceiver) -> Iterator[CrmClient]:
    with client_of(receiver) as ready:
        yield ready


def test_a_record_is_delivered_as_the_contract_has_it(client: CrmClient, receiver: CrmReceiver) -> None:
    assert client.post_one(delivery()) == DeliveryResult(meaning=ResponseClass.DELIVERED, status=201)
    assert receiver.ledger.latest()["EMP001", DAY]["clock_in"] == "2026-11-11T08:15:30+03:00"
    assert receiver.ledger.attempts == {delivery().idempotency_key: 1}


@pytest.mark.parametrize("trouble", [Fault(drop="after"), Fault(cut_after=12), Fault(cut_after=-4)])
def test_a_replay_after_a_lost_answer_does_not_double(client: CrmClient, receiver: CrmReceiver, trouble: Fault) -> None:
    receiver.fault_rule = first(1, trouble)
    lost = client.post_one(delivery())
    assert (lost.meaning, lost.error is None) == (ResponseClass.UNKNOWN, False)
    assert client.post_one(delivery()) == DeliveryResult(meaning=ResponseClass.DELIVERED, status=200)
    assert receiver.ledger.revisions("EMP001", DAY) == [1]
    assert receiver.ledger.anomalies == []


def test_a_redirect_is_not_followed(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, redirect(receiver.url + "?moved=1"))
    answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.MISCONFIGURED
    assert receiver.url in (answer.error or "")
    assert (receiver.posts, receiver.ledger.latest()) == (1, {})


def test_a_login_page_with_200_is_not_a_delivery(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, html_page(title="Please sign in"))
    answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.UNCLEAR
    assert "Please sign in" in (answer.error or "")


def test_a_web_page_for_one_person_leaves_the_outcome_unknown_once_anybody_was_accepted(
    client: CrmClient, receiver: CrmReceiver
) -> None:
    receiver.fault_rule = whenever(lambda r: "EMP00001" in r.user_ids, html_page())
    meanings = [client.post_one(each).meaning for each in deliveries(3)]
    assert meanings == [ResponseClass.DELIVERED, ResponseClass.UNKNOWN, ResponseClass.DELIVERED]
    assert [a.meaning for a in client.post_batch(deliveries(2))] == [ResponseClass.UNKNOWN] * 2


def test_an_answer_dripped_beyond_the_deadline_ends_at_the_deadline(receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(drip=0.05))  # about 200 bytes: some 10 s, each read far below the timeout
    with client_of(receiver, timeout=0.6) as client:
        started = time.monotonic()
        answer = client.post_one(delivery())
        assert 0.5 < time.monotonic() - started < 2.0
        assert answer.meaning is ResponseClass.UNKNOWN
        assert "timeout" in (answer.error or "")
        assert client.post_one(delivery()).meaning is ResponseClass.DELIVERED
    assert receiver.ledger.revisions("EMP001", DAY) == [1]


def test_a_request_under_way_ends_when_the_run_is_being_ended(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(delay_after=60))
    answers: list[DeliveryResult] = []
    thread = threading.Thread(target=lambda: answers.append(client.post_one(delivery())))
    thread.start()
    deadline = time.monotonic() + 10
    while not receiver.ledger.latest():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    client.finish_within(0.1)
    thread.join(timeout=5)
    assert [a.meaning for a in answers] == [ResponseClass.UNKNOWN]
    assert client.post_one(delivery()).meaning is ResponseClass.UNAVAILABLE


def test_an_endless_answer_is_cut_at_the_bound(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(status=400, body=b"x" * (MAX_BODY_BYTES * 3)))
    assert client.post_one(delivery()).meaning is ResponseClass.REJECTED
    assert client.post_one(delivery()).meaning is ResponseClass.DELIVERED
    assert receiver.connections == 2, "the rest was dropped with its connection rather than read"


def test_a_compressed_bomb_is_cut_at_the_bound(client: CrmClient, receiver: CrmReceiver) -> None:
    bomb = gzip.compress(b"\0" * (MAX_BODY_BYTES * 4))
    receiver.fault_rule = first(1, Fault(status=400, headers={"Content-Encoding": "gzip"}, body=bomb))
    answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.REJECTED
    assert len(answer.error or "") < 400


def test_a_compressed_answer_is_read(client: CrmClient, receiver: CrmReceiver) -> None:
    body = gzip.compress(b'{"detail": "no such employee"}')
    receiver.fault_rule = first(1, Fault(status=422, headers={"Content-Encoding": "gzip"}, body=body))
    assert client.post_one(delivery()).error == "422: no such employee"


def test_a_broken_compression_leaves_the_outcome_unknown(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(status=200, headers={"Content-Encoding": "gzip"}, body=b"not gzip"))
    assert client.post_one(delivery()).meaning is ResponseClass.UNKNOWN


def test_nobody_listening_is_the_destinations_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = CrmEndpoint(url=f"http://127.0.0.1:{port}/")
    with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
        answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.UNAVAILABLE
    assert answer.error == f"cannot connect to 127.0.0.1:{port}: Connection refused"


def test_a_name_that_does_not_exist_is_the_set_ups_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
    endpoint = CrmEndpoint(url="https://crm.invalid/api/?key=hush")
    with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
        answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.MISCONFIGURED
    assert answer.error == "the name crm.invalid does not exist: check CRM_API_URL"


def test_a_resolver_that_is_down_is_nobodys_misconfiguration(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_resolver(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_resolver)
    with CrmClient(CrmEndpoint(url="https://crm.invalid/"), token=lambda: TOKEN, clock=lambda: NOON) as client:
        assert client.post_one(delivery()).meaning is ResponseClass.UNAVAILABLE


def test_a_resolver_that_hangs_ends_with_the_request_and_holds_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_now = threading.Event()

    def hang(*_: object, **__: object) -> object:
        answer_now.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        endpoint = CrmEndpoint(url="https://hanging.invalid/", timeout=0.3)
        with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
            for _ in range(3):
                answer = client.post_one(delivery())
                assert answer.meaning is ResponseClass.UNAVAILABLE
                assert "hanging.invalid:443" in (answer.error or "")
        assert sum(thread.name == "crm-resolve" for thread in threading.enumerate()) == 1
    finally:
        answer_now.set()


def test_a_server_that_does_not_read_what_it_is_sent_ends_with_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        endpoint = CrmEndpoint(url=f"http://127.0.0.1:{deaf.getsockname()[1]}/", timeout=0.5)
        with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
            answers = client.post_batch(deliveries(20_000))
    assert {answer.meaning for answer in answers} == {ResponseClass.UNKNOWN}


def test_a_compressed_drip_ends_at_the_deadline_too(receiver: CrmReceiver) -> None:
    body = gzip.compress(b'{"detail": "no such employee"}' * 1000)
    receiver.fault_rule = first(1, Fault(status=422, headers={"Content-Encoding": "gzip"}, body=body, drip=0.05))
    with client_of(receiver, timeout=0.5) as impatient:
        assert impatient.post_one(delivery()).meaning is ResponseClass.UNKNOWN


def test_compression_is_asked_for(client: CrmClient) -> None:
    sent: dict[str, str] = {}
    post = requests.Session.send

    def note(self: requests.Session, request: requests.PreparedRequest, **options: object) -> requests.Response:
        sent.update(request.headers)
        return post(self, request, **options)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "send", note)
        client.post_one(delivery())
    assert sent["Accept-Encoding"] == "gzip, deflate"


def test_the_environments_proxies_and_netrc_are_not_used(
    receiver: CrmReceiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login another password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with client_of(receiver) as client:
        assert client.post_one(delivery()).meaning is ResponseClass.DELIVERED


@pytest.mark.parametrize("status", [404, 405, 415])
@pytest.mark.parametrize("as_array", [False, True])
def test_a_wrong_address_is_one_where_several_people_get_the_same_and_nobody_is_accepted(
    receiver: CrmReceiver, as_array: bool, status: int
) -> None:
    url = receiver.url.replace("attendance", "attendence") if status == 404 else receiver.url
    receiver.fault_rule = whenever(lambda _: True, refusal(status, detail="no such address"))
    with CrmClient(CrmEndpoint(url=url), token=lambda: TOKEN, clock=lambda: NOON) as client:
        again = [client.post_one(delivery()).meaning for _ in range(2 * USERS_WITH_SAME_ANSWER)]
        assert set(again) == {ResponseClass.UNCLEAR}, "one person's record, however often, shows nothing of the address"
        if as_array:
            assert {a.meaning for a in client.post_batch(deliveries(3))} == {ResponseClass.BATCH_REJECTED}
        answers = [client.post_one(each) for each in deliveries(USERS_WITH_SAME_ANSWER)[: USERS_WITH_SAME_ANSWER - 1]]
    assert [a.meaning for a in answers] == [ResponseClass.UNCLEAR] * (USERS_WITH_SAME_ANSWER - 2) + [
        ResponseClass.MISCONFIGURED
    ]
    assert "CRM_API_URL" in (answers[-1].error or "")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 415, 422])
def test_what_one_person_is_told_is_the_persons_once_anybody_was_accepted(
    client: CrmClient, receiver: CrmReceiver, status: int
) -> None:
    receiver.fault_rule = whenever(lambda r: "EMP00001" in r.user_ids, refusal(status, detail="no such address"))
    assert [client.post_one(each).meaning for each in deliveries(3)] == [
        ResponseClass.DELIVERED,
        ResponseClass.REJECTED,
        ResponseClass.DELIVERED,
    ]


def test_a_token_that_may_no_longer_deliver_is_the_set_ups_fault_although_it_has_delivered(
    client: CrmClient, receiver: CrmReceiver
) -> None:
    assert client.post_one(delivery()).meaning is ResponseClass.DELIVERED
    receiver.fault_rule = whenever(lambda _: True, refusal(403))
    meanings = [client.post_one(each).meaning for each in deliveries(USERS_WITH_SAME_ANSWER)]
    assert meanings == [ResponseClass.REJECTED] * (USERS_WITH_SAME_ANSWER - 1) + [ResponseClass.MISCONFIGURED]


def test_a_refusal_of_everybody_alike_is_the_set_ups_fault(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = whenever(lambda _: True, refusal(400, detail="unknown field clock_in"))
    answers = [client.post_one(each) for each in deliveries(USERS_WITH_SAME_REJECTION)]
    assert {a.meaning for a in answers[:-1]} == {ResponseClass.REJECTED}
    assert answers[-1].meaning is ResponseClass.MISCONFIGURED
    assert "crm_mapping.yaml" in (answers[-1].error or "")


@pytest.mark.parametrize("detail", ["no such employee", "no such address"])
def test_a_404_of_the_right_address_is_the_records_fault(client: CrmClient, receiver: CrmReceiver, detail: str) -> None:
    receiver.fault_rule = first(1, refusal(404, detail=detail))
    assert client.post_one(delivery()).meaning is ResponseClass.REJECTED
    assert client.post_one(delivery()).meaning is ResponseClass.DELIVERED


def test_a_404_for_a_record_is_the_records_fault_where_every_get_is_a_404_too() -> None:
    words = {"POST": "no such employee", "GET": "no such page"}
    with stub_crm(lambda method, _, __: (404, words[method])) as url:
        client = CrmClient(CrmEndpoint(url=url), token=lambda: TOKEN, clock=lambda: NOON)
        answer = client.post_one(delivery())
        client.close()
    assert answer == DeliveryResult(meaning=ResponseClass.REJECTED, status=404, error="404: no such employee")


def test_a_404_that_repeats_the_method_is_still_the_addresss() -> None:
    with stub_crm(lambda method, _, __: (404, f"Cannot {method} /")) as url:
        client = CrmClient(CrmEndpoint(url=url), token=lambda: TOKEN, clock=lambda: NOON)
        assert client.post_one(delivery()).meaning is ResponseClass.UNCLEAR
        client.close()


@pytest.mark.parametrize(("status", "words"), [(200, "<html>the site"), (302, ""), (503, "down")])
def test_a_get_that_shows_nothing_of_the_address_does_not_make_it_right(status: int, words: str) -> None:
    with stub_crm(lambda method, _, __: (404, "not found") if method == "POST" else (status, words)) as url:
        client = CrmClient(CrmEndpoint(url=url), token=lambda: TOKEN, clock=lambda: NOON)
        assert client.post_one(delivery()).meaning is ResponseClass.UNCLEAR
        client.close()


def test_a_token_rotated_during_a_run_is_used_at_once(receiver: CrmReceiver, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    with CrmClient(CrmEndpoint(url=receiver.url), token=TokenFile(path), clock=lambda: NOON) as client:
        assert client.post_one(delivery()).status == 201
        receiver.token = "rotated"
        assert client.post_one(delivery("EMP002")).meaning is ResponseClass.MISCONFIGURED
        path.write_text("rotated")
        assert client.post_one(delivery("EMP002")).status == 201


def test_a_token_rotated_between_request_and_answer_is_tried_again(receiver: CrmReceiver) -> None:
    tokens = iter(["old", TOKEN])
    with CrmClient(CrmEndpoint(url=receiver.url), token=lambda: next(tokens), clock=lambda: NOON) as client:
        assert client.post_one(delivery()).status == 201


@pytest.mark.parametrize("token", ["", "two\nlines", "ключ", " padded"])
def test_a_token_that_cannot_be_sent_is_the_set_ups_fault_and_is_not_shown(receiver: CrmReceiver, token: str) -> None:
    with CrmClient(CrmEndpoint(url=receiver.url), token=lambda: token, clock=lambda: NOON) as client:
        answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.MISCONFIGURED
    assert "CRM_API_TOKEN" in (answer.error or "")
    assert not token.strip() or token.strip() not in (answer.error or "")


def test_the_token_is_in_no_error_and_no_log(
    client: CrmClient, receiver: CrmReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = f"you sent Authorization: Token {TOKEN} and {TOKEN}"
    troubles = [refusal(s, detail=echo) for s in (400, 401, 403, 409, 500)]
    troubles += [html_page(title=echo), redirect(f"/{TOKEN}"), Fault(drop="before")]
    answers = []
    for trouble in troubles:
        receiver.fault_rule = first(1, trouble)
        answers.append(client.post_one(delivery()))
    assert all(a.error for a in answers)
    assert TOKEN not in repr(answers)
    assert TOKEN not in caplog.text
    assert "POST" in caplog.text, "the log that was looked at must be the one that is written"


@pytest.mark.parametrize(
    ("query", "echo"),
    [
        ("key=hush%2Fhush&format=json", "you asked for key=hush%2Fhush&format=json"),
        ("key=hush%2Fhush", "hush/hush"),
        ("key=hush%2fhush", r"hush\\/hush and hush%2fhush"),
        ("hush=1&a=b", "/api/?hush=1&amp;a=b"),
        ("hush", "hush"),
    ],
)
def test_a_query_of_the_address_that_the_crm_echoes_is_in_no_error(
    receiver: CrmReceiver, query: str, echo: str
) -> None:
    endpoint = CrmEndpoint(url=f"{receiver.url}?{query}", lookup="?secret=hushhush&user={user_id}&date={date}")
    with CrmClient(endpoint, token=lambda: TOKEN, clock=lambda: NOON) as client:
        for status in (200, 400, 500):
            receiver.fault_rule = first(1, Fault(status=status, body=f'{{"error": "{echo} hushhush"}}'.encode()))
            answer = client.post_one(delivery())
            assert answer.error
            assert "hush" not in answer.error


def test_a_batch_is_answered_record_by_record(client: CrmClient, receiver: CrmReceiver) -> None:
    due = deliveries(5)
    receiver.unknown_users = {"EMP00003"}
    answers = client.post_batch(due)
    assert [a.status for a in answers] == [201, 201, 201, 422, 201]
    assert answers[3] == DeliveryResult(meaning=ResponseClass.REJECTED, status=422, error="422: no employee EMP00003")
    assert [a.status for a in client.post_batch(due)] == [200, 200, 200, 422, 200]
    assert receiver.posts == 2
    assert len(receiver.ledger.latest()) == 4
    assert receiver.ledger.anomalies == []


def test_a_truncated_batch_answer_leaves_the_rest_unknown(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = first(1, Fault(keep_results=2))
    answers = client.post_batch(deliveries(4))
    assert [a.meaning for a in answers] == [ResponseClass.DELIVERED] * 2 + [ResponseClass.UNKNOWN] * 2


def test_a_batch_refused_for_one_record_is_refused_as_a_whole(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = whenever(lambda r: "EMP00001" in r.user_ids, refusal(400))
    assert {a.meaning for a in client.post_batch(deliveries(4))} == {ResponseClass.BATCH_REJECTED}


def test_one_thread_keeps_one_connection(client: CrmClient, receiver: CrmReceiver) -> None:
    for due in deliveries(5):
        client.post_one(due)
    assert receiver.connections == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("crm.example.com/api", "full address"),
        ("ftp://crm.example.com/", "full address"),
        ("https://", "full address"),
        ("https://crm.example.com:99999/", "not a valid address"),
        ("https://[::1/", "not a valid address"),
        ("https://crm.example.com/a b", "full address"),
        ("https://user:pw@crm.example.com/", "must not contain a user"),
        ("http://crm.example.com/", "CRM_ALLOW_INSECURE_HTTP"),
        ("http://127.0.0.1.example.com/", "CRM_ALLOW_INSECURE_HTTP"),
    ],
)
def test_an_address_that_must_not_be_used_is_refused_by_name(url: str, said: str) -> None:
    with pytest.raises(CrmMisconfigured, match=said) as caught:
        CrmEndpoint(url=url)
    assert "CRM_API_URL" in str(caught.value)
    assert "pw@" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://localhost/", "http://127.9.9.9:8080/x", "http://[::1]:80/", "https://crm.example/"]
)
def test_loopback_may_be_plain(url: str) -> None:
    assert CrmEndpoint(url=url).host


def test_plain_http_elsewhere_is_possible_when_asked_for() -> None:
    assert CrmEndpoint(url="http://crm.example.com/", allow_insecure_http=True).port == 80


def test_a_bundle_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    for each in (path, tmp_path / "missing.pem"):
        with pytest.raises(CrmMisconfigured, match="CRM_CA_BUNDLE"):
            CrmEndpoint(url="https://crm.example.com/", ca_bundle=each)


def test_a_missing_token_file_is_named(receiver: CrmReceiver, tmp_path: Path) -> None:
    source = TokenFile(tmp_path / "missing")
    with CrmClient(CrmEndpoint(url=receiver.url), token=source, clock=lambda: NOON) as client:
        answer = client.post_one(delivery())
    assert answer.meaning is ResponseClass.MISCONFIGURED
    assert "CRM_API_TOKEN_FILE" in (answer.error or "")
