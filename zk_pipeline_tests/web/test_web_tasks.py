"""Tasks of operators, done by few clicks from the home page; their results are in the store or at the CRM."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.http.run_workers import Action, ActionResult
from zk_pipeline.operations.process import process_dates
from zk_pipeline.operations.sync import additional_states, sync
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.simulator.crm.faults import no_fault, refusal
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.gates import gate
from zk_pipeline_tests.store.store_fixtures import device, ingest, on, rows
from zk_pipeline_tests.tasks import TASK
from zk_pipeline_tests.web.web_fixtures import Visit, Web

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Open = Callable[..., Visit]
TOKEN = "token-of-the-crm"
ANNA, BORIS = "1001", "1002"
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def receiver() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def web_environ(receiver: CrmReceiver) -> Mapping[str, str]:
    return {"CRM_API_URL": receiver.url, "CRM_API_TOKEN": TOKEN}


@pytest.fixture(scope="module")
def last_month(web: Web) -> date:
    return web.store.clock().date().replace(day=1) - timedelta(days=1)


@pytest.fixture(scope="module")
def tuesday(last_month: date) -> date:
    """The last Tuesday of the last month."""
    return last_month - timedelta(days=(last_month.weekday() - 1) % 7)


@pytest.fixture(scope="module")
def works(web: Web, receiver: CrmReceiver, tuesday: date) -> Web:
    """Two employees, of whom Anna forgot a clock-out and the CRM rejected Boris; one terminal does not answer."""
    store, settings = web.store, load_settings()
    monday = tuesday - timedelta(days=1)
    for name in ("Main gate", "Back gate"):
        store.devices.add(device(name, site="Works"))
    punches = [*on(monday, "09:00", "18:00"), *on(tuesday, "09:00"), *on(monday, "09:01", "18:00", user_id=BORIS)]
    ingest(store, "Main gate", *punches, users=[(ANNA, 1, "Anna Kowalska", 0, 0), (BORIS, 2, "Boris Novák", 0, 0)])
    now = store.clock()
    failure = FailedPoll("Back gate", now, now, "unreachable", "no answer from 192.0.2.10:4370: check its power")
    store.punches.record_failures([failure], run_id=None)
    process_dates(store, [monday, tuesday], work_rules(settings), run_id="process run")
    receiver.fault_rule = lambda received: (
        refusal(422, detail="no such employee") if BORIS in received.user_ids else None
    )
    sync(store, settings, SyncScope(), run_id="sync run")
    receiver.fault_rule = no_fault
    return web


@dataclass
class Task:
    """Clicks from the home page until the task is done."""

    page: Page
    clicks: int = 0

    def click(self, target: Locator) -> None:
        self.clicks += 1
        target.click()


@pytest.fixture
def task(
    works: Web, open_page: Open, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Task]:
    page = open_page("/").page
    begin, done = time.perf_counter(), Task(page)
    yield done
    sentence = request.node.name.removeprefix("test_").replace("_", " ")
    record_property(TASK, f"{sentence}: {done.clicks} clicks, {time.perf_counter() - begin:.1f} s")
    assert works.store.devices.all()


def test_find_why_the_tuesday_of_anna_is_wrong_and_request_a_correction(task: Task, works: Web, tuesday: date) -> None:
    page = task.page
    page.keyboard.press("/")
    page.keyboard.type("anna")
    task.click(page.locator("#suggestions").get_by_role("link", name="Anna Kowalska"))
    task.click(page.get_by_role("region", name="To review").get_by_role("link", name=str(tuesday)))
    page.get_by_text("No clock-out after the punch at 09:00").first.wait_for()
    task.click(page.get_by_role("link", name="Request the missing clock-out"))
    page.get_by_label("Time").fill("18:05")
    page.get_by_label("Reason").fill("forgot to punch")
    task.click(page.get_by_role("button", name="Request", exact=True))
    page.wait_for_url("**/punch-requests**")
    requested = "SELECT user_id, punched_at_local::VARCHAR, punch_state, reason FROM manual_punches"
    assert rows(works.store, requested) == [(ANNA, f"{tuesday} 18:05:00", 1, "forgot to punch")]
    assert task.clicks <= 4


def test_find_the_terminal_that_is_late_and_why(task: Task) -> None:
    page = task.page
    task.click(page.get_by_role("link", name="Back gate is not read"))
    page.get_by_role("heading", name="Back gate").wait_for()
    problems = page.get_by_role("region", name="Open problems")
    problems.get_by_text("no answer from 192.0.2.10:4370: check its power").wait_for()
    problems.get_by_text("What to do:").wait_for()
    assert task.clicks <= 1


@contextmanager
def synchronous_actions(web: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Actions of the server deliver at once, without a run of Dagster."""
    done: dict[str, Future[ActionResult]] = {}

    def submit(action: Action) -> Future[ActionResult]:
        retries = additional_states(retry=action.arguments["retry"], force=False)
        sync(web.store, load_settings(), replace(action.arguments["scope"], states=retries), run_id=action.run_id)
        done[action.run_id] = Future()
        done[action.run_id].set_result(ActionResult([], [], {}, {}))
        return done[action.run_id]

    with monkeypatch.context() as patch:
        patch.setattr(web.served.services.actions, "submit", submit)
        patch.setattr(web.served.services.actions, "find", done.get)
        yield


