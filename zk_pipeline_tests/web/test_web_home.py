"""Home page: problems and their remedies, charts, first steps, refresh. The requests of the API reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.store.quality.alerts import Decision, Problem
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline.web.overview import MAX_SITES, MAX_TERMINALS
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest
from zk_pipeline_tests.web.web_fixtures import LOOKS, Visit, Web

Open = Callable[..., Visit]
CHECKS = (Path(__file__).parent / "page_checks.js").read_text()
pytestmark = pytest.mark.timeout(120)


def home(web: Web) -> str:
    with web.client("read") as reader:
        answer = reader.get("/")
    assert answer.status_code == 200
    return answer.text


def text_of(web: Web) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", home(web)))


def verdict(web: Web) -> str:
    found = re.search(r'id="verdict">([^<]+)<', home(web))
    assert found is not None
    return found[1]


def add_terminals(web: Web) -> None:
    """Two that have just been read, unless another test has added them."""
    for name in {"Hall & <i>", "Gate"} - {one.name for one in web.store.devices.all()}:
        web.store.devices.add(device(name))
        ingest(web.store, name)


def fail(web: Web, *names: str) -> None:
    now = web.store.clock()
    web.store.punches.record_failures(
        [FailedPoll(name, now, now, "no_answer", "no answer from `<it>`") for name in names], run_id=None
    )


@pytest.fixture(autouse=True)
def running(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is alive."""
    monkeypatch.setattr(type(web.served.services.watch), "liveness_problem", lambda *_: None)


def test_an_empty_system_shows_the_next_step_in_place_of_charts(web: Web) -> None:
    assert verdict(web) == "Ready: no terminal is registered yet"
    shown = home(web)
    assert "First steps" in shown
    assert "<svg class=" not in shown
    with web.client("admin") as admin:
        assert 'href="/devices/new"' in admin.get("/").text


def test_a_problem_is_shown_at_once_and_gone_at_once_in_verdict_tiles_and_matrix(web: Web) -> None:
    add_terminals(web)
    assert verdict(web) == "All is well"
    fail(web, "Gate")
    assert verdict(web) == "1 thing needs attention"
    shown = text_of(web)
    for words in (
        "Gate is not read",
        "[no_answer] no answer from &lt;it&gt;",
        "1 of 2 terminals",
        "1 of 2 polls failed",
    ):
        assert words in shown, words
    silent = Problem(
        key="device:Gate", kind="device", severity="warning", owner="terminals", title="Gate is not read", body="x"
    )
    web.store.alerts.update(lambda _: Decision(begun=[silent]))
    ingest(web.store, "Gate")
    assert verdict(web) == "All is well"  # although the alert ends with the next tick of the sensor
    assert "Gate is not read" not in home(web)
    assert "2 of 2 terminals" in text_of(web)
    assert "<i>" not in home(web)


def test_open_alerts_of_runs_and_checks_count_and_link_to_the_run(web: Web) -> None:
    add_terminals(web)
    failed = Problem(
        key="run:poll_devices", kind="run", severity="critical", owner="terminals", title="poll_devices failed",
        body="boom\nRun 0000-1",
    )  # fmt: skip
    web.store.alerts.update(lambda _: Decision(begun=[failed]))
    assert 'class="verdict bad"' in home(web)
    assert '<a href="/runs/0000-1">Run 0000-1</a>' in home(web)
    web.store.alerts.update(lambda _: Decision(ended=["run:poll_devices"]))
    assert verdict(web) == "All is well"


def test_a_daemon_that_is_not_alive_is_a_problem_with_its_remedy(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shown = home(web)
    assert "Dagster daemon heartbeat missing" in shown
    assert "start it with <code>zk-pipeline up</code>" in shown


def test_many_terminals_are_one_problem_and_long_lists_are_cut_with_a_link(web: Web) -> None:
    add_terminals(web)
    names = [f"T{number:02}" for number in range(MAX_TERMINALS + 5)]
    execute(
        web.store,
        """
        INSERT INTO devices BY NAME
        SELECT devices.* REPLACE (100 + number AS id, printf('T%02d', number) AS name, printf('T%02d', number) AS site)
        FROM devices, range(?) AS numbers(number) WHERE name = 'Gate'
        """,
        [len(names)],
    )
    fail(web, *names[:25])
    assert verdict(web) == "1 thing needs attention"
    shown = text_of(web)
    assert "25 terminals are not read" in shown
    assert "and 5 more" in shown
    assert f"The {MAX_TERMINALS} of 37 terminals with most problems" in shown
    assert f"The {MAX_SITES} of 37 sites" in shown
    execute(web.store, "UPDATE devices SET enabled = false WHERE id >= 100")


def test_punches_of_today_are_charted_against_the_usual_day_with_words_for_those_who_do_not_see_it(web: Web) -> None:
    add_terminals(web)
    now = datetime.now(UTC)
    times = [now - timedelta(weeks=1), now]
    for at in times:
        ingest(web.store, "Gate", ("1001", f"{at:%Y-%m-%d} 00:00"))
    shown = home(web)
    assert "Total 1; highest 1 at 00" in shown
    assert "median of 1 day" in shown
    assert 'aria-label="1 punch by hour, at most 1 in one hour"' in shown


def test_the_page_refreshes_itself_unless_it_has_the_focus(web: Web, open_page: Open) -> None:
    add_terminals(web)
    page = open_page("/").page
    event = "document.getElementById('home').dispatchEvent(new CustomEvent('htmx:beforeRequest', init))"
    fire = f"() => {{ const init = {{bubbles: true, cancelable: true}}; return {event}; }}"
    assert page.evaluate(fire)
    page.get_by_role("link", name="Who is in now").focus()
    assert not page.evaluate(fire)
    page.evaluate("document.activeElement.blur()")
    fail(web, "Gate")
    page.evaluate("htmx.ajax('GET', '/', {target: '#home', select: '#home', swap: 'outerHTML'})")
    page.get_by_text("1 thing needs attention").wait_for()
    assert page.locator("#home").count() == 1


def test_the_api_reference_sends_requests_with_the_token_of_its_field(web: Web, open_page: Open) -> None:
    add_terminals(web)
    visit = open_page("/api/docs", scope=None, width=390)
    page = visit.page
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    for width, dark in LOOKS[:2]:
        visit.look(width=width, dark=dark)
        assert page.evaluate(CHECKS) == []
    operation = page.locator("#get-api-devices")
    operation.get_by_role("button", name="Send GET /api/devices/").click()
    operation.get_by_text("401 Unauthorized").wait_for()
    page.get_by_label("Your token").fill(web.served.tokens["read"])
    page.keyboard.press("Enter")  # sends nothing
    operation.get_by_role("button").click()
    operation.get_by_text("200 OK").wait_for()
    assert '"name": "Gate"' in operation.locator("output pre").inner_text()
    page.get_by_role("link", name="GET /raw-attendance/").click()
    listed = page.locator("#get-api-raw-attendance")
    listed.get_by_label("page_size").fill("1001")
    listed.get_by_role("button").click()
    listed.get_by_text("400 Bad Request").wait_for()
    assert "zkp_" not in page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")


def test_the_api_reference_works_without_scripts(open_page: Open) -> None:
    page = open_page("/api/docs", script=False).page
    page.get_by_role("navigation", name="Pages of the admin").wait_for()  # of a visitor who is logged in
    assert not page.get_by_label("Your token").is_visible()
    assert not page.get_by_text("Try it").first.is_visible()
    page.get_by_label("Search operations").fill("holiday")
    page.keyboard.press("Enter")
    page.get_by_text("3 of ").wait_for()
    assert page.locator("article").count() == 3
