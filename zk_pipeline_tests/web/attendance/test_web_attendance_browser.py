"""Attendance pages in a browser: explain an outlier, retry a dead letter, print a month sheet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.waiting import until
from zk_pipeline_tests.web.attendance.attended import MARCH, NASTY
from zk_pipeline_tests.web.web_fixtures import AXE_EVERY, CHECKS, LOOKS, Visit, Web, axe_problems, screenshot

Open = Callable[..., Visit]
PAGES = {
    "attendance": "/attendance",
    "outliers": "/outliers",
    "punches": "/punches?page_size=10",
    "deliveries": "/deliveries",
    "quarantine": "/quarantine",
    "exports": "/exports",
    "payroll": "/payroll",
    "adjustments": "/payroll/adjustments?period=2026-03",
    "month": "/month?user_id=1001&month=2026-03&site=Head+office",
    "day": "/attendance/day?site=Head+office&user_id=1003&date=2026-03-02",
    "wrong": "/attendance?start_date=2026-02-30",
}
DEAD = "SELECT user_id FROM crm_deliveries WHERE state IN ('failed', 'sending') ORDER BY 1"


@pytest.fixture
def adjusted_march(web: Web) -> Iterator[None]:
    """A closed payroll period with adjustments, and an open one."""
    for period in ("2026-03", "2026-04"):
        web.store.payroll.open(period, "cli:ada")
    web.store.payroll.close("2026-03", "cli:ada", force=True)
    execute(web.store, "UPDATE payroll_days SET regular_minutes = regular_minutes - 5 WHERE work_date = ?", [MARCH])
    yield
    execute(web.store, "DELETE FROM payroll_days; DELETE FROM payroll_periods")


@pytest.mark.usefixtures("adjusted_march")
@pytest.mark.parametrize("looks", [LOOKS[:2], pytest.param(LOOKS, marks=pytest.mark.stress)], ids=str)
def test_pages_fit_the_screen_and_are_accessible(open_page: Open, looks: list[tuple[int, bool]]) -> None:
    visit, found = open_page("/attendance"), {}
    for number, (name, path) in enumerate(PAGES.items()):
        page = visit.go(path)
        for width, dark in looks:
            visit.look(width=width, dark=dark)
            screenshot(page, f"{name}-{width}-{'dark' if dark else 'light'}")
            problems = page.evaluate(CHECKS)
            if looks == LOOKS or (width < 1000 and number % AXE_EVERY == 0):
                problems += axe_problems(page)
            if problems:
                found[name, width, dark] = problems
    assert found == {}


def test_a_month_sheet_scrolls_within_its_own_area_by_keyboard_and_keeps_its_dates(open_page: Open) -> None:
    page = open_page("/month/sheets?site=Head+office&month=2026-03", width=390).page
    assert page.evaluate(CHECKS) == []
    area = page.get_by_role("region", name="Dates of Zoë Yılmaz (1001), Head office, March 2026")
    assert page.get_by_text("Scroll the table sideways").count() == page.get_by_role("table").count() == 3
    area.focus()
    page.keyboard.press("ArrowRight")
    until(lambda: page.evaluate("document.activeElement.scrollLeft") > 30)
    (date, frame) = area.get_by_role("rowheader").first.bounding_box(), area.bounding_box()
    assert date is not None
    assert frame is not None
    assert 0 <= date["x"] - frame["x"] <= 2
    screenshot(page, "sheets-390-light")


@pytest.mark.parametrize("script", [True, pytest.param(False, marks=pytest.mark.matrix)])
def test_the_reason_of_an_outlier_is_found(open_page: Open, script: bool) -> None:
    page = open_page("/outliers", script=script).page
    page.get_by_label("User").fill("1003")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("link", name="2026-03-02").click()
    page.get_by_text("Clock-in 11:30, more than 2 h after 09:00.").wait_for()
    page.get_by_text("The first punch is further after the start of work than allowed").wait_for()
    page.get_by_role("heading", name="Revisions").wait_for()

    note = "was at the doctor's, said by script" if script else "was at the doctor's"
    page.get_by_label("Note").fill(note)
    page.get_by_role("button", name="Mark as reviewed").click()
    page.get_by_text(note).last.wait_for()
    page.get_by_role("button", name="Reopen the review").click()
    page.get_by_role("button", name="Mark as reviewed").wait_for()


def test_a_dead_letter_is_retried_and_delivered_and_then_all_others(
    open_page: Open, web: Web, receiver: CrmReceiver
) -> None:
    page = open_page("/deliveries", scope="operate").page
    row = page.get_by_role("row").filter(has_text="1003")
    row.locator(".state").get_by_text("dead letter").wait_for()
    row.get_by_role("checkbox").check()
    assert page.get_by_text("1 selected").is_visible()
    page.get_by_role("button", name="Retry selected").click()
    page.wait_for_url("**/runs/*")
    until(lambda: set(receiver.ledger.latest()) == {("1003", MARCH)}, seconds=110, every=0.25)
    until(lambda: rows(web.store, DEAD) == [(NASTY,)], seconds=110, every=0.25)
    page.goto(f"{web.url}/attendance/day?site=Head+office&user_id=1003&date=2026-03-02")
    page.locator("dl.facts").get_by_text("delivered").wait_for()

    page.goto(f"{web.url}/deliveries")
    page.get_by_role("button", name="Retry all").click()
    page.wait_for_url("**/runs/*")
    until(lambda: rows(web.store, DEAD) == [], seconds=110, every=0.25)
    assert set(receiver.ledger.latest()) == {("1003", MARCH), (NASTY, MARCH)}
    page.goto(f"{web.url}/deliveries")
    page.get_by_text("No deliveries").wait_for()


def test_the_month_prints_on_one_sheet(open_page: Open, web: Web) -> None:
    reason = "Clock-in 05:00, more than 2 h before 09:00; No clock-out after the punch at 05:00"
    execute(web.store, "UPDATE daily_attendance SET outlier_reason = ? WHERE user_id = '1002'", [reason])
    page = open_page("/month?user_id=1002&month=2026-03", dark=True).page
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.count(b"/Type /Page\n") == 1
    page.emulate_media(media="print")
    assert not page.get_by_role("button", name="Show").is_visible()
    assert page.get_by_text("supervisor").is_visible()
    page.set_viewport_size({"width": 703, "height": 1032})  # A4 within its margins
    screenshot(page, "month-printed")
