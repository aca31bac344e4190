"""Lists of attendance days and punches: filters, pagination, validation messages."""

from __future__ import annotations

import httpx
import pytest

from zk_pipeline_tests.web.attendance.attended import NASTY_SITE
from zk_pipeline_tests.web.attendance.read_page import drawn, walk
from zk_pipeline_tests.web.web_fixtures import Web


def count(client: httpx.Client, address: str) -> int:
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    return max(0, len(drawn(answer).rows) - 1)


def test_days_are_listed_with_names_reasons_and_delivery_states(reader: httpx.Client) -> None:
    cells = drawn(reader.get("/attendance?start_date=2026-03-02&end_date=2026-03-03")).cells
    assert cells[0] == ["Date", "User", "Site", "In", "Out", "Worked", "Outlier", "CRM"]
    assert cells[1] == [
        "2026-03-03 Tue",
        "Zoë Yılmaz 1001",
        "Head office",
        "08:55",
        "18:05",
        "9 h 10 min",
        "",
        "delivered",
    ]
    assert cells[2][5:] == ["12 h 45 min", "outlier Clock-in 05:00, more than 2 h before 09:00", "delivered"]
    assert ["2026-03-02 Mon", "Dead Letter 1003", "dead letter"] in [[row[0], row[1], row[7]] for row in cells]


def test_filters_of_days_select_matching_rows(reader: httpx.Client) -> None:
    everything = count(reader, "/attendance?page_size=1000")
    assert everything == count(reader, "/attendance?user_id=&site=&start_date=&is_outlier=&sync_state=&page_size=1000")
    assert count(reader, "/attendance?user_id=1003") == 1
    assert count(reader, f"/attendance?{httpx.QueryParams(site=NASTY_SITE)}") == 2
    outliers = count(reader, "/attendance?is_outlier=true")
    assert outliers + count(reader, "/attendance?is_outlier=false&page_size=1000") == everything
    assert outliers == 4
    assert count(reader, "/attendance?sync_state=failed") == 2
    assert count(reader, "/attendance?start_date=2026-03-04&end_date=2026-03-04") == 2


@pytest.mark.parametrize(
    "address", ["/attendance?page_size=10", "/punches?page_size=17", "/attendance?page_size=9&ordering=user_id"]
)
def test_the_pages_list_each_row_once_and_link_back(reader: httpx.Client, address: str) -> None:
    pages = list(walk(reader, address))
    rows = [tuple(row) for page in pages for row in page.cells[1:]]
    assert len(pages) > 3
    assert len(rows) == len(set(rows)) == count(reader, f"{address}&page_size=1000")
    back = reader.get(address.partition("?")[0] + pages[2].links["← Previous page"])
    assert drawn(back).cells == pages[1].cells


def test_outliers_are_counted_by_rule_and_narrowed_to_one(reader: httpx.Client) -> None:
    page = drawn(reader.get("/outliers?site=Head+office"))
    late = "The first punch is further after the start of work than allowed"
    assert [late, "1"] in page.cells
    assert len([row for row in page.cells if row[0].startswith("2026-")]) == 3
    narrowed = drawn(reader.get(page.links[late]))
    assert [row[1] for row in narrowed.cells if row[0].startswith("2026")] == ["Dead Letter 1003"]
    assert [late, "1"] in narrowed.cells
    assert ["The first punch is further before the start of work than allowed", "2"] in narrowed.cells


def test_punches_are_shown_on_the_wall_clock_of_their_terminal(reader: httpx.Client, web: Web) -> None:
    gate = next(one.id for one in web.store.devices.all() if one.name == "Quay gate")
    page = drawn(reader.get(f"/punches?device={gate}&user_id=1001"))
    assert [row[:8] for row in page.cells[1:]] == [
        ["2026-03-02 20:00:00", "Zoë Yılmaz 1001", "Quay gate", NASTY_SITE, "in", "finger", "poll", "Asia/Kolkata"]
    ]
    assert "Work code" not in page.text  # the column is shown if a punch has one


def test_a_search_by_name_suggests_the_user_id(reader: httpx.Client) -> None:
    page = drawn(reader.get("/attendance?user_id=zo%C3%AB"))
    assert len(page.rows) == 0
    assert page.links["Zoë Yılmaz"] == "/attendance?user_id=1001"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("start_date=2026-02-30", "start_date: 2026-02-30 is not a valid date"),
        ("end_date=yesterday", "end_date: "),
        ("start_date=2026-03-02&end_date=2026-03-01", "end_date: 2026-03-01 is before start_date 2026-03-02"),
        ("page=0", "page: "),
        ("page_size=many", "page_size: "),
        ("page_size=1001", "page_size: "),
        ("userid=1001", "userid: there is no such parameter"),
        ("after=zzzz", "after: not valid for this list"),
        ("ordering=password", "ordering: "),
        ("user_id=" + "x" * 201, "user_id: "),
    ],
)
def test_an_invalid_filter_is_reported_above_the_form(reader: httpx.Client, query: str, message: str) -> None:
    answer = reader.get(f"/attendance?{query}")
    assert answer.status_code == 400
    (alert,) = drawn(answer).alerts
    assert alert.startswith(message)
    assert "<form" in answer.text


def test_other_invalid_parameters_are_reported(reader: httpx.Client) -> None:
    for address, message in (
        ("/attendance?sync_state=lost", "sync_state: "),
        ("/attendance?is_outlier=maybe", "is_outlier: "),
        ("/outliers?outlier_code=TOO_BAD", "outlier_code: "),
        ("/outliers?is_outlier=false", "is_outlier: not a filter"),
        ("/punches?start_date=2026-02-30", "start_date: 2026-02-30 is not a valid date"),
        ("/punches?device=99", "device: there is none with the id 99"),
        ("/deliveries?start_date=2026-03-02&end_date=2026-03-01", "end_date: 2026-03-01 is before"),
        ("/deliveries?ordering=user_id", "ordering: "),
        ("/deliveries?state=lost", "state: "),
        ("/quarantine?released=perhaps", "released: "),
    ):
        answer = reader.get(address)
        assert (answer.status_code, drawn(answer).alerts[0][: len(message)]) == (400, message), address
    assert reader.get("/attendance?page=99").status_code == 404
    assert reader.get("/deliveries?page=99").status_code == 404


def test_every_page_needs_a_login(web: Web) -> None:
    with web.client(None) as stranger:
        for path in ("attendance", "outliers", "punches", "deliveries", "quarantine", "exports", "month",
                     "attendance/day", "exports/file", "month/file", "attendance/a/b/2026-03-02"):  # fmt: skip
            answer = stranger.get(f"/{path}")
            assert (answer.status_code, answer.headers["location"][:6]) == (303, "/login"), path
        for path in ("/deliveries/retry", "/quarantine/release"):
            assert stranger.post(path, data={"user_id": "1003"}).headers["location"] == "/login"
