"""Search, menu and list tools in the browser: by keyboard, on a phone, and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest

from zk_pipeline.store.api_tokens import SCOPES
from zk_pipeline.store.deliveries.deliveries import DeliveryKey
from zk_pipeline_tests.store.store_fixtures import execute, rows
from zk_pipeline_tests.web.attendance.attended import MARCH, NASTY, XSS
from zk_pipeline_tests.web.attendance.read_page import drawn
from zk_pipeline_tests.web.web_fixtures import CHECKS, Visit, Web, axe_problems, screenshot

Open = Callable[..., Visit]
# Bytes of a page with its styles and scripts, as sent: they are compressed by the server in front.
MAX_PAGE_BYTES = 250_000
DEAD = "SELECT user_id FROM crm_deliveries WHERE state = 'failed' ORDER BY 1"


def test_people_terminals_sites_and_dates_are_found(reader: httpx.Client, web: Web) -> None:
    page = drawn(reader.get("/search?q=head+office"))
    assert page.links["North"] == f"/devices/{web.store.devices.get('North').id}"
    assert page.links["Head office"] == "/sites/site?site=Head+office"
    assert drawn(reader.get("/search?q=1003")).links["Dead Letter"] == "/people/person?site=Head+office&user_id=1003"
    dated = reader.get("/search?q=2+March+2026").text
    assert f"/report?date={MARCH}" in dated
    assert f"/attendance?start_date={MARCH}&amp;end_date={MARCH}" in dated


def test_nothing_found_is_reported_and_the_text_is_escaped(reader: httpx.Client) -> None:
    answer = reader.get("/search", params={"q": f"nothing {XSS}"})
    assert f"Nothing found for “nothing {XSS}”." in drawn(answer).text
    assert XSS not in answer.text
    assert reader.get("/search", params={"q": "x" * 5_000}).status_code == 200
    fragment = reader.get("/search?q=1003", headers={"HX-Request": "true"})
    assert "<html" not in fragment.text
    assert set(drawn(fragment).links.values()) == {"/people/person?site=Head+office&user_id=1003"}


def test_the_search_works_by_keyboard(open_page: Open, web: Web) -> None:
    page = open_page("/attendance").page
    page.keyboard.press("/")
    page.keyboard.type("north")
    page.locator("#suggestions").get_by_role("link", name="North").wait_for()
    assert axe_problems(page) == []
    screenshot(page, "suggestions-1440-light")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent").startswith("North")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "search"
    assert page.locator("#suggestions a").count() == 0
    page.keyboard.press("End")
    page.keyboard.type(" ")
    page.locator("#suggestions").get_by_role("link", name="North").wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/devices/{web.store.devices.get('North').id}")


def test_the_menu_shows_numbers_of_what_waits_to_users_who_can_act_on_it(web: Web) -> None:
    counted = {}
    for scope in SCOPES:
        with web.client(scope) as client:
            counted[scope] = re.findall(r">([\w ]+) <span class=\"count\"", client.get("/search").text)
    both = ["To review", "Deliveries"]
    assert counted == {"read": [], "request": [], "approve": both[:1], "operate": both, "admin": both}


def test_the_search_and_the_menu_work_on_a_phone_without_scripts(open_page: Open) -> None:
    page = open_page("/attendance", script=False, width=390, dark=True).page
    page.get_by_role("searchbox", name="Search").fill("zoe")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Zoë Yılmaz").first.wait_for()
    menu = page.get_by_role("navigation", name="Pages of the admin")
    assert not menu.is_visible()
    page.get_by_role("button", name="Menu").click()
    screenshot(page, "menu-390-dark")
    menu.get_by_role("link", name="To review 4 waiting").click()
    page.get_by_role("heading", name="Outliers to review").wait_for()
    first_row, filters = page.get_by_role("row").nth(1), page.get_by_role("button", name="Filters")
    box = first_row.bounding_box()
    assert box is not None
    assert box["y"] < 400  # the rows are in the first window
    assert not page.get_by_label("User").is_visible()
    filters.click()
    page.get_by_label("User").fill("1003")
    page.get_by_role("button", name="Show").click()
    page.get_by_role("button", name="Filters (2)").wait_for()
    assert page.get_by_role("row").count() >= 2


def test_the_open_menu_and_filters_are_accessible(open_page: Open) -> None:
    page = open_page("/outliers", width=390).page
    for name in ("Menu", "Filters"):
        page.get_by_role("button", name=name).click()
        screenshot(page, f"{name.lower()}-390-light")
        assert [*page.evaluate(CHECKS), *axe_problems(page)] == [], name
        page.keyboard.press("Escape")


@pytest.mark.parametrize("script", [True, False])
def test_a_review_is_undone_from_its_message(open_page: Open, web: Web, script: bool) -> None:
    page = open_page("/outliers", scope="approve", script=script).page
    if script:
        page.get_by_label("All on this page").check()
        assert page.get_by_text("4 selected").is_visible()
        page.get_by_role("checkbox").nth(0).uncheck()
        assert page.get_by_text("3 selected").is_visible()
        assert page.get_by_label("All on this page").evaluate("one => one.indeterminate")
    else:
        for number in range(3):
            page.get_by_role("checkbox").nth(number).check()
    page.get_by_role("button", name="Mark selected as reviewed").click()
    message = page.get_by_role("status").filter(has_text="3 days marked as reviewed.")
    message.wait_for()
    assert page.get_by_text("1–1 of 1 outlier").is_visible()
    message.get_by_role("button", name="Undo").click()
    page.get_by_text("1–4 of 4 outliers").wait_for()
    page.reload()
    assert page.get_by_role("status").filter(has_text="marked").count() == 0  # shown once
    execute(web.store, "DELETE FROM day_reviews")


def test_chosen_dead_letters_are_made_due(operator: httpx.Client, web: Web) -> None:
    page = operator.get("/deliveries")
    token = drawn(page).fields["csrf_token"]
    bad = operator.post("/deliveries/retry", data={"csrf_token": token, "delivery-1": "[1, 2]"})
    assert (bad.status_code, "load the page again" in bad.text) == (400, True)
    back = drawn(operator.get("/deliveries?state=failed")).fields["back"]
    nothing = operator.post("/deliveries/retry", data={"csrf_token": token, "back": back})
    assert (nothing.status_code, nothing.headers["location"]) == (303, "/deliveries?state=failed")
    assert "No delivery is selected: nothing is sent." in operator.get(back).text
    assert page.text.count('name="delivery-') == 2
    chosen = [DeliveryKey("Head office", "1003", MARCH, 2), DeliveryKey("Head office", "1003", MARCH, 1)]
    try:
        assert web.store.deliveries.requeue_chosen(chosen) == 1  # revision 1 is superseded
        assert rows(web.store, DEAD) == [(NASTY,)]
    finally:
        execute(web.store, "UPDATE crm_deliveries SET state = 'failed' WHERE user_id = '1003' AND revision = 2")


def test_a_page_is_light_and_does_not_move_while_it_loads(open_page: Open) -> None:
    visit = open_page("/outliers")
    measured = {}
    for path in ("/attendance", "/outliers", "/deliveries", "/devices", "/devices/new", "/shifts"):
        page = visit.go(path)
        page.wait_for_load_state("load")
        size, requests, first_byte, moved = page.evaluate(
            """() => {
              const parts = performance.getEntriesByType("resource");
              const [own] = performance.getEntriesByType("navigation");
              const bytes = [own, ...parts].reduce((sum, one) => sum + one.encodedBodySize, 0);
              const observer = new PerformanceObserver(() => {});
              observer.observe({type: "layout-shift", buffered: true});
              const moved = observer.takeRecords().reduce((sum, one) => sum + one.value, 0);
              return [bytes, parts.length + 1, own.responseStart - own.requestStart, moved];
            }"""
        )
        measured[path] = (size, requests, round(first_byte), moved)
        assert size < MAX_PAGE_BYTES, measured
        assert requests <= 7, measured
        assert moved == 0, measured
    print("page: bytes, requests, ms to the first byte, layout shift:", measured)  # noqa: T201 (figures of the test)
