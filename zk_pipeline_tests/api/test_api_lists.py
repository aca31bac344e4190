"""Lists over HTTP: fields, filters, order, links from page to page."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.api.api_fixtures import Served
from zk_pipeline_tests.store.store_fixtures import MONDAY, ingest, on

PUNCH_FIELDS = {
    "id", "device", "device_name", "user_id", "timestamp", "status", "punch_state", "verify_type", "work_code",
    "source", "created_at",
}  # fmt: skip


def walk(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    """Every page that the links lead to."""
    following: str | None = path
    while following:
        answer = client.get(following)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert page.keys() == {"count", "next", "previous", "results"}
        yield page
        following = page["next"]


def test_punches_have_the_fields_of_the_contract_the_newest_first(admin: httpx.Client) -> None:
    page = admin.get("/api/raw-attendance/").json()
    assert (page["count"], page["previous"], len(page["results"])) == (120, None, 100)
    assert {frozenset(one) for one in page["results"]} == {frozenset(PUNCH_FIELDS)}
    assert page["results"][0] | {"device": 1, "device_name": "North", "user_id": "1001"} == page["results"][0]
    assert page["results"][0]["timestamp"] == "2026-04-10T18:00:00Z"
    assert len({one["id"] for one in page["results"]}) == 100


@pytest.mark.parametrize("ordering", ["", "id", "-id", "timestamp", "-created_at,user_id", "user_id,-timestamp"])
def test_the_links_lead_to_every_row_once(admin: httpx.Client, ordering: str) -> None:
    pages = list(walk(admin, f"/api/raw-attendance/?page_size=15&ordering={ordering}"))
    ids = [one["id"] for page in pages for one in page["results"]]
    assert len(pages) == 8
    assert sorted(ids) == list(range(1, 121))
    jumped = admin.get(f"/api/raw-attendance/?page_size=15&ordering={ordering}&page=5").json()
    assert jumped["results"] == pages[4]["results"]
    assert admin.get(pages[4]["previous"]).json()["results"] == pages[3]["results"]


@pytest.fixture
def alone(filled: Store, own: Served) -> Iterator[httpx.Client]:  # noqa: ARG001 (is served)
    """An admin of an API of the test's own."""
    with own.client() as client:
        yield client


def test_a_walk_shows_each_row_once_while_a_poll_is_inserting(alone: httpx.Client, filled: Store) -> None:
    done = threading.Event()

    def insert() -> None:
        day = date(2026, 5, 1)
        while not done.is_set():
            day += timedelta(days=1)
            ingest(filled, "North", *on(day, "09:00", "12:00", "18:00", user_id="1003"))

    polling = threading.Thread(target=insert)
    polling.start()
    try:
        for path in ("/api/raw-attendance/?page_size=25", "/api/raw-attendance/?page_size=25&ordering=-id"):
            before = alone.get("/api/raw-attendance/?page_size=1&ordering=-id").json()["results"][0]["id"]
            pages = list(walk(alone, path))
            ids = [one["id"] for page in pages for one in page["results"]]
            assert len(ids) == len(set(ids)) == pages[0]["count"]
            assert set(range(1, 121)) <= set(ids)
            assert max(ids) >= before
        assert alone.get("/api/raw-attendance/?page_size=1&ordering=-id").json()["results"][0]["id"] > max(ids)
    finally:
        done.set()
        polling.join()


def test_the_walk_over_what_is_not_synced_is_not_disturbed_by_a_sync(alone: httpx.Client, filled: Store) -> None:
    pages = walk(alone, "/api/processed-attendance/unsynced/?page_size=20")
    first = next(pages)
    seen = [one["id"] for one in first["results"]]
    with filled.database.write("test") as connection:  # what was seen is delivered before the next page is asked for
        connection.execute(
            "UPDATE crm_deliveries SET state = 'delivered' FROM daily_attendance AS day WHERE list_contains(?, day.id) "
            "AND day.user_id = crm_deliveries.user_id AND day.work_date = crm_deliveries.work_date",
            [seen],
        )
    seen += [one["id"] for page in pages for one in page["results"]]
    assert sorted(seen) == list(range(1, 81))


def test_filters_of_days(admin: httpx.Client) -> None:
    def count(query: str) -> int:
        return int(admin.get(f"/api/processed-attendance/{query}").json()["count"])

    assert count("") == count("?user_id=&device=&start_date=&is_outlier=&format=json") == 80
    assert count("?user_id=1002") == count("?is_outlier=true") == count("outliers/") == 40
    assert count("?is_outlier=False&start_date=2026-03-02&end_date=2026-03-03") == 2
    assert count("?device=1&synced_to_crm=false") == count("unsynced/") == 80
    assert count("?synced_to_crm=1") == 0
    day = admin.get("/api/processed-attendance/?ordering=date,user_id&page_size=1").json()["results"][0]
    assert (day["date"], day["user_id"], day["clock_in"], day["clock_out"]) == (
        "2026-03-02", "1001", "2026-03-02T09:00:00Z", "2026-03-02T18:00:00Z",
    )  # fmt: skip
    assert admin.get(f"/api/processed-attendance/{day['id']}/").json() == day
    assert admin.get("/api/processed-attendance/81/").status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("start_date=2026-02-30", 400, "start_date: 2026-02-30 is not a valid date"),
        ("end_date=yesterday", 400, "end_date: "),
        ("device=900000", 400, "device: there is none with the id 900000"),
        ("device=North", 400, "device: "),
        ("is_outlier=maybe", 400, "is_outlier: "),
        ("page_size=0", 400, "page_size: "),
        ("page_size=1001", 400, "page_size: Input should be less than or equal to 1000"),
        ("page=0", 400, "page: "),
        ("page=99", 404, "Invalid page."),
        ("ordering=password", 400, "ordering: cannot order by 'password'; possible are id, "),
        ("ordering=id;DROP TABLE devices", 400, "ordering: cannot order by"),
        ("userid=1001", 400, "userid: "),
        ("after=zzzz", 400, "after: not valid for this list"),
        ("after=WzFd", 400, "after: not valid for this list"),
    ],
)
def test_what_is_wrong_with_a_filter_is_said(admin: httpx.Client, query: str, status: int, words: str) -> None:
    answer = admin.get(f"/api/processed-attendance/?{query}")
    assert (answer.status_code, answer.json().keys()) == (status, {"detail"})
    assert answer.json()["detail"].startswith(words)


def test_a_page_has_at_most_a_thousand_rows(alone: httpx.Client, filled: Store) -> None:
    minutes = [f"{hour:02}:{minute:02}" for hour in range(19) for minute in range(60)]
    ingest(filled, "North", *on(MONDAY + timedelta(days=100), *minutes))
    answer = alone.get("/api/raw-attendance/?page_size=1000").json()
    assert (answer["count"], len(answer["results"])) == (1260, 1000)
