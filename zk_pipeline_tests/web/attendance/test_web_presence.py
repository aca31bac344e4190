"""The pages "Who is in", which prints as the muster list, and "Daily report"."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import httpx
import pytest

from zk_pipeline_tests.store.store_fixtures import execute, ingest, minutes_ago, noon_device
from zk_pipeline_tests.web.attendance.attended import MARCH
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import Visit, Web, screenshot

USERS = [("1", 1, "Zoë", 0, 0), ("2", 2, "Ali", 0, 0), ("3", 3, "Cem", 0, 0)]


@pytest.fixture(scope="module")
def present(web: Web) -> Web:
    """Two of three users are in at the site Noon; the terminals of the others were read long ago."""
    gate = web.store.devices.add(noon_device("Noon gate", site="Noon"))
    punches = [*minutes_ago(gate, 30, user_id="1"), *minutes_ago(gate, 20, user_id="2")]
    ingest(web.store, "Noon gate", *punches, *minutes_ago(gate, 20, 10, user_id="3"), users=USERS)
    execute(web.store, "UPDATE devices SET last_sync = now() - INTERVAL 2 HOUR WHERE name = 'North'")
    return web


@pytest.mark.usefixtures("present")
def test_the_page_lists_who_is_in_and_which_list_is_not_safe(reader: httpx.Client) -> None:
    page = drawn(reader.get("/presence?site=Noon"))
    assert page.alerts == []
    assert "2 employees in" in " ".join(page.text.split())
    assert [row[:2] + row[3:] for row in page.cells] == [
        ["Name", "User", "Terminal"],
        ["Ali", "2", "Noon gate"],
        ["Zoë", "1", "Noon gate"],
        ["Name", "User", "Terminal"],
        ["Cem", "3", "Noon gate"],
    ]
    assert "Noon gate was last read 0 min ago" in page.text
    alerts = drawn(reader.get("/presence?site=Head+office")).alerts
    assert any("Not safe: North was last read 2 h 00 min ago" in one for one in alerts)
    assert reader.get("/presence?site=Nowhere").status_code == 200
    assert reader.get("/presence?sight=Noon").status_code == 400


def test_the_daily_report_has_everyone_with_counts_and_hours(reader: httpx.Client) -> None:
    page = drawn(reader.get(f"/report?date={MARCH}&site=Head+office"))
    assert [[row[0], *row[2:4], *row[4:6], row[7]] for row in page.cells] == [
        ["User", "Status", "Shift", "In", "Out", "Late"],
        ["Ali Öztürk 1002", "present", "", "09:10", "17:45", "0 h 10 min"],
        ["Dead Letter 1003", "present", "", "11:30", "19:00", "2 h 30 min"],
        ["Zoë Yılmaz 1001", "present", "office", "08:55", "18:05", ""],
    ]
    text = " ".join(page.text.split())
    assert "3 users 3 present 2 late 1 left early 0 incomplete 0 absent" in text
    assert "25 h 15 min worked" in text
    absent = drawn(reader.get(f"/report?date={date(2026, 3, 5)}&site=Head+office"))
    assert ["Zoë Yılmaz 1001", "absent"] in [[row[0], row[2]] for row in absent.cells]
    assert reader.get("/report").status_code == 200
    for wrong in ("date=2026-02-30", "date=0001-01-01", "day=1", "site=nix"):
        assert reader.get(f"/report?{wrong}").status_code == 400, wrong
    assert "a date such as 2026-03-02 is expected" in reader.get("/report?date=xx").text


@pytest.mark.usefixtures("present")
def test_the_muster_prints_who_is_in_and_the_warning(open_page: Callable[..., Visit]) -> None:
    visit = open_page("/presence")
    page = visit.page
    screenshot(page, "presence-1440-light")
    for path, name in (("/presence", "presence"), (f"/report?date={MARCH}", "report")):
        visit.go(path)
        visit.look(width=390, dark=True)
        screenshot(page, f"{name}-390-dark")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
    visit.look(width=1440, dark=False)
    screenshot(page, "report-1440-light")
    visit.go("/presence")
    page.emulate_media(media="print")
    assert page.get_by_text("Not safe:").first.is_visible()
    assert page.get_by_text("Ali").is_visible()
    assert not page.get_by_text("1 employee left").is_visible()
    assert not page.get_by_role("button", name="Show").is_visible()
    page.set_viewport_size({"width": 703, "height": 1032})  # A4 within its margins
    screenshot(page, "presence-printed")
