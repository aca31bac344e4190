"""Page of deliveries: queue, dead letters, refused retries. The retry itself is in the browser test."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.web.attendance.attended import CRM_MESSAGE, MARCH
from zk_pipeline_tests.web.attendance.read_page import drawn, walk
from zk_pipeline_tests.web.web_fixtures import Web


def retry(client: httpx.Client, **fields: str) -> httpx.Response:
    token = drawn(client.get("/deliveries")).fields["csrf_token"]
    return client.post("/deliveries/retry", data={"csrf_token": token} | fields)


def test_undelivered_records_are_listed_with_the_response_of_the_crm(reader: httpx.Client) -> None:
    page = drawn(reader.get("/deliveries"))
    assert sorted(row[1].split()[-1] for row in page.cells[1:]) == ["1003", 'a/b"<script>alert(1)</script>']
    assert {row[6] for row in page.cells[1:]} == {f"422: {CRM_MESSAGE}"}
    assert "2 dead letter" in " ".join(page.text.split())
    assert "Retry" not in page.text  # the token has the scope read
    (old,) = drawn(reader.get("/deliveries?state=superseded&user_id=1003")).cells[1:]
    assert old[3] == "superseded revision 1"


def test_the_oldest_due_delivery_and_blocked_dates_are_shown(reader: httpx.Client, web: Web) -> None:
    assert "No delivery is due." in drawn(reader.get("/deliveries")).text
    execute(web.store, "INSERT INTO blocked_dates VALUES (?, 'two rows of one person', now())", [MARCH])
    execute(web.store, "UPDATE crm_deliveries SET state = 'pending', created_at = created_at - INTERVAL 3 DAY "
            "WHERE user_id = '1003' AND revision = 2")  # fmt: skip
    try:
        page = drawn(reader.get("/deliveries?user_id=1003"))
        text = " ".join(page.text.split())
        assert "3 days ago" in text
        assert "1 of these are blocked" in text
        assert page.cells[1][6].startswith("blocked two rows of one person")
    finally:
        execute(web.store, "DELETE FROM blocked_dates")
        execute(web.store, "UPDATE crm_deliveries SET state = 'failed' WHERE user_id = '1003' AND revision = 2")


def test_the_pages_list_each_delivery_once(reader: httpx.Client, web: Web) -> None:
    pages = list(walk(reader, "/deliveries?state=delivered&page_size=6"))
    seen = [tuple(row) for page in pages for row in page.cells[1:]]
    (delivered,) = rows(web.store, "SELECT count(*) FROM crm_deliveries WHERE state = 'delivered'")
    assert len(seen) == len(set(seen)) == delivered[0] > 12


def test_a_retry_needs_the_scope_operate_and_a_csrf_token(reader: httpx.Client, operator: httpx.Client) -> None:
    assert retry(reader).status_code == 403
    for fields in ({}, {"csrf_token": "guess"}, {"csrf_token": ""}):
        assert operator.post("/deliveries/retry", data={"user_id": "1003"} | fields).status_code == 403
    foreign = {"Origin": "http://evil.example"}
    token = drawn(operator.get("/deliveries")).fields["csrf_token"]
    assert operator.post("/deliveries/retry", data={"csrf_token": token}, headers=foreign).status_code == 403
    assert operator.get("/deliveries/retry").status_code == 405


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"start_date": "soon"}, "start_date: "),
        ({"start_date": "2026-03-02", "end_date": "2026-03-01"}, "end_date: 2026-03-01 is before"),
        ({"site": "Head office"}, "site: "),
        ({"user_id": "x" * 300}, "user_id: "),
    ],
)
def test_an_invalid_retry_is_reported(operator: httpx.Client, fields: dict[str, str], message: str) -> None:
    answer = retry(operator, **fields)
    assert (answer.status_code, drawn(answer).alerts[0][: len(message)]) == (400, message)


def test_a_pause_that_the_crm_asked_for_is_shown(operator: httpx.Client, web: Web) -> None:
    services = web.served.services
    assert services.settings.crm_api_url is not None
    services.store.deliveries.save_pause(services.clock() + timedelta(hours=2), services.settings.crm_api_url)
    try:
        pages = [operator.get(page).text for page in ("/", "/deliveries")]
    finally:
        services.store.deliveries.lift_pause()
    for page in pages:
        assert "The CRM asked for a pause until " in page
        assert "The CRM asked for a pause" not in operator.get("/").text


def test_a_retry_without_a_crm_is_reported_on_the_page(operator: httpx.Client, web: Web) -> None:
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
