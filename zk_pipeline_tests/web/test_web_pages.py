"""Accessibility and layout checks of every page, in light and dark mode, at phone and desktop width; the login."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta

import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Shift, Target
from zk_pipeline.operations.pushing_terminals import REQUESTED_KINDS, request_command
from zk_pipeline.store.quality.alerts import Decision, Problem
from zk_pipeline.web.routers import ROUTERS
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, event, push
from zk_pipeline_tests.store.store_fixtures import device, ingest, process
from zk_pipeline_tests.web.web_fixtures import AXE_EVERY, CHECKS, LOOKS, Visit, Web, axe_problems, screenshot

Open = Callable[..., Visit]
FOCUS = """() => {
  const one = document.activeElement, style = getComputedStyle(one);
  if (one === document.body) return null;
  const name = (one.getAttribute("aria-label") || one.labels?.[0]?.textContent || one.textContent).trim();
  return [name.replace(/\\s+/g, " "), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}"""
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def web_environ() -> dict[str, str]:
    return {"ZK_PIPELINE_UI_URL": "https://dagster.example", "CRM_API_URL": "https://crm.example/attendance"}


@pytest.fixture(scope="module")
def furnished(web: Web) -> Web:
    """A store with content for every page."""
    store, today = web.store, datetime.now(UTC).date()
    for name, site in (("Main office", "Headquarters"), ("Back gate", "Headquarters"), ("Warehouse", "Warehouse")):
        store.devices.add(device(name, site=site))
    yesterday = today - timedelta(days=1)
    users = [(f"10{n:02}", n, f"Person number {n}", 14 * (n == 1), 0) for n in range(1, 9)]
    punches = [(user, f"{day} {at}") for user, *_ in users for day in (yesterday, today) for at in ("00:00", "00:05")]
    ingest(store, "Main office", *punches, users=users, rejected=[b"\0" * 40])
    ingest(store, "Back gate", ("1001", f"{yesterday} 18:04"))
    process(store, yesterday)
    adopt(store, "Yard", "CJ0V1", family="A", hello_at=store.clock(), hello_offset_seconds=10800, record_count=9)
    events = [event(21, f"{today} 00:00"), event(27, f"{today} 00:01", user_id="1001", is_operation=False)]
    push(store, ("1001", f"{today} 00:02"), name="Yard", serial="CJ0V1", events=events, stamp="9" * 30)
    for kind in REQUESTED_KINDS:
        dates = (yesterday, today) if kind == "punches" else (None, None)
        request_command(store, store.devices.get("Yard"), kind, first=dates[0], last=dates[1], by="cli:admin")
    contact(store, "CJ0V2", family="A", push_version="2.4.1")
    store.shifts.add(Shift(name="night", start=time(22), end=time(6)))
    store.shifts.add(Shift.of("off", {"weekdays": ()}))
    store.shifts.add_season(Season(shift="night", use="off", valid_from=today, valid_to=today))
    store.shifts.assign(Assignment(shift="night", target=Target(site="Warehouse"), valid_from=today))
    store.holidays.put(
        [Holiday(day=today, name="Founders' day"), Holiday(day=yesterday, name="Feast", site="Warehouse")]
    )
    silent = Problem(
        key="device:Warehouse",
        kind="device",
        severity="critical",
        owner="terminals",
        title="Warehouse was not read for 45 minutes",
        body="Warehouse (192.0.2.10:4370): connecting failed: no answer. Check the terminal's power and cable.",
    )
    store.alerts.update(lambda known: Decision() if known else Decision(begun=[silent], notified=[silent.key]))
    return web


_WITH_PARAMETERS = {
    "/shifts/edit": "name=night",
    "/people/person": "site=Headquarters&user_id=1001",
    "/sites/site": "site=Headquarters",
    "/month/sheets": "site=Headquarters",
}


def paths() -> list[str]:
    """Every page without parameters, and one of each with parameters."""
    plain = [
        route.path
        for router in ROUTERS
        for route in router.routes
        if "GET" in getattr(route, "methods", ()) and "{" not in route.path
    ]
    return [
        *(path for path in plain if path not in _WITH_PARAMETERS),
        *(f"{path}?{query}" for path, query in _WITH_PARAMETERS.items()),
        "/month?site=Headquarters",
        "/api/docs?q=correction",  # all operations take seconds
        "/devices/1",
        "/devices/1/edit",
        "/devices/4",
        "/devices/4/edit",
        "/devices/adopt/CJ0V2",
        "/devices/1/import",
    ]


@pytest.mark.parametrize("looks", [LOOKS[:2], pytest.param(LOOKS, marks=pytest.mark.stress)], ids=str)
def test_every_page_has_names_for_its_fields_and_enough_contrast_and_fits_its_window(
    furnished: Web, open_page: Open, looks: list[tuple[int, bool]]
) -> None:
    assert furnished.store.devices.all()
    visit = open_page("/")
    problems = {}
    for number, path in enumerate(paths()):
        answer = visit.page.goto(f"{visit.url}{path}")
        assert answer is not None
        if "html" not in answer.headers["content-type"]:
            continue
        for opened in visit.page.locator("details").all():
            opened.evaluate("one => one.open = true")
        name = path.strip("/").replace("/", "-").replace("?", "-") or "overview"
        for width, dark in looks:
            visit.look(width=width, dark=dark)
            found = visit.page.evaluate(CHECKS)
            if looks == LOOKS or (width < 1000 and number % AXE_EVERY == 0):
                found += axe_problems(visit.page)
            if answer.status >= 500 or found:
                problems[path, width, dark] = [answer.status, *found]
            screenshot(visit.page, f"{name}-{width}-{'dark' if dark else 'light'}")
    assert problems == {}


def test_the_checks_detect_each_problem(open_page: Open) -> None:
    visit = open_page("/login", scope=None)
    page = visit.page
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.evaluate(
            """() => {
              document.title = "";
              document.querySelector("main").innerHTML = `<h1>One</h1><h1>Two</h1><input><a href="/"></a><p id="a"></p>
                <p id="a" class="muted">pale</p><table><tr><td>1</td></tr></table><b onclick="x()">x</b><div>wide</div>
                <form action="/1"><button>Same</button></form><form action="/2"><button>Same</button></form>`;
              document.querySelector("main .muted").style.color = "#999";
              document.querySelector("main div").style.width = "2000px";
            }"""
        )
    found = "\n".join(page.evaluate(CHECKS))
    for problem in (
        "name: <input", "name: <a", "two buttons named Same", "two ids a", "not one h1", "no language or title",
        "without heads", "inline: <b", "wider than the window", "contrast 2.",
    ):  # fmt: skip
        assert problem in found, problem
    assert all("Content Security Policy" in one for one in visit.complaints)
    assert visit.complaints != []
    visit.complaints.clear()


def test_the_keyboard_reaches_all_controls_and_shows_the_focus(furnished: Web, open_page: Open) -> None:
    wanted = {
        "/": {
            "Skip to the content",
            "Search",
            "Devices 1 waiting",
            "Poll all terminals",
            "Process them now",
            "Deliver now",
            "Main office",
        },
        "/devices": {"Add a device", "Poll all", "Test Main office", "Poll Main office", "Log out test admin"},
        "/devices/1": {"Test", "Poll", "Set clock", "Users", "Edit", "Disable"},
        "/devices/new": {"Address IP address or host name.", "Poll it", "Add", "Cancel"},
        "/holidays": {"Date", "Name", "File", "Import"},
    }
    visit = open_page("/")
    assert furnished.store.devices.all()
    for path, names in wanted.items():
        visit.go(path)
        reached: dict[str, bool] = {}
        for _ in range(120):
            visit.page.keyboard.press("Tab")
            focus = visit.page.evaluate(FOCUS)
            if focus is None:
                break
            reached[focus[0]] = reached.get(focus[0], False) or focus[1]  # date fields have parts
        assert names <= set(reached), path
        assert all(reached.values()), [path, reached]
    visit.go("/")
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.press("Enter")
    assert visit.page.evaluate("document.activeElement.id") == "main"


def test_a_printed_page_has_no_buttons(furnished: Web, open_page: Open) -> None:
    assert furnished.store.devices.all()
    page = open_page("/devices", dark=True).page
    page.emulate_media(media="print")
    assert page.get_by_role("table").first.is_visible()
    assert page.get_by_role("button").count() == page.get_by_role("navigation").count() == 0
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"


def test_pages_link_to_the_dagster_ui(furnished: Web, open_page: Open) -> None:
    page = open_page("/").page
    today = furnished.store.clock().date()
    link = page.get_by_role("link", name=str(today)).first
    assert link.get_attribute("href") == (
        f"https://dagster.example/assets/daily_attendance?view=partitions&partition={today}"
    )
    page.goto(f"{furnished.url}/devices/1")
    link = page.get_by_role("link", name="Partition of raw_punches")
    assert str(link.get_attribute("href")).endswith("raw_punches?view=partitions&partition=Main%20office")


@pytest.mark.parametrize(("width", "dark"), [LOOKS[0], pytest.param(*LOOKS[1], marks=pytest.mark.stress)])
def test_a_user_logs_in_with_a_token_and_out(web: Web, open_page: Open, width: int, dark: bool) -> None:
    page = open_page("/", scope=None, width=width, dark=dark).page
    assert page.url == f"{web.url}/login"
    screenshot(page, f"login-{width}-{'dark' if dark else 'light'}")
    page.get_by_label("API token").fill(web.served.tokens["admin"])
    page.keyboard.press("Enter")
    if width < 1024:
        page.get_by_role("button", name="Menu").click()
    page.get_by_role("navigation", name="Pages of the admin").wait_for()
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("API token").wait_for()
