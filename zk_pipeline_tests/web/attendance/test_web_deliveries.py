"""Deliveries on pages: the queue, dead letters, and what is refused. Sending again itself: the browser's test."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.web.attendance.attended import CRM_WORDS, MARCH
from zk_pipeline_tests.web.attendance.read_page import drawn, walk
from zk_pipeline_tests.web.web_fixtures import Web


def send_again(client: httpx.Client, **fields: str) -> httpx.Response:
    token = drawn(client.get("/deliveries")).fields["csrf_token"]
    return client.post("/deliveries/retry", data={"csrf_token": token} | fields)


def test_what_has_not_arrived_is_listed_with_the_crms_own_words(reader: httpx.Client) -> None:
    page = drawn(reader.get("/deliveries"))
    assert sorted(row[1].split()[-1] for row in page.cells[1:]) == ["1003", 'a/b"<script>alert(1)</script>']
    assert {row[6] for row in page.cells[1:]} == {f"422: {CRM_WORDS}"}
    assert "dead letter 2" in " ".join(page.text.split())
    assert "Send again" not in page.text  # one who may only read
    (old,) = drawn(reader.get("/deliveries?state=superseded&user_id=1003")).cells[1:]
    assert old[3] == "superseded revision 1"


def test_the_oldest_that_is_due_is_told_and_what_is_kept_back(reader: httpx.Client, web: Web) -> None:
    assert "Nothing is due." in drawn(reader.get("/deliveries")).text
    execute(web.store, "INSERT INTO blocked_dates VALUES (?, 'two rows of one person', now())", [MARCH])
    execute(web.store, "UPDATE crm_deliveries SET state = 'pending', created_at = created_at - INTERVAL 3 DAY "
            "WHERE user_id = '1003' AND revision = 2")  # fmt: skip
    try:
        page = drawn(reader.get("/deliveries?user_id=1003"))
        words = " ".join(page.text.split())
        assert "3 days ago" in words
        assert "1 of these are kept back" in words
        assert page.cells[1][6].startswith("kept back two rows of one person")
    finally:
        execute(web.store, "DELETE FROM blocked_dates")
        execute(web.store, "UPDATE crm_deliveries SET state = 'failed' WHERE user_id = '1003' AND revision = 2")


def test_the_pages_of_deliveries_hold_each_once(reader: httpx.Client, web: Web) -> None:
    pages = list(walk(reader, "/deliveries?state=delivered&page_size=6"))
    seen = [tuple(row) for page in pages for row in page.cells[1:]]
    (delivered,) = rows(web.store, "SELECT count(*) FROM crm_deliveries WHERE state = 'delivered'")
    assert len(seen) == len(set(seen)) == delivered[0] > 12


def test_only_who_may_operate_and_only_their_own_page_sends_again(reader: httpx.Client, operator: httpx.Client) -> None:
    assert send_again(reader).status_code == 403
    for fields in ({}, {"csrf_token": "guess"}, {"csrf_token": ""}):
        assert operator.post("/deliveries/retry", data={"user_id": "1003"} | fields).status_code == 403
    foreign = {"Origin": "http://evil.example"}
    token = drawn(operator.get("/deliveries")).fields["csrf_token"]
    assert operator.post("/deliveries/retry", data={"csrf_token": token}, headers=foreign).status_code == 403
    assert operator.get("/deliveries/retry").status_code == 405


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start_date": "soon"}, "start_date: "),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "end_date: 2026-03-01 is before"),
        ({"site": "Head office"}, "site: "),
        ({"user_id": "x" * 300}, "user_id: "),
    ],
)
def test_what_cannot_be_sent_again_is_said(operator: httpx.Client, fields: dict[str, str], words: str) -> None:
    answer = send_again(operator, **fields)
    assert (answer.status_code, drawn(answer).alerts[0][: len(words)]) == (400, words)


def test_a_pause_that_the_crm_asked_for_is_shown(operator: httpx.Client, web: Web) -> None:
    services = web.served.services
    assert services.settings.crm_api_url is not None
    services.store.deliveries.keep_pause(services.clock() + timedelta(hours=2), services.settings.crm_api_url)
    try:
        pages = [operator.get(page).text for page in ("/", "/deliveries")]
    finally:
        services.store.deliveries.lift_pause()
    for page in pages:
        assert "The CRM asked for a pause until " in page
        assert "The CRM asked for a pause" not in operator.get("/").text


def test_without_a_crm_that_is_said_where_it_was_asked(operator: httpx.Client, web: Web) -> None:
    token = drawn(operator.get("/deliveries")).fields["csrf_token"]
    services = web.served.services
    app: Any = web.served.server.config.app
    no_crm = services.settings.model_copy(update={"crm_api_url": None})
    app.state.services = replace(services, settings=no_crm)
    try:
        answer = operator.post("/deliveries/retry", data={"csrf_token": token})
    finally:
        app.state.services = services
    assert answer.status_code == 503
    assert drawn(answer).alerts[0].startswith("CRM_API_URL is not set")
