"""Requests of manual punches over HTTP: created, listed, decided by another token, and then part of the day."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import MONDAY, process, rows, stale

PATH = "/api/punch-requests/"
WANTED = {"user_id": "1001", "site": "North", "at": "2026-03-02T23:10", "state": "out", "reason": "no power"}


@pytest.fixture
def asking(filled: Store, own: Served) -> Iterator[httpx.Client]:  # noqa: ARG001 (is served)
    with own.client("request") as client:
        yield client


@pytest.fixture
def deciding(own: Served) -> Iterator[httpx.Client]:
    with own.client("approve") as client:
        yield client


def ask(client: httpx.Client, **more: Any) -> httpx.Response:
    return client.post(PATH, json=WANTED | more)


def listed(client: httpx.Client, query: str = "") -> list[int]:
    return [one["id"] for one in client.get(f"{PATH}?{query}").json()["results"]]


def test_a_request_is_decided_by_another_token_and_then_part_of_the_day(
    asking: httpx.Client, deciding: httpx.Client, filled: Store
) -> None:
    made = ask(asking)
    assert (made.status_code, made.json()["warning"], made.json()["decision"]) == (201, None, None)
    assert (made.json()["punched_at_local"], made.json()["requested_by"]) == ("2026-03-02T23:10:00", "test request")
    assert stale(filled) == []
    done = deciding.post(f"{PATH}1/approve/")
    assert (done.status_code, done.json()["decision"], done.json()["decided_by"]) == (200, "approved", "test approve")
    assert stale(filled) == [MONDAY]
    process(filled, MONDAY)
    (punch,) = [
        one for one in asking.get("/api/explain/?user_id=1001&date=2026-03-02").json()["punches"] if one["reason"]
    ]
    assert (punch["requested_by"], punch["decided_by"], punch["reason"]) == ("test request", "test approve", "no power")
    assert rows(filled, "SELECT count(*) FROM daily_attendance WHERE revision > 1") == [(1,)]


def test_each_refusal_has_its_status_and_one_line(asking: httpx.Client, deciding: httpx.Client) -> None:
    ask(asking)
    ask(deciding, at="2026-03-02T23:20")
    reason = {"reason": "no"}
    refused = [
        (asking.post(f"{PATH}1/approve/"), 403, "the token has the scope request; this request needs approve"),
        (
            deciding.post(f"{PATH}2/approve/"),
            403,
            "manual punch 2 was requested by test approve: another must decide on it",
        ),
        (
            deciding.post(f"{PATH}2/reject/", json=reason),
            403,
            "manual punch 2 was requested by test approve: another must",
        ),
        (deciding.post(f"{PATH}9/approve/"), 404, "there is no manual punch 9"),
        (deciding.post(f"{PATH}x/approve/"), 404, "Not found."),
        (deciding.post(f"{PATH}1/reject/"), 400, "body: "),
        (deciding.post(f"{PATH}1/reject/", json={"reason": " "}), 400, "reason: "),
        (ask(asking), 409, "1001 out at 2026-03-02 23:10 is manual punch 1 already"),
        (ask(asking, site="Mars"), 400, "no site 'Mars'; there are: North"),
        (ask(asking, at="2026-03-02"), 400, "at: "),
        (ask(asking, at="2026-13-02T10:00"), 400, "at: 2026-13-02T10:00 is not a valid date and time"),
        (ask(asking, at="2026-03-02T23:10:30"), 400, "at: "),
        (ask(asking, at="2019-12-31T10:00"), 400, "work date 2019-12-31 is before ZK_PIPELINE_HISTORY_START"),
        (ask(asking, at="2999-01-01T10:00"), 400, "1001 out at 2999-01-01 10:00 is in the future"),
        (ask(asking, state="break"), 400, "state: "),
        (ask(asking, user_id=" "), 400, "the user_id is empty"),
    ]
    for answer, status, words in refused:
        assert (answer.status_code, answer.json()["detail"].startswith(words)) == (status, True), answer.text
        assert "\n" not in answer.json()["detail"]
    assert deciding.post(f"{PATH}1/reject/", json=reason).json()["decision_reason"] == "no"
    for answer in (deciding.post(f"{PATH}1/approve/"), deciding.post(f"{PATH}1/reject/", json=reason)):
        assert (answer.status_code, answer.json()["detail"]) == (
            409,
            "manual punch 1 was already rejected by test approve",
        )


def test_an_approved_request_is_withdrawn_and_requested_again(
    asking: httpx.Client, deciding: httpx.Client, filled: Store
) -> None:
    ask(asking)
    reason = {"reason": "wrong user"}
    early = deciding.post(f"{PATH}1/withdraw/", json=reason)
    assert (early.status_code, early.json()["detail"]) == (
        409,
        "manual punch 1 waits for a decision: only an approved one can be withdrawn",
    )
    deciding.post(f"{PATH}1/approve/")
    process(filled, MONDAY)
    assert deciding.post(f"{PATH}1/withdraw/").status_code == 400
    assert asking.post(f"{PATH}1/withdraw/", json=reason).status_code == 403
    done = deciding.post(f"{PATH}1/withdraw/", json=reason)
    assert (done.status_code, done.json()["decision"], done.json()["withdrawn_by"]) == (
        200,
        "withdrawn",
        "test approve",
    )
    assert (done.json()["decided_by"], done.json()["withdrawal_reason"]) == ("test approve", "wrong user")
    assert stale(filled) == [MONDAY]
    (shown,) = asking.get("/api/explain/?user_id=1001&date=2026-03-02").json()["withdrawn"]
    assert (shown["id"], shown["withdrawal_reason"]) == (1, "wrong user")
    assert deciding.post(f"{PATH}1/withdraw/", json=reason).status_code == 409
    assert deciding.post(f"{PATH}9/withdraw/", json=reason).status_code == 404
    assert ask(asking).status_code == 201
    assert (listed(asking, "decision=withdrawn"), listed(asking, "decision=approved")) == ([1], [])


def test_requests_are_listed_by_filter_and_page_those_that_wait_first(
    asking: httpx.Client, deciding: httpx.Client
) -> None:
    for minute in range(4):
        ask(asking, at=f"2026-03-02T23:1{minute}")
    ask(asking, user_id="1002", at="2026-03-03T23:00")
    assert ask(asking, user_id="1O01").json()["warning"].startswith("no terminal and no recorded punch has the user id")
    deciding.post(f"{PATH}5/approve/", json={"reason": "seen"})
    deciding.post(f"{PATH}6/reject/", json={"reason": "mistyped"})
    assert listed(asking) == [4, 3, 2, 1, 6, 5]
    assert listed(asking, "decision=waiting") == [4, 3, 2, 1]
    assert listed(asking, "decision=approved") == listed(asking, "user_id=1002") == [5]
    assert listed(asking, "start_date=2026-03-03") == [5]
    assert listed(asking, "end_date=2026-03-02&decision=rejected") == [6]
    assert listed(asking, "site=South") == []
    page = asking.get(f"{PATH}?page_size=4&page=2").json()
    assert ([one["id"] for one in page["results"]], page["count"], page["next"]) == ([6, 5], 6, None)
    assert page["previous"].endswith("page=1")
    assert asking.get(f"{PATH}?page=9").status_code == 404
    assert asking.get(f"{PATH}?decision=open").status_code == 400
