"""Strict input: every action of the OpenAPI document refuses unknown parameters, fields and bodies."""

from __future__ import annotations

import json
from concurrent.futures import Future
from datetime import date
from itertools import count
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from zk_pipeline.http.run_workers import Action, ActionResult
from zk_pipeline_tests.api.api_fixtures import NothingToDo, Served

DAYS = "/api/processed-attendance"
PROCESS = f"{DAYS}/process/"
SYNC = f"{DAYS}/sync/"
SAMPLES = {
    "device_id": 1, "day_id": 1, "name": "none", "assignment_id": 77, "day": "2026-01-01", "correction_id": 77,
    "request_id": 77, "leave_id": 77, "season_id": 77, "period": "none",
    "serial": "none",
}  # fmt: skip
CHANGES = ("post", "put", "patch", "delete")


def operations(client: httpx.Client) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path with samples in it, and description of everything that changes something."""
    paths = client.get("/api/openapi.json").json()["paths"]
    return [
        (method, path.format(**SAMPLES), described)
        for path, methods in paths.items()
        for method, described in methods.items()
        if method in CHANGES
    ]


def test_every_action_refuses_a_field_that_it_does_not_know_and_names_it(admin: httpx.Client) -> None:
    found = operations(admin)
    assert len(found) > 15
    for method, path, _ in found:
        answer = admin.request(method, path, json={"dat": "2026-03-02"})
        assert (answer.status_code, "dat: " in answer.json()["detail"]) == (400, True), (method, path, answer.text)


def test_every_action_refuses_a_parameter_that_it_does_not_know_and_names_it(admin: httpx.Client) -> None:
    for method, path, _ in operations(admin):
        answer = admin.request(method, f"{path}?dat=2026-03-02")
        assert (answer.status_code, "dat: " in answer.json()["detail"]) == (400, True), (method, path, answer.text)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b"[1]", "application/json", "body: "),
        (b'"text"', "application/json", "body: "),
        (b'{"wait": tru', "application/json", ""),
        (b'{"wait": NaN}', "application/json", ""),
        (b'{"note": 1, "note": 2}', "application/json", "note: given more than once"),
        (b"\xff", "application/json", ""),
        (b"limit=5", "application/x-www-form-urlencoded", "body: "),
        (b'{"wait": false}', "text/plain", ""),
    ],
)
def test_every_action_refuses_what_is_no_object_of_json(
    admin: httpx.Client, content: bytes, kind: str, words: str
) -> None:
    for method, path, _ in operations(admin):
        answer = admin.request(method, path, content=content, headers={"Content-Type": kind})
        assert (answer.status_code, words in answer.json()["detail"]) == (400, True), (method, path, answer.text)


DONE = (200, 201, 202, 204)
WRONG: tuple[Any, ...] = (
    [], {}, -1, 1.5, 1e308, 10**30, True, "", "\x00", "\ud800", "x" * 100_000, "2026-02-30", "٣", None,
)  # fmt: skip


@pytest.mark.parametrize("each", [4, pytest.param(len(WRONG), marks=pytest.mark.matrix)])
def test_every_field_of_every_action_takes_any_wrong_value_without_an_unexpected_error(
    admin: httpx.Client, each: int
) -> None:
    """`each`: so many of the values for every field, other ones for the next field."""
    schemas = admin.get("/api/openapi.json").json()["components"]["schemas"]
    values = ([WRONG[(start + 5 * number) % len(WRONG)] for number in range(each)] for start in count())
    tried = 0
    for method, path, described in operations(admin):
        there = path.replace("/1/", "/999/")  # whatever is valid after all changes nothing
        names = [one["name"] for one in described.get("parameters", []) if one["in"] == "query"]
        fields: list[str] = []
        if "requestBody" in described:
            schema = described["requestBody"]["content"]["application/json"]["schema"]
            part = next(one for one in (schema, *schema.get("anyOf", ())) if "$ref" in one)
            fields = list(schemas[part["$ref"].rpartition("/")[2]]["properties"])
        sent: list[tuple[str, Any]] = []
        for name in names:
            texts = (quote(str(value)[:5000], errors="replace") for value in next(values))
            sent += [(f"{there}?{name}={text}", None) for text in texts]
        for name in fields:
            sent += [(there, {name: value}) for value in next(values)]
        for address, body in sent:
            content = None if body is None else json.dumps(body)
            answer = admin.request(method, address, content=content, headers={"Content-Type": "application/json"})
            tried += 1
            where = (method, address[:90], str(body)[:90], answer.status_code, answer.text[:300])
            assert answer.status_code in (*DONE, 400, 404, 409, 413, 431, 503), where
            if answer.status_code not in DONE:
                assert list(answer.json()) in (["detail"], ["detail", "error_code"]), (address[:90], answer.text)
                assert "\n" not in answer.json()["detail"]
    assert tried > 35 * each


def test_every_action_that_needs_no_field_takes_an_empty_body_as_clients_of_the_bridge_send_it(
    admin: httpx.Client,
) -> None:
    taken = []
    for method, path, described in operations(admin):
        if method != "post" or described.get("requestBody", {}).get("required"):
            continue
        for content in (b"", b"{}", b" \r\n"):
            for kind in ("application/json", "application/x-www-form-urlencoded", "text/plain", None):
                headers = {} if kind is None else {"Content-Type": kind}
                there = path.replace("/1/set-clock/", "/999/set-clock/")  # no terminal responds at 1
                answer = admin.request(method, there, content=content, headers=headers)
                assert answer.status_code in (200, 404, 503), (path, content, kind, answer.text)  # 503: no CRM
        taken.append(path)
    assert {PROCESS, SYNC, "/api/devices/poll_all/", "/api/devices/1/poll/", "/api/quarantine/release/"} <= set(taken)


def test_who_may_not_do_it_is_told_that_whatever_was_sent(served: Served, stranger: httpx.Client) -> None:
    with served.client("read") as reader:
        for method, path, _ in operations(reader):
            for there, content in ((path, b"{"), (f"{path}?dat=1", b""), (path, b'{"dat": 1}')):
                assert reader.request(method, there, content=content).status_code == 403, (method, there)
                assert stranger.request(method, there, content=content).status_code == 401, (method, there)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        (PROCESS, {"date": "2019-01-01"}, "date: 2019-01-01 is before ZK_PIPELINE_HISTORY_START"),
        (PROCESS, {"date": "2999-01-01"}, "date: 2999-01-01 is in the future"),
        (PROCESS, {"start_date": "2019-01-01", "end_date": "2026-01-01"}, "start_date: 2019-01-01 is before"),
        (PROCESS, {"start_date": "2026-03-02"}, "must be given together"),
        (PROCESS, {"date": "2026-02-30"}, "date: "),
        (PROCESS, {"date": 20260302}, "date: "),
        (PROCESS, {"date": ["2026-03-02"]}, "date: "),
        (PROCESS, {"date": ""}, "date: "),
        (PROCESS, {"wait": "false"}, "wait: "),
        (PROCESS, {"wait": 0}, "wait: "),
        (SYNC, {"limit": 0}, "limit: "),
        (SYNC, {"limit": "5"}, "limit: "),
        (SYNC, {"limit": True}, "limit: "),
        (SYNC, {"user_id": 1001}, "user_id: "),
        (SYNC, {"retry_failed": "true"}, "retry_failed: "),
        (SYNC, {"start_date": "2026-03-02", "end_date": "2026-03-01"}, "end_date 2026-03-01 is before"),
        (f"{SYNC}?limit=5", {"limit": 5}, "limit: given both"),
        (f"{PROCESS}?date=2026-03-02", {"date": "2026-03-03"}, "date: given both"),
        ("/api/quarantine/release/", {"device": "1"}, "device: "),
        ("/api/quarantine/release/", {"device": 99}, "device: there is none with the id 99"),
        ("/api/shift-assignments/", {"shift": "night", "user_id": 42}, "user_id: "),
        ("/api/shift-assignments/", {"shift": 7, "user_id": "42"}, "shift: "),
        ("/api/holidays/", {"date": "2026-05-01", "name": "x", "site": 7}, "site: "),
        ("/api/devices/", {"name": 42, "ip_address": "192.0.2.9"}, "name: "),
    ],
)
def test_a_wrong_value_in_a_body_is_refused_like_a_wrong_parameter(
    admin: httpx.Client, path: str, body: dict[str, Any], words: str
) -> None:
    answer = admin.post(path, json=body)
    assert (answer.status_code, words in answer.json()["detail"]) == (400, True), answer.text


def test_what_a_body_asks_for_is_what_is_done(own: Served) -> None:
    asked: list[Any] = []

    def submit(action: Action) -> Future[ActionResult]:
        asked.append(action.arguments)
        return NothingToDo().submit(action)

    own.services.actions.submit = submit  # type: ignore[method-assign]
    with own.client() as admin:
        assert admin.post(PROCESS, json={"date": "2026-03-02"}).status_code == 200
        assert admin.post(f"{PROCESS}?end_date=2026-03-03", json={"start_date": "2026-03-02"}).status_code == 200
        assert admin.post(f"{PROCESS}?date=2026-03-02", json={"date": None}).status_code == 200
        assert admin.post(PROCESS, json={"wait": False}).status_code == 202
    monday, tuesday = date(2026, 3, 2), date(2026, 3, 3)
    assert [one["dates"] for one in asked] == [(monday, monday), (monday, tuesday), (monday, monday), None]
