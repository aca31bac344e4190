"""Classification of each answer, as a table, and its message."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from zk_pipeline.crm.batch_responses import SentRecord, classify_batch_response, classify_single_response
from zk_pipeline.crm.responses import (
    MAX_RETRY_AFTER,
    HttpResponse,
    ResponseClass,
    classify_response,
    retry_after,
)
from zk_pipeline.crm.sanitize import MAX_LENGTH, extract_message, sanitize_line
from zk_pipeline_tests.crm.crm_doubles import NOON

JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html; charset=utf-8"}


def http(status: int, headers: Mapping[str, str] = JSON, body: bytes = b"{}") -> HttpResponse:
    return HttpResponse(status=status, headers=headers, body=body)


@pytest.mark.parametrize(
    ("statuses", "meaning"),
    [
        ([200, 201, 202, 204], ResponseClass.DELIVERED),
        ([301, 302, 303, 307, 308, 304], ResponseClass.MISCONFIGURED),
        ([401, 402, 407], ResponseClass.MISCONFIGURED),
        ([403, 404, 405, 406, 410, 411, 415, 421, 426, 431], ResponseClass.UNCLEAR),
        ([408, 423, 425, 429, 500, 501, 502, 503, 504, 511, 599], ResponseClass.UNAVAILABLE),
        ([400, 412, 413, 414, 418, 422, 428, 451], ResponseClass.REJECTED),
        ([409, 199, 700], ResponseClass.UNKNOWN),
    ],
)
def test_each_status_has_its_meaning(statuses: list[int], meaning: ResponseClass) -> None:
    assert {s: classify_response(http(s), now=NOON).meaning for s in statuses} == dict.fromkeys(statuses, meaning)


@pytest.mark.parametrize("body", [b"{}", b'{"multistatus": "unclear"}', b"[]"])
def test_a_207_without_the_records_result_is_no_success(body: bytes) -> None:
    answer = classify_single_response(http(207, JSON, body), SentRecord(key="a"), now=NOON)
    assert answer.meaning is ResponseClass.UNKNOWN


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
    answer = classify_response(http(200, headers, body), now=NOON)
    assert answer.meaning is ResponseClass.UNCLEAR
    assert answer.error is not None
    assert "CRM_API_URL" in answer.error


SUCCESSES = {
    "empty": b"",
    "blank": b"\xef\xbb\xbf \r\n",
    "object": b'{"id": 1}',
    "null": b"null",
    "text": b'"stored"',
    "no error": b'{"success": true, "error": null, "errors": [], "errorCode": "0000", "status": "created"}',
    "empty error object": b'{"error": {"code": 0, "message": "success"}, "code": 0}',
    "JSON-RPC result": b'{"jsonrpc": "2.0", "id": 1, "result": {"id": 7}}',
    "own status": b'{"id": 1, "employee": {"status": "rejected", "code": 450}}',
    "echo": b'{"user_id": "EMP001", "clock_out": null, "is_outlier": false, "outlier_reason": ""}',
    "UTF-16": '{"id": "\u00e9"}'.encode("utf-16"),
}


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("body", SUCCESSES.values(), ids=SUCCESSES)
def test_an_empty_body_and_json_without_a_sign_of_failure_are_a_delivery(body: bytes, status: int) -> None:
    answer = classify_response(http(status, {}, body), now=NOON)
    assert (answer.meaning, answer.error) == (ResponseClass.DELIVERED, None)


FAILURES = {
    "success false": b'{"success": false}',
    "success 0": b'{"isSuccess": 0}',
    "success in words": b'{"Success": "false"}',
    "ok false": b'{"ok": false}',
    "error": b'{"error": "no such employee"}',
    "errors of GraphQL": b'{"data": null, "errors": [{"message": "no"}]}',
    "error of JSON-RPC": b'{"jsonrpc": "2.0", "error": {"code": -32000, "message": "no"}, "id": 1}',
    "error in an envelope": b'{"d": {"results": [{"errors": ["no"]}]}}',
    "a list of errors": b'[{"message": "no", "errorCode": "INVALID"}]',
    "status error": b'{"status": "error"}',
    "status failed": b'{"result": "FAILED_VALIDATION"}',
    "status 422": b'{"status": 422, "detail": "no"}',
    "status in text": b'{"statusCode": "422"}',
    "code": b'{"code": 500}',
    "failed count": b'{"stored": 0, "failed": 1}',
    "false": b"false",
    "text": b'"error: no such employee"',
    "PHP notice": b'<br />\n<b>Warning</b>: Undefined index\n{"id": 1}',
    "PHP fatal error": b"PHP Fatal error:  Uncaught PDOException in /srv/a.php:3",
    "cut JSON": b'{"id": 1, "sta',
    "XML fault": b"<?xml version='1.0'?><Fault><faultstring>no</faultstring></Fault>",
    "text alone": b"OK",
    "two documents": b'{"id": 1}{"id": 2}',
    "nested too deeply": b"[" * 100_000,
}


@pytest.mark.parametrize("body", FAILURES.values(), ids=FAILURES)
def test_a_success_that_does_not_show_it_is_an_unknown_outcome_and_names_the_file(body: bytes) -> None:
    for headers in ({}, JSON):
        answer = classify_response(http(200, headers, body), now=NOON)
        assert answer.meaning is ResponseClass.UNKNOWN
        assert "crm_mapping.yaml" in (answer.error or "")


def test_a_problem_document_and_an_answer_that_was_cut_are_no_success() -> None:
    problem = classify_response(http(200, {"Content-Type": "application/problem+json"}, b'{"title": "no"}'), now=NOON)
    assert problem.meaning is ResponseClass.UNKNOWN
    cut = classify_response(HttpResponse(status=200, headers=JSON, body=b"{}", is_cut=True), now=NOON)
    assert cut.meaning is ResponseClass.UNKNOWN
    assert "longer than the 2 bytes" in (cut.error or "")


SENT = SentRecord(key="a", user_id="1", date="2026-11-11")


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        (b'[{"status": 422, "detail": "no"}]', ResponseClass.REJECTED),
        (b'{"results": [{"status": "422", "detail": "no"}]}', ResponseClass.REJECTED),
        (b'{"results": [{"status": 201}]}', ResponseClass.DELIVERED),
        (b'{"results": [{"status": 201, "idempotency_key": "another"}]}', ResponseClass.UNKNOWN),
        (b'{"results": [{"status": 201}, {"status": 201}]}', ResponseClass.UNKNOWN),
        (b"<multistatus/>", ResponseClass.UNKNOWN),
        (b"", ResponseClass.UNKNOWN),
    ],
)
def test_a_207_to_a_single_record_is_what_its_result_says(body: bytes, meaning: ResponseClass) -> None:
    assert classify_single_response(http(207, body=body), SENT, now=NOON).meaning is meaning


@pytest.mark.parametrize("name", ["Idempotent-Replay", "idempotent-replayed"])
def test_a_conflict_that_is_a_replay_is_a_delivery(name: str) -> None:
    assert classify_response(http(409, {name: "True"}), now=NOON).meaning is ResponseClass.DELIVERED
    assert classify_response(http(409, {name: "false"}), now=NOON).meaning is ResponseClass.UNKNOWN


@pytest.mark.parametrize("name", ["Idempotent-Replay", "Idempotent-Replayed"])
def test_a_422_that_is_a_replay_is_a_delivery_unless_it_says_that_it_failed(name: str) -> None:
    for body in (b"", b"{}", b'{"detail": "this key was used before"}'):
        assert classify_response(http(422, {name: "true"}, body), now=NOON).meaning is ResponseClass.DELIVERED
    for body in (b'{"error": "no such employee"}', b'{"success": false}', b"no such employee"):
        assert classify_response(http(422, {name: "true"}, body), now=NOON).meaning is ResponseClass.REJECTED
    assert classify_response(http(422, {name: "false"}), now=NOON).meaning is ResponseClass.REJECTED


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (401, JSON, "CRM_API_TOKEN"),
        (403, JSON, "CRM_AUTH_SCHEME"),
        (402, JSON, "account"),
        (302, {"Location": "https://u:pw@crm.example.com/login?key=hush"}, "https://crm.example.com/login"),
        (302, {}, "CRM_API_URL"),
    ],
)
def test_a_misconfiguration_says_what_to_change(status: int, headers: dict[str, str], said: str) -> None:
    error = classify_response(http(status, headers), now=NOON).error or ""
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
    assert classify_response(http(503, headers), now=NOON).retry_after == seconds
    assert classify_response(http(400, headers), now=NOON).retry_after is None


def result(key: str, status: object, **more: object) -> dict[str, object]:
    return {"idempotency_key": key, "status": status, **more}


def sent(keys: str) -> list[SentRecord]:
    return [SentRecord(key=key, user_id=key.upper(), date="2026-11-11", user_field="employee") for key in keys]


def batch(results: object, *, keys: str = "abc", status: int = 207) -> dict[str, ResponseClass]:
    answers = classify_batch_response(http(status, body=json.dumps(results).encode()), sent(keys), now=NOON)
    return dict(zip(keys, (a.meaning for a in answers), strict=True))


ALL_DELIVERED = dict.fromkeys("abc", ResponseClass.DELIVERED)


def test_a_batch_answer_is_read_record_by_record_in_any_order_and_wrapping() -> None:
    results = [result("c", 503), result("a", 201), result("b", 422, detail="no")]
    expected = {"a": ResponseClass.DELIVERED, "b": ResponseClass.REJECTED, "c": ResponseClass.UNAVAILABLE}
    assert batch(results) == batch({"results": results}) == batch(results, status=200) == expected


def test_results_without_keys_count_by_order_only_if_there_is_one_for_each() -> None:
    assert batch([{"status": 201}] * 3) == ALL_DELIVERED
    assert batch([{"status": 201}] * 2) == dict.fromkeys("abc", ResponseClass.UNKNOWN)


@pytest.mark.parametrize("second", [None, result("b", None), result("b", True), result("x", 201), {"status": 201}, 5])
def test_a_record_that_the_answer_does_not_account_for_is_unknown(second: object) -> None:
    results = [result("a", 201), result("c", 201)] + ([] if second is None else [second])
    assert batch(results) == ALL_DELIVERED | {"b": ResponseClass.UNKNOWN}


def test_a_short_batch_answer_is_put_in_words() -> None:
    body = json.dumps([result("a", 201)]).encode()
    answers = classify_batch_response(http(207, body=body), sent("abc"), now=NOON)
    assert answers[2].error == "the CRM's answer to a batch accounts for 1 of 3 records"


@pytest.mark.parametrize("body", [b"OK", b'[{"status": 201}', b'{"success": false}', b"<ok/>"])
def test_a_batch_answer_that_is_no_json_or_says_that_it_failed_is_unknown(body: bytes) -> None:
    answers = classify_batch_response(http(200, body=body), sent("ab"), now=NOON)
    assert {a.meaning for a in answers} == {ResponseClass.UNKNOWN}
    assert "CRM_BATCH_SIZE=1" in (answers[0].error or "")


def test_a_batch_answer_that_was_cut_says_so() -> None:
    body = json.dumps([result("a", 201)]).encode()
    answers = classify_batch_response(
        HttpResponse(status=200, headers=JSON, body=body, is_cut=True), sent("a"), now=NOON
    )
    assert answers[0].meaning is ResponseClass.UNKNOWN
    assert f"longer than the {len(body)} bytes" in (answers[0].error or "")


REFUSED_B = {"a": ResponseClass.DELIVERED, "b": ResponseClass.REJECTED, "c": ResponseClass.DELIVERED}


@pytest.mark.parametrize(
    "results",
    [
        [result("c", "201"), result("b", "422 Unprocessable"), result("a", " 200 OK")],
        [{"idempotencyKey": "b", "statusCode": 422}, {"Idempotency-Key": "a", "status": 200}, result("c", 201)],
        [
            {"employee": "C", "date": "2026-11-11", "status": 201},
            {"employee": "B", "date": "2026-11-11T00:00:00Z", "status": 422},
            {"employee": "A", "date": "2026-11-11", "success": True},
        ],
        [{"record": {"employee": e, "date": "2026-11-11"}, "status": 422 if e == "B" else 201} for e in "BAC"],
        [{"index": 2, "status": 201}, {"index": 1, "status": 422}, {"index": 0, "status": 201}],
        [{"index": "3", "status": 201}, {"index": "2", "status": 422}, {"index": "1", "status": 201}],
        [{"status": 201}, {"status": 422}, {"status": "created"}],
        [result("a", 201), result("a", 200), result("b", 403), result("c", 201)],
        [result("a", 201, employee="7", date="2026-11-11"), result("b", 422, index=1), result("c", 201)],
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [None, "results", "items", "records", "responses", "data"])
def test_results_are_matched_by_what_they_say(results: list[object], wrapped: str | None) -> None:
    assert batch(results if wrapped is None else {wrapped: results, "success": False}, status=200) == REFUSED_B


UNKNOWN_B = ALL_DELIVERED | {"b": ResponseClass.UNKNOWN}


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([result("a", 201), result("b", 201), result("b", 422), result("c", 201)], UNKNOWN_B),
        ([result("a", 201), result("x", 201), result("c", 201)], UNKNOWN_B),
        (
            [result("a", 201, index=0), result("b", 201, index=2), result("c", 201, index=2)],
            ALL_DELIVERED | {"b": ResponseClass.UNKNOWN, "c": ResponseClass.UNKNOWN},
        ),
        (
            [result("a", 201, employee="B", date="2026-11-11"), result("c", 201)],
            {"a": ResponseClass.UNKNOWN, "b": ResponseClass.UNKNOWN, "c": ResponseClass.DELIVERED},
        ),
        ([{"index": 1, "status": 201}, {"index": 2, "status": 201}], dict.fromkeys("abc", ResponseClass.UNKNOWN)),
        ([{"index": 0, "status": 201}, {"index": 2, "status": 201}], UNKNOWN_B),
        ([{"employee": "X", "date": "2026-11-11", "status": 201}] * 3, dict.fromkeys("abc", ResponseClass.UNKNOWN)),
        ([{"status": 201}] * 4, dict.fromkeys("abc", ResponseClass.UNKNOWN)),
        ([result("a", 201), result("b", 200, error="no"), result("c", 201)], UNKNOWN_B),
        ([result("a", 201), result("b", "failed"), result("c", 201)], UNKNOWN_B),
        ([result("a", 201), result("b", 301), result("c", 201)], UNKNOWN_B),
    ],
)
def test_what_contradicts_itself_is_never_delivered(results: object, expected: dict[str, ResponseClass]) -> None:
    assert batch(results) == expected


@pytest.mark.parametrize("body", [b"", b'{"status": "ok"}', b'{"results": 3}', b"[3]"])
def test_a_batch_success_without_results_names_the_setting(body: bytes) -> None:
    answers = classify_batch_response(http(200, body=body), sent("ab"), now=NOON)
    assert {a.meaning for a in answers} == {ResponseClass.MISCONFIGURED}
    assert "CRM_BATCH_SIZE=1" in (answers[0].error or "")


def test_a_batch_refused_as_a_whole_is_not_yet_any_records_fault() -> None:
    assert batch([], status=400) == dict.fromkeys("abc", ResponseClass.BATCH_REJECTED)
    assert batch([], status=413, keys="a") == {"a": ResponseClass.BATCH_REJECTED}
    assert batch([], status=500) == dict.fromkeys("abc", ResponseClass.UNAVAILABLE)
    assert batch([], status=401) == dict.fromkeys("abc", ResponseClass.MISCONFIGURED)


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        (JSON, b'{"detail": "no such employee"}', "no such employee"),
        (JSON, b'{"errors": {"date": ["wrong"]}}', '{"date": ["wrong"]}'),
        (JSON, b'{"code": 7}', '{"code": 7}'),
        (JSON, b'"plain"', "plain"),
        (JSON, b"{broken", "{broken"),
        (JSON, b"[" * 100_000, "[" * (MAX_LENGTH - 1) + "…"),
        (HTML, b"<html><title>Bad\n Gateway</title><p>long story", "Bad Gateway"),
        (HTML, b"<html><p>no title</p>", "no title"),
        ({}, b"a\x00b\x1b[31m\xff\r\nc", r"a\x00b\x1b[31m" + "\ufffd c"),
        ({}, "re\u202etsil".encode(), r"re\u202etsil"),
        ({}, b"", ""),
    ],
)
def test_the_crms_words_are_one_bounded_printable_line(headers: dict[str, str], body: bytes, words: str) -> None:
    assert extract_message(headers.get("Content-Type", ""), body) == words


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
        "x" * (MAX_LENGTH - 8) + "s3cret/t+k=",
        "x" * 19_995 + " s3cret/t+k=",
        " " * 19_995 + " s3cret/t+k=",
    ],
)
def test_secrets_are_hidden_in_every_form_and_before_the_cut(text: str) -> None:
    shown = sanitize_line(text, secrets=["s3cret/t+k=", ""])
    assert "s3c" not in shown
    assert "other-secret" not in shown
