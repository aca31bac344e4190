"""People: list and page of one user; month sheets of a site."""

from __future__ import annotations

from datetime import timedelta
from html import escape

import httpx

from zk_pipeline_tests.web.attendance.attended import ABSENT, HOLIDAY, MARCH, NASTY, NASTY_SITE, XSS
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Web

ZOE = "/people/person?site=Head+office&user_id=1001&year=2026"


def test_people_are_found_by_name_at_a_site_and_lead_to_their_page(reader: httpx.Client) -> None:
    page = drawn(reader.get("/people"))
    assert [row[0] for row in page.cells[1:]] == [
        f"<b>{XSS}</b>",
        "Ali Öztürk",
        "Dead Letter",
        "Zoë Yılmaz",
        "Zoë Yılmaz",
    ]
    found = drawn(reader.get("/people?q=z&site=Head+office"))
    assert found.cells[1:3] == [
        ["Ali Öztürk", "1002", "Head office", "2026-03-21"],
        ["Zoë Yılmaz", "1001", "Head office", "2026-03-20"],
    ]
    assert reader.get(found.links["Zoë Yılmaz"]).status_code == 200
    assert "No person matches" in reader.get("/people?q=4711").text
    assert reader.get("/people?page=2").status_code == 400


def test_the_next_page_of_people_begins_after_the_last_one(reader: httpx.Client) -> None:
    following = reader.get(
        "/people", params={"after_name": "dead letter", "after_user": "1003", "after_site": "Head office"}
    )
    page = drawn(following)
    assert [row[0] for row in page.cells[1:]] == ["Zoë Yılmaz", "Zoë Yılmaz"]
    assert page.links["← First page"] == "/people"


def test_the_page_of_a_person_explains_each_date_and_links_its_page(reader: httpx.Client) -> None:
    answer = reader.get(ZOE)
    page, text = drawn(answer), " ".join(drawn(answer).text.split())
    assert "User id 1001 at Head office" in text
    assert "March 2026" in text
    assert "February 2026" not in text  # the calendar begins with the first attendance day
    assert "The same id is known at" in text
    assert NASTY_SITE in page.links
    for day, meaning in (
        (MARCH, "present, 08:55–18:05, 9 h 10 min"),
        (ABSENT, "absent"),
        (HOLIDAY, "worked on day off, 08:55–18:05, 9 h 10 min, Foundation Day"),
        (MARCH + timedelta(days=5), "day off"),
    ):
        address = f"/attendance/day?site=Head+office&user_id=1001&date={day}"
        assert f'{escape(address)}">{day.day}<span class="unseen"> {meaning}</span>' in answer.text, meaning
        assert reader.get(address).status_code == 200, meaning
    assert [row for row in page.cells if row[0] == "March 2026"] == [
        ["March 2026", "13", "119 h 10 min", "0", "0", "2", "0"]
    ]
    assert ["office", "09:00–18:00", "mon tue wed thu fri", "this user at Head office", "–", "–"] in [
        [cell.replace(" today", "") for cell in row] for row in page.cells
    ]
    assert "Total 119 h 10 min" in answer.text  # the chart of hours in words


def test_the_page_of_a_person_has_what_waits_for_an_operator(reader: httpx.Client, operator: httpx.Client) -> None:
    page = drawn(reader.get("/people/person?site=Head+office&user_id=1003&year=2026"))
    reasons = [row[-1] for row in page.cells if row and row[0] == "Mon 2026-03-02"]
    assert reasons == ["Clock-in 11:30, more than 2 h after 09:00"]
    assert [row[2] for row in page.cells if row and row[0] == "2026-03-02"] == ["dead letter"]
    address = "/people/person?site=Head+office&user_id=1003"
    assert ["Deliver them now" in client.get(address).text for client in (reader, operator)] == [False, True]


def test_names_from_terminals_are_text_on_the_page_of_a_person(reader: httpx.Client) -> None:
    answer = reader.get("/people/person", params={"site": NASTY_SITE, "user_id": NASTY, "year": 2026})
    assert answer.status_code == 200
    page = drawn(answer)  # fails on attributes that run scripts
    assert page.text.count(XSS) >= 3
    assert answer.text.count("<script") == 2
    assert "iframe" not in page.tags


def test_an_unknown_person_is_a_404_that_names_the_sites_of_the_id(reader: httpx.Client) -> None:
    answer = reader.get("/people/person?site=Moon&user_id=1002")
    assert answer.status_code == 404
    assert "the id is known at Head office" in drawn(answer).text
    assert reader.get("/people/person?site=Moon&user_id=1002&year=1").status_code == 400


def test_a_site_has_the_month_of_all_its_people_and_their_sheets(reader: httpx.Client, web: Web) -> None:
    answer = reader.get("/month?site=Head+office&month=2026-03")
    page = drawn(answer)
    assert [row[:4] for row in page.cells[1:]] == [
        ["Ali Öztürk", "1002", "20", "184:10"],
        ["Dead Letter", "1003", "1", "7:30"],
        ["Zoë Yılmaz", "1001", "13", "119:10"],
    ]
    sheet = drawn(reader.get(page.links["Zoë Yılmaz"]))
    totals = " ".join(sheet.text.split())
    assert "hours worked 119:10" in totals.replace("hours worked", "hours worked ").replace("  ", " ")
    sheets = reader.get(page.links["All sheets, to print"])
    assert sheets.text.count('class="sheet"') == 3
    assert sheets.text.count("supervisor") == 3
    assert "No punches and no absences" in reader.get("/month?site=Head+office&month=2024-01").text
    wrong = reader.get("/month?site=Head+offices&month=2026-03")
    assert (wrong.status_code, "Head office" in wrong.text) == (400, True)
    assert reader.get("/month/sheets").status_code == 400
    assert "user_id: there is no such parameter" in reader.get("/month/sheets?site=Head+office&user_id=1001").text
    assert web.store.devices.all()
