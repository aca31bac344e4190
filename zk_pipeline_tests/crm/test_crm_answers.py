"""What each answer means, as a table, and the words that are kept of it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from zk_pipeline.crm.answers import (
    MAX_RETRY_AFTER,
    HttpAnswer,
    Meaning,
    read_answer,
    read_batch_answer,
    retry_after,
)
from zk_pipeline.crm.words import MAX_WORDS, one_line, words_of
from zk_pipeline_tests.crm.crm_doubles import NOON

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def http(status: int, headers: Mapping[str, str] = JSON, body: bytes = b"{}") -> HttpAnswer:
    return HttpAnswer(status=status, headers=headers, body=body)


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ([200, 201, 202, 204], Meaning.DELIVERED),
        ([301, 302, 303, 307, 308, 304], Meaning.MISCONFIGURED),
        ([401, 403, 402, 405, 406, 407, 411, 415, 421, 426, 431], Meaning.MISCONFIGURED),
        ([408, 423, 425, 429, 500, 501, 502, 503, 504, 511, 599], Meaning.UNAVAILABLE),
        ([400, 404, 410, 412, 413, 414, 418, 422, 428, 451], Meaning.REFUSED),
        ([409, 199, 700], Meaning.UNKNOWN),
    ],
)
def test_each_status_has_its_meaning(statuses: list[int], meaning: Meaning) -> None:
    assert {s: read_answer(http(s), now=NOON).meaning for s in statuses} == dict.fromkeys(statuses, meaning)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (HTML, b"anything"),
        ({"content-type": "application/xhtml+xml"}, b"anything"),
        (JSON, b"\xef\xbb\xbf \r\n<!DOCTYPE HTML><title>Sign in</title>"),
        ({}, b"  <html>"),
    ],
)
def test_a_web_page_with_a_success_is_not_a_delivery(headers: dict[str, str], body: bytes) -> None:
    answer = read_answer(http(200, headers, body), now=NOON)
    assert answer.meaning is Meaning.MISCONFIGURED
    assert answer.error is not None
    assert "CRM_API_URL" in answer.error


@pytest.mark.parametrize("body", [b"", b"OK", b"<created/>", b'{"id": 1}'])
def test_any_other_body_with_a_success_is_a_delivery(body: bytes) -> None:
    answer = read_answer(http(201, {}, body), now=NOON)
    assert (answer.meaning, answer.error) == (Meaning.DELIVERED, None)


@pytest.mark.parametrize("name", ["Idempotent-Replay", "idempotent-replayed"])
def test_a_conflict_that_is_a_replay_is_a_delivery(name: str) -> None:
    assert read_answer(http(409, {name: "True"}), now=NOON).meaning is Meaning.DELIVERED
    assert read_answer(http(409, {name: "false"}), now=NOON).meaning is Meaning.UNKNOWN


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, JSON, "CRM_API_TOKEN"),
        (403, JSON, "CRM_AUTH_SCHEME"),
        (405, JSON, "CRM_API_URL"),
        (302, {"Location": "https://u:pw@crm.example.com/login?key=hush"}, "https://crm.example.com/login"),
        (302, {}, "CRM_API_URL"),
    ],
)
def test_a_misconfiguration_says_what_to_change(status: int, headers: dict[str, str], said: str) -> None:
    error = read_answer(http(status, headers), now=NOON).error or ""
    assert said in error
    assert "hush" not in error
    assert "pw" not in error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "Wed, 11 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 11 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 11 Nov 2026 09:00:20 GMT", "Date": "Wed, 11 Nov 2026 09:00:00 GMT"}, 20.0),
        ({"Retry-After": "Wednesday, 11-Nov-26 12:00:10 GMT"}, 10.0),
        ({"Retry-After": "999999999"}, MAX_RETRY_AFTER),
        ({"Retry-After": "Wed, 11 Nov 2099 12:00:30 GMT"}, MAX_RETRY_AFTER),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOON) == seconds
    assert read_answer(http(503, headers), now=NOON).retry_after == seconds
    assert read_answer(http(400, headers), now=NOON).retry_after is None


def result(key: str, status: object, **more: object) -> dict[str, object]:
    return {"idempotency_key": key, "status": status, **more}


def batch(results: object, *, keys: str = "abc", status: int = 207) -> dict[str, Meaning]:
    answers = read_batch_answer(http(status, body=json.dumps(results).encode()), list(keys), now=NOON)
    return dict(zip(keys, (a.meaning for a in answers), strict=True))


ALL_DELIVERED = dict.fromkeys("abc", Meaning.DELIVERED)


def test_a_batch_answer_is_read_record_by_record_in_any_order_and_wrapping() -> None:
    results = [result("c", 503), result("a", 201), result("b", 422, detail="no")]
    expected = {"a": Meaning.DELIVERED, "b": Meaning.REFUSED, "c": Meaning.UNAVAILABLE}
    assert batch(results) == batch({"results": results}) == batch(results, status=200) == expected


def test_results_without_keys_count_by_order_only_if_there_is_one_for_each() -> None:
    assert batch([{"status": 201}] * 3) == ALL_DELIVERED
    assert batch([{"status": 201}] * 2) == dict.fromkeys("abc", Meaning.UNKNOWN)


@pytest.mark.parametrize("second", [None, result("b", "201"), result("b", True), result("x", 201), {"status": 201}, 5])
def test_a_record_that_the_answer_does_not_account_for_is_unknown(second: object) -> None:
    results = [result("a", 201), result("c", 201)] + ([] if second is None else [second])
    assert batch(results) == ALL_DELIVERED | {"b": Meaning.UNKNOWN}


def test_a_short_batch_answer_is_put_in_words() -> None:
    body = json.dumps([result("a", 201)]).encode()
    answers = read_batch_answer(http(207, body=body), ["a", "b", "c"], now=NOON)
    assert answers[2].error == "the CRM's answer to a batch accounts for 1 of 3 records"


@pytest.mark.parametrize("body", [b"", b"OK", b'{"status": "ok"}', b'{"results": 3}', b'[{"status": 201}'])
def test_a_batch_success_without_results_names_the_setting(body: bytes) -> None:
    answers = read_batch_answer(http(200, body=body), ["a", "b"], now=NOON)
    assert {a.meaning for a in answers} == {Meaning.MISCONFIGURED}
    assert "CRM_BATCH_SIZE=1" in (answers[0].error or "")


def test_a_batch_refused_as_a_whole_is_not_yet_any_records_fault() -> None:
    assert batch([], status=400) == dict.fromkeys("abc", Meaning.BATCH_REFUSED)
    assert batch([], status=413, keys="a") == {"a": Meaning.BATCH_REFUSED}
    assert batch([], status=500) == dict.fromkeys("abc", Meaning.UNAVAILABLE)
    assert batch([], status=401) == dict.fromkeys("abc", Meaning.MISCONFIGURED)


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        (JSON, b'{"detail": "no such employee"}', "no such employee"),
        (JSON, b'{"errors": {"date": ["wrong"]}}', '{"date": ["wrong"]}'),
        (JSON, b'{"code": 7}', '{"code": 7}'),
        (JSON, b'"plain"', "plain"),
        (JSON, b"{broken", "{broken"),
        (JSON, b"[" * 100_000, "[" * (MAX_WORDS - 1) + "…"),
        (HTML, b"<html><title>Bad\n Gateway</title><p>long story", "Bad Gateway"),
        (HTML, b"<html><p>no title</p>", "no title"),
        ({}, b"a\x00b\x1b[31m\xff\r\nc", r"a\x00b\x1b[31m" + "\ufffd c"),
        ({}, "re\u202etsil".encode(), r"re\u202etsil"),
        ({}, b"", ""),
    ],
)
def test_the_crms_words_are_one_bounded_printable_line(headers: dict[str, str], body: bytes, words: str) -> None:
    assert words_of(headers.get("Content-Type", ""), body) == words


@pytest.mark.parametrize(
    "text",
    [
        "you sent s3cret/t+k=",
        'json {"token": "s3cret/t+k="}',
        r"json of PHP {'token': 's3cret\/t+k='}",
        "url ?t=s3cret%2Ft%2Bk%3D",
        "url ?t=s3cret/t%2Bk%3D",
        "Authorization: Token other-secret",
        '"authorization": "Bearer other-secret"',
        "x" * (MAX_WORDS - 8) + "s3cret/t+k=",
        "x" * 19_995 + " s3cret/t+k=",
        " " * 19_995 + " s3cret/t+k=",
    ],
)
def test_secrets_are_hidden_in_every_form_and_before_the_cut(text: str) -> None:
    shown = one_line(text, secrets=["s3cret/t+k=", ""])
    assert "s3c" not in shown
    assert "other-secret" not in shown
