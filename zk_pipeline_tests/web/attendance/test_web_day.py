"""Page of one attendance day: result, rules, punches, revisions and CRM responses."""

from __future__ import annotations

from urllib.parse import urlencode

import httpx
import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.devices.models import Device
from zk_pipeline_tests.store.store_fixtures import execute, ingest, on
from zk_pipeline_tests.web.attendance.attended import ABSENT, CRM_MESSAGE, HOLIDAY, MARCH, NASTY, NASTY_SITE, RUN, make
from zk_pipeline_tests.web.attendance.read_page import Drawn, drawn
from zk_pipeline_tests.web.web_fixtures import Web


def day(client: httpx.Client, user_id: str, on_date: object = MARCH, site: str = "Head office") -> Drawn:
    answer = client.get(f"/attendance/day?{urlencode({'site': site, 'user_id': user_id, 'date': str(on_date)})}")
    assert answer.status_code == 200, answer.text
    return drawn(answer)


def test_the_page_shows_punches_rules_revisions_and_responses_of_the_crm(reader: httpx.Client) -> None:
    page = day(reader, "1003")
    text = " ".join(page.text.split())
    assert "Dead Letter, Monday 2026-03-02" in text
    assert "Clock-in 11:30, more than 2 h after 09:00." in text
    assert "The first punch is further after the start of work than allowed." in text
    assert "09:00-18:00 (settings)" in text
    assert [row[:3] for row in page.cells if row[0].startswith("2026-03-02 ")] == [
        ["2026-03-02 11:30:00", "North", "in"],
        ["2026-03-02 19:00:00", "South", "in"],
    ]
    changed = next(row[2] for row in page.cells if row[0] == "2" and len(row) == 5)
    assert changed.startswith(
        "clock-out: – → 2026-03-02 19:00:00 punches: 1 → 2 worked: – → 7 h 30 min left early: – → 0 min outlier: "
    )
    assert ["Revision", "Outcome", "Status"] in [row[1:4] for row in page.cells]
    assert any(row[1].startswith("Created (") for row in page.cells if row[0] == "Revision")
    assert "2, created 2026-" in text
    outcomes = [row[1:5] for row in page.cells if row[2:3] == ["rejected"]]
    assert outcomes == [
        ["2", "rejected", "422", f"422: {CRM_MESSAGE}"],
        ["1", "rejected", "422", f"422: {CRM_MESSAGE}"],
    ]
    assert page.links["run"] == f"/runs/{RUN}"
    assert page.links["Dagster"] == f"http://dagster.example/runs/{RUN}"
    assert "Europe/Istanbul" in text


def test_the_page_shows_the_shift_the_holiday_and_the_absence(reader: httpx.Client) -> None:
    assert "09:00-18:00 (shift office)" in day(reader, "1001").text
    holiday = " ".join(day(reader, "1001", HOLIDAY).text.split())
    assert "Day offFoundation Day" in holiday
    assert "Statusworked on day off" in holiday
    absent = " ".join(day(reader, "1001", ABSENT).text.split())
    assert "absent The shift office expects attendance on this date; there are no punches." in absent


def test_days_of_a_user_link_to_the_next_day_and_to_other_sites(reader: httpx.Client) -> None:
    page = day(reader, "1001")
    assert "← 2026-03-01" not in page.links
    assert "date=2026-03-03" in page.links["2026-03-03 →"]
    elsewhere = drawn(reader.get(page.links[f"The same date at {NASTY_SITE}"]))
    assert "Asia/Kolkata" in elsewhere.text
    assert page.links["The whole month"].startswith("/month?user_id=1001&month=2026-03&site=Head+office")


def test_a_date_without_punches_of_a_known_user_links_to_other_days(reader: httpx.Client) -> None:
    page = day(reader, "1003", "2026-03-09")
    assert "No punches on this work date" in page.text
    assert "date=2026-03-02" in page.links["← 2026-03-02"]