def test_deliver_the_dead_letters_of_one_person(
    task: Task, works: Web, receiver: CrmReceiver, tuesday: date, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = task.page
    with synchronous_actions(works, monkeypatch):
        task.click(page.get_by_role("main").get_by_role("link", name="dead letter").first)
        task.click(page.get_by_role("link", name="Boris Novák"))
        page.get_by_text("no such employee").wait_for()
        task.click(page.get_by_role("button", name="Deliver them now"))
        page.wait_for_url("**/runs/*")
    assert (BORIS, tuesday - timedelta(days=1)) in set(receiver.ledger.latest())
    assert rows(works.store, "SELECT count(*) FROM crm_deliveries WHERE state = 'failed'") == [(0,)]
    assert task.clicks <= 3


def test_print_the_last_month_of_a_site(task: Task, last_month: date) -> None:
    page = task.page
    task.click(page.get_by_role("main").get_by_role("link", name="Works"))
    task.click(page.get_by_role("link", name=f"Sheets of {last_month:%B}"))
    task.click(page.get_by_role("link", name="All sheets, to print"))
    page.get_by_role("heading", name=f"Works, {last_month:%B %Y}").first.wait_for()
    printed = page.pdf(prefer_css_page_size=True, print_background=True)
    assert printed.count(b"/Type /Page\n") == 2, "one page for each employee"
    assert task.clicks <= 3


def test_add_a_terminal_with_a_wrong_zone_and_see_the_right_one(task: Task, works: Web) -> None:
    port = works.fleet.add(gate("New gate", clock_offset_seconds=3 * 3600))  # on the wall clock of Nairobi
    page = task.page
    task.click(page.get_by_role("navigation", name="Pages of the admin").get_by_role("link", name="Devices"))
    task.click(page.get_by_role("link", name="Add a device"))
    for label, text in (("Name Cannot", "New gate"), ("Address", works.fleet.host), ("Port", str(port))):
        page.get_by_label(label).fill(text)
    assert page.get_by_label("Time zone").input_value() == "UTC"
    task.click(page.get_by_role("button", name="Test the connection"))
    page.get_by_text("The terminal's clock is 3 h 00 min ahead: its zone may be").wait_for()
    page.get_by_label("Time zone").fill("Africa/Nairobi")
    task.click(page.get_by_role("button", name="Add", exact=True))
    page.get_by_role("heading", name="New gate").wait_for()
    assert works.store.devices.get("New gate").timezone == "Africa/Nairobi"
    assert task.clicks <= 4