def test_names_with_slashes_quotes_and_dots_have_pages_too(reader: httpx.Client, web: Web) -> None:
    assert "9 h 00 min" in day(reader, NASTY, site=NASTY_SITE).text
    web.store.devices.add(Device(name="Dots", ip_address="192.0.2.13", site=".."))
    ingest(web.store, "Dots", *on(MARCH, "09:00", "18:00", user_id="."))
    assert "are not processed yet" in day(reader, ".", site="..").text
    short = reader.get("/attendance/Head%20office/1003/2026-03-02")
    assert (short.status_code, drawn(reader.get(short.headers["location"])).alerts) == (307, [])


def test_stale_and_blocked_dates_are_marked(reader: httpx.Client, web: Web) -> None:
    assert "This date is stale" not in day(reader, "1002", ABSENT).text
    ingest(web.store, "South", *on(ABSENT, "20:00", user_id="1002"))
    assert "This date is stale" in day(reader, "1002", ABSENT).text
    execute(web.store, "INSERT INTO blocked_dates VALUES (?, 'two rows of one person', now())", [ABSENT])
    try:
        assert "until its rows are consistent: two rows of one person" in day(reader, "1002", ABSENT).alerts[0]
    finally:
        execute(web.store, "DELETE FROM blocked_dates")


def test_records_that_do_not_count_are_named(reader: httpx.Client, web: Web) -> None:
    site = web.store.devices.get("North").site
    line = f"1002\t{ABSENT} 25:00:00".encode()
    columns = "device, raw, reason, first_poll_id, created_at, record_format"
    values = "'North', ?, 'impossible date', 1, now(), 'ATTLOG'"
    execute(web.store, f"INSERT INTO quarantined_records ({columns}) VALUES ({values})", [line])
    try:
        page = day(reader, "1002", ABSENT, site)
    finally:
        execute(web.store, "DELETE FROM quarantined_records WHERE raw = ?", [line])
    assert rf"not counted line in quarantine of North: '1002\t{ABSENT} 25:00:00' (impossible date)" in page.text
    assert "/quarantine?device=North" in page.links.values()


def test_a_day_that_moved_to_another_site_is_shown_as_retracted(reader: httpx.Client, web: Web) -> None:
    web.store.devices.add(Device(name="Moved", ip_address="192.0.2.14", site="Old yard"))
    ingest(web.store, "Moved", *on(MARCH, "09:00", "18:00", user_id="77"))
    make(web.store, load_settings(), [MARCH])
    web.store.devices.update("Moved", site="New yard")
    make(web.store, load_settings(), [MARCH])
    page = day(reader, "77", site="Old yard")
    assert "The day no longer exists at this site" in page.text
    assert any("retracted: its punches now belong to other days" in row[2] for row in page.cells if len(row) == 5)
    assert "The same date at New yard" in page.links


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("site=Head+office&user_id=1003", 400, "date: "),
        ("site=Head+office&user_id=1003&date=", 400, "date: is missing"),
        ("site=Head+office&user_id=1003&date=2026-02-30", 400, "date: 2026-02-30 is not a valid date"),
        ("user_id=1003&date=2026-03-02", 400, "site: "),
        ("site=Head+office&user_id=1003&date=2026-03-02&as_of=now", 400, "as_of: "),
        ("site=Head+office&user_id=9999&date=2026-03-02", 404, "no punches or days of '9999' at 'Head office'"),
        ("site=Nowhere&user_id=1003&date=2026-03-02", 404, "no punches or days of '1003' at 'Nowhere'"),
    ],
)
def test_an_invalid_day_is_reported(reader: httpx.Client, query: str, status: int, message: str) -> None:
    answer = reader.get(f"/attendance/day?{query}")
    assert answer.status_code == status
    assert drawn(answer).alerts[0].startswith(message)
    assert reader.get("/attendance/Head%20office/1003/yesterday").status_code == 404
