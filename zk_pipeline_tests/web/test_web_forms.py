"""Forms in the browser: terminals, shifts and holidays; and the limits of each scope."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from datetime import date, time
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Shift, Target
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import TerminalUser, punches_frame
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.queries.device_details import device_details
from zk_pipeline.store.shifts.leaves import LeaveFilter, NewLeave
from zk_pipeline_tests.gates import MONDAY, NASTY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import execute
from zk_pipeline_tests.web.web_fixtures import CHECKS, Visit, Web, axe_problems, screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Page

Open = Callable[..., Visit]
ATTACK = "<img src=x onerror=alert(1)>"
CALENDAR = """BEGIN:VCALENDAR
BEGIN:VEVENT
DTSTART;VALUE=DATE:20260501
SUMMARY:Labour Day
END:VEVENT
END:VCALENDAR
"""
# Without scripts by default: the adoption of a terminal, in test_web_push.
_WITHOUT = pytest.param(False, marks=pytest.mark.matrix)
SCRIPTS = pytest.mark.parametrize("script", [True, _WITHOUT], ids=["with scripts", "without scripts"])
pytestmark = pytest.mark.timeout(300)


def csrf_of(client: httpx.Client) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)
    assert found is not None
    return found[1]


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def add(page: Page, name: str, host: str, port: int) -> None:
    page.get_by_role("link", name="Add a device").click()
    page.get_by_label("Name", exact=False).first.fill(name)
    page.get_by_label("Address").fill(host)
    page.get_by_label("Port").fill(str(port))
    press(page, "Add")


def test_a_form_registers_no_device_outside_the_networks_of_the_settings(web: Web) -> None:
    one = web.store.devices.add(Device(name="Outside already", ip_address="198.51.100.7"))
    networks = (ip_network("192.0.2.0/24"),)
    with web.client() as client, web.served.with_settings(device_networks=networks):
        fields = {"csrf_token": csrf_of(client), "name": "Outside", "ip_address": "198.51.100.8", "polled": "on"}
        for path in ("/devices/new", f"/devices/{one.id}/edit"):
            answer = client.post(path, data=fields)
            assert "address 198.51.100.8 is outside DEVICE_NETWORKS (192.0.2.0/24)" in answer.text
        kept = fields | {"ip_address": one.ip_address, "port": "4371"}
        assert client.post(f"/devices/{one.id}/edit", data=kept).status_code == 303
    assert web.store.devices.get(one.name).port == 4371
    web.store.devices.remove(one.name)


@SCRIPTS
def test_a_device_is_added_tested_and_polled_and_its_punches_are_counted(
    web: Web, open_page: Open, script: bool
) -> None:
    name = "Main gate" if script else "Side gate"
    port = web.fleet.add(gate(name, *present(MONDAY), *present(MONDAY, NASTY)))  # switched on, not registered
    page = open_page("/devices", script=script, width=390).page
    add(page, name, "no host", port)
    page.get_by_role("alert").filter(has_text="is not valid").wait_for()
    assert page.get_by_label("Port").input_value() == str(port)  # the input is kept
    page.get_by_label("Address").fill(web.fleet.host)
    press(page, "Add")
    page.get_by_role("heading", name=name).wait_for()
    address = page.url

    press(page, "Test")
    page.get_by_text("Connected").wait_for()
    assert page.get_by_text("4 of 5000").is_visible()
    assert (page.url == address) is script  # in place with scripts
    press(page, "Poll")
    page.wait_for_url("**/runs/*")
    page.get_by_role("heading").get_by_text("done").wait_for(timeout=90_000)
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=name))
    assert row.get_by_role("cell").all_inner_texts()[1:3] == ["4", "4"]
    screenshot(page, f"run-{'scripts' if script else 'plain'}")
    row.get_by_role("link", name=name).click()
    assert page.locator("dt:text-is('Punches stored') + dd").inner_text() == "4"
    assert web.store.punches.total() >= 4

    press(page, "Set clock")
    page.get_by_text("The clock is set.").wait_for()
    page.get_by_role("link", name="Users").click()
    assert page.get_by_role("row").count() == 5
    assert page.get_by_text(NASTY).is_visible()


@SCRIPTS
def test_a_terminal_with_a_wrong_zone_is_tested_before_it_is_added_and_the_zone_is_suggested(
    web: Web, open_page: Open, script: bool
) -> None:
    name = f"Karachi {'gate' if script else 'yard'}"
    port = web.fleet.add(gate(name, timezone="Asia/Karachi"))
    page = open_page("/devices/new", script=script).page
    page.get_by_label("Name", exact=False).first.fill(name)
    page.get_by_label("Address").fill(web.fleet.host)
    page.get_by_label("Port").fill(str(port))
    press(page, "Test the connection")
    page.get_by_text("Connected").wait_for()
    page.get_by_text("The terminal's clock is 5 h 00 min ahead: its zone may be ").wait_for()
    assert axe_problems(page) == [] if script else True
    screenshot(page, f"device-tested-{'scripts' if script else 'plain'}")
    assert page.get_by_label("Port").input_value() == str(port)  # the input is kept
    page.get_by_label("Time zone").fill("Asia/Karachi")
    press(page, "Add")
    page.get_by_role("status").filter(has_text="with the result of its test").wait_for()
    found = device_details(web.store.database, name)
    assert found.firmware_version
    assert found.drift_seconds is not None
    assert abs(found.drift_seconds) < 60  # as in the zone that was added
    assert web.store.devices.get(name).serial_number is None  # the first poll records it
    web.store.devices.remove(name)


def test_each_invalid_field_has_its_message_next_to_it_and_the_others_keep_their_values(open_page: Open) -> None:
    page = open_page("/devices/new").page
    page.get_by_label("Name", exact=False).first.fill("Good name")
    page.get_by_label("Address").fill("no host")
    page.get_by_label("Time zone").fill("Europe/Istanbull")
    press(page, "Add")
    page.get_by_role("alert").filter(has_text="2 fields to correct").wait_for()
    zone = page.get_by_label("Time zone")
    assert zone.get_attribute("aria-invalid") == "true"
    described = page.locator(f"#{zone.get_attribute('aria-describedby')}")
    assert described.inner_text() == "time zone 'Europe/Istanbull' is not known: did you mean Europe/Istanbul?"
    assert page.get_by_label("Name", exact=False).first.input_value() == "Good name"
    assert page.get_by_label("Name", exact=False).first.get_attribute("aria-invalid") is None
    assert [*page.evaluate(CHECKS), *axe_problems(page)] == []


def test_a_field_is_checked_when_it_is_left_and_its_message_goes_when_it_is_corrected(open_page: Open) -> None:
    page = open_page("/devices/new").page
    key, name, port = (
        page.get_by_label("Variable"),
        page.get_by_label("Name", exact=False).first,
        page.get_by_label("Port"),
    )
    port.fill("4370a")
    key.focus()
    described = page.locator(f"#{port.get_attribute('aria-describedby')}")
    assert described.inner_text() == "A whole number from 1 to 65535 is expected."
    assert port.get_attribute("aria-invalid") == "true"
    assert name.get_attribute("aria-invalid") is None  # required, but not filled in yet
    assert [*page.evaluate(CHECKS), *axe_problems(page)] == []
    port.fill("4371")
    assert port.get_attribute("aria-invalid") is port.get_attribute("aria-describedby") is None
    assert described.count() == 0
    press(page, "Add")
    page.locator("#name[aria-invalid]").wait_for()
    assert page.locator(".error").count() == 2  # the name and the address
    page.get_by_role("link", name="Cancel").hover()
    port.fill("x")
    page.mouse.down()
    assert page.locator(".error").count() == 2  # nothing moves while the link is pressed
    page.mouse.up()
    page.wait_for_url("**/devices")


def test_a_disabled_terminal_is_enabled_again_from_the_message(web: Web, open_page: Open) -> None:
    one = web.store.devices.add(Device(name="Switched", ip_address="192.0.2.1"))
    page = open_page(f"/devices/{one.id}").page
    press(page, "Disable")
    page.get_by_role("status").filter(has_text="is not polled").get_by_role("button", name="Undo").click()
    page.get_by_role("status").filter(has_text="The terminal is enabled").wait_for()
    assert web.store.devices.get("Switched").enabled
    web.store.devices.remove("Switched")


def test_what_was_removed_is_added_again_by_its_undo_form(web: Web) -> None:
    store = web.store
    for name in ("undone", "summer"):
        store.shifts.add(Shift(name=name, start=time(9), end=time(18)))
    store.shifts.assign(Assignment(shift="undone", target=Target(user_id="1001"), valid_from=MONDAY))
    store.shifts.add_season(Season(shift="undone", use="summer", valid_from=MONDAY, valid_to=MONDAY))
    store.holidays.put([Holiday(day=MONDAY, name="Feast")])
    leave = store.leaves.add(NewLeave(user_id="1001", first_date=MONDAY, last_date=MONDAY, kind="training"), "cli:ada")
    (assigned,) = [one for one in store.shifts.assignments() if one.shift == "undone"]
    (season,) = store.shifts.seasons()
    before = assigned.target, season.use, store.holidays.all(), leave
    with web.client() as admin:
        for path, fields in {
            "/shifts/unassign": {"id": str(assigned.id)},
            "/shifts/seasons/remove": {"id": str(season.id)},
            "/holidays/remove": {"date": str(MONDAY), "site": ""},
            "/leaves/remove": {"id": str(leave.id)},
        }.items():
            done = admin.post(path, data={"csrf_token": csrf_of(admin)} | fields)
            assert done.status_code == 303, done.text
            shown = admin.get(done.headers["location"]).text
            form = re.search(r'role="status">.*?<form method="post" action="([^"]+)">(.*?)</form>', shown, re.S)
            assert form is not None, path
            given = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form[2])}
            assert admin.post(form[1], data=given).status_code in (200, 303)
            assert admin.post(form[1], data=given).status_code == 400, "it was entered again"
    (again,) = [one for one in store.shifts.assignments() if one.shift == "undone"]
    (restored,) = store.shifts.seasons()
    count, leaves = store.leaves.page(LeaveFilter(), limit=5)
    assert (again.target, restored.use, store.holidays.all(), leaves[0]) == before
    assert count == 1
    store.shifts.unassign(again.id or 0)
    store.shifts.remove_season(restored.id or 0)
    for name in ("undone", "summer"):
        store.shifts.remove(name)
    store.holidays.remove(MONDAY)
    store.leaves.remove(leaves[0].id, "cli:ada")


def test_a_terminal_that_was_changed_since_is_not_enabled_again_by_undo(web: Web) -> None:
    one = web.store.devices.add(Device(name="Switched", ip_address="192.0.2.1"))
    address = f"/devices/{one.id}"
    with web.client() as admin:
        signed = {"csrf_token": csrf_of(admin)}
        admin.post(f"{address}/enabled", data=signed | {"enabled": "false"})
        (undo,) = re.findall(r'name="undo" value="([^"]+)"', admin.get(address).text)
        web.store.devices.update("Switched", site="moved")
        undoing = signed | {"enabled": "true", "undo": undo}
        admin.post(f"{address}/enabled", data=undoing)
        assert "Not undone: Switched was changed since." in admin.get(address).text
        assert not web.store.devices.get("Switched").enabled
    web.store.devices.remove("Switched")


def test_texts_of_a_terminal_are_escaped(web: Web, open_page: Open) -> None:
    users = (TerminalUser(uid=1, user_id="<b>1</b>", name=ATTACK[:24]),)
    hostile = EmulatedTerminal(TerminalDefinition(name=ATTACK, users=users), log=punches_frame([]))
    (name,) = switch_on(web.fleet, web.store, hostile, site=f"site {ATTACK}")
    visit = open_page("/devices")
    visit.page.get_by_role("link", name=name, exact=True).click()
    press(visit.page, "Test")
    visit.page.get_by_text("Connected").wait_for()
    visit.page.get_by_role("link", name="Users").click()
    assert visit.page.get_by_role("row").nth(1).all_inner_texts()[0].startswith("<b>1</b>\t<img")
    for path in ("/", "/devices", "/holidays", "/devices/new"):
        visit.go(path)
        assert visit.page.locator("img").count() == 0
        assert ATTACK in visit.page.content().replace("&lt;", "<").replace("&gt;", ">")
    web.store.devices.remove(name)


def test_an_unreachable_terminal_is_reported_in_place_with_advice(web: Web, open_page: Open) -> None:
    port = web.fleet.add(gate("Off"))
    web.fleet.switch_off("Off")
    web.store.devices.add(Device(name="Off", ip_address=web.fleet.host, port=port, protocol="tcp"))
    page = open_page("/devices").page
    page.get_by_role("button", name="Test Off").click()
    page.get_by_role("row").filter(has_text="Off").get_by_role("alert").filter(has_text="Check the port").wait_for()
    assert page.url == f"{web.url}/devices"
    web.store.devices.remove("Off")


def test_a_tested_terminal_that_is_registered_already_is_named(web: Web) -> None:
    port = web.fleet.add(gate("Moved gate"))
    known = web.store.devices.add(Device(name="Known gate", ip_address=web.fleet.host, port=port, protocol="tcp"))
    serial = web.served.services.terminals.probe(known).serial_number
    execute(web.store, "UPDATE devices SET serial_number = ? WHERE name = ?", [serial, known.name])
    with web.client() as client:
        fields = {
            "csrf_token": csrf_of(client), "ip_address": web.fleet.host, "port": str(port), "protocol": "tcp",
            "polled": "on", "test": "yes",
        }  # fmt: skip
        new = client.post("/devices/new", data=fields | {"name": "Moved gate"}).text
        own = client.post(f"/devices/{known.id}/edit", data=fields).text
    assert f'serial number {serial} is registered as <a href="/devices/{known.id}/edit">Known gate</a>' in new
    assert ("Connected" in own, "is registered as" in own) == (True, False)
    web.store.devices.remove(known.name)


def test_the_pattern_of_a_port_is_exactly_that_of_the_check(web: Web) -> None:
    with web.client() as client:
        (pattern,) = re.findall(r'name="port" [^>]*pattern="([^"]+)"', client.get("/devices/new").text)
    accepted = [port for port in range(70_000) if re.fullmatch(pattern, str(port))]
    assert accepted == list(range(1, 65_536))
    assert re.fullmatch(pattern, "04370") is None


def test_the_scope_read_has_no_other_buttons_and_gets_403(web: Web, open_page: Open) -> None:
    one = web.store.devices.add(Device(name="Watched", ip_address="192.0.2.1"))
    page = open_page(f"/devices/{one.id}", scope="read").page
    assert page.locator("main").get_by_role("button").all_inner_texts() == ["Test"]
    assert page.get_by_role("link", name="Edit").count() == 0
    page.goto(f"{web.url}/devices/new")
    page.get_by_text("this page needs the scope admin").wait_for()
    with web.client("read") as reader, web.client("operate") as operator:
        signed = {"csrf_token": csrf_of(reader)}
        posts = {
            f"/devices/{one.id}/poll": "operate", f"/devices/{one.id}/set-clock": "admin", "/runs": "operate",
            "/devices/new": "admin", f"/devices/{one.id}/edit": "admin", f"/devices/{one.id}/enabled": "admin",
            f"/devices/{one.id}/replaced": "admin", f"/devices/{one.id}/remove": "admin", "/shifts/new": "admin",
            "/shifts/edit?name=a": "admin", "/shifts/remove": "admin", "/shifts/assign": "admin",
            "/shifts/unassign": "admin", "/shifts/rotations": "admin", "/shifts/import": "admin",
            "/shifts/seasons": "admin", "/shifts/seasons/remove": "admin",
            "/holidays": "admin", "/holidays/remove": "admin", "/holidays/import": "admin",
            "/payroll": "admin", "/payroll/close": "admin", "/payroll/reopen": "admin",
        }  # fmt: skip
        for path, scope in posts.items():
            assert reader.post(path, data=signed).status_code == 403, path
            if scope == "admin":
                assert operator.post(path, data={"csrf_token": csrf_of(operator)}).status_code == 403, path
    assert web.store.devices.get("Watched").enabled
    web.store.devices.remove("Watched")


def test_a_form_of_another_page_is_refused(web: Web) -> None:
    one = web.store.devices.add(Device(name="Guarded", ip_address="192.0.2.1"))
    file = {"file": ("a.csv", b"date,name\n2026-05-01,Feast\n")}
    with web.client() as admin:
        for token in ({"csrf_token": ""}, {"csrf_token": "guess"}):
            assert admin.post(f"/devices/{one.id}/remove", data=token).status_code == 403
            assert admin.post("/holidays/import", data=token, files=file).status_code == 403
            assert admin.post("/shifts/import", data=token, files=file).status_code == 403
        good = {"csrf_token": csrf_of(admin)}
        elsewhere = {"Origin": "http://evil.example"}
        assert admin.post(f"/devices/{one.id}/remove", data=good, headers=elsewhere).status_code == 403
        assert web.store.devices.get("Guarded")
        assert web.store.holidays.all() == []
        assert admin.post(f"/devices/{one.id}/enabled", data=good | {"enabled": "false"}).status_code == 303
        assert not web.store.devices.get("Guarded").enabled
        assert admin.post(f"/devices/{one.id}/remove", data=good).status_code == 303
    assert "Guarded" not in [device.name for device in web.store.devices.all()]


def test_a_registration_is_changed_and_an_empty_field_has_its_default(web: Web) -> None:
    one = web.store.devices.add(Device(name="Changed", ip_address="192.0.2.1", site="Here", comm_key_env="KEY"))
    with web.client() as admin:
        signed = {
            "csrf_token": csrf_of(admin),
            "ip_address": "192.0.2.2",
            "port": "4371",
            "enabled": "on",
            "polled": "on",
        }
        wrong = admin.post(f"/devices/{one.id}/edit", data=signed | {"timezone": "Europe/Istambul"})
        assert (wrong.status_code, "did you mean Europe/Istanbul" in wrong.text) == (400, True)
        for field, value in (
            ("protocol", "x"),
            ("port", "0"),
            ("ip_address", ""),
            ("comm_key_env", "a-b"),
            ("direction", "up"),
        ):
            assert admin.post(f"/devices/{one.id}/edit", data=signed | {field: value}).status_code == 400, field
        assert web.store.devices.get("Changed") == one
        good = signed | {"timezone": "Europe/Istanbul", "site": "", "comm_key_env": "", "live": "on", "direction": "in"}
        assert admin.post(f"/devices/{one.id}/edit", data=good).status_code == 303
    now = web.store.devices.get("Changed")
    assert (now.ip_address, now.port, now.timezone, now.site) == ("192.0.2.2", 4371, "Europe/Istanbul", "Changed")
    assert (now.comm_key_env, now.enabled, now.live, now.trust_punch_states) == (None, True, True, False)
    assert now.direction == "in"
    web.store.devices.remove("Changed")


def test_a_test_is_recorded_and_unlocks_a_terminal_that_was_left_locked(web: Web) -> None:
    (name,) = switch_on(web.fleet, web.store, gate("Shut"))
    one = web.store.devices.get(name)
    web.store.keypad_locks.note(one)
    with web.client() as admin:
        assert ">locked<" in admin.get("/devices").text
        page = admin.get(f"/devices/{one.id}").text
        assert "It may accept no punches" in page
        tested = admin.post(f"/devices/{one.id}/test", data={"csrf_token": csrf_of(admin)})
        assert tested.status_code == 200
        found = device_details(web.store.database, name)
        assert found.firmware_version
        assert found.drift_seconds is not None
        assert "It may accept no punches" not in admin.get(f"/devices/{one.id}").text
        execute(
            web.store, "UPDATE devices SET serial_number = 'other', firmware_version = 'Ver 1' WHERE name = ?", [name]
        )
        admin.post(f"/devices/{one.id}/test", data={"csrf_token": csrf_of(admin)})
        assert device_details(web.store.database, name).firmware_version == "Ver 1"  # tested was another terminal
    web.store.devices.remove(name)


def test_a_shift_is_added_assigned_changed_and_removed(web: Web, open_page: Open) -> None:
    web.store.devices.add(Device(name="Gate", ip_address="192.0.2.1", site="Works / north"))
    page = open_page("/shifts").page
    page.get_by_role("link", name="Add a shift").click()
    page.get_by_label("Name").fill("night & day?")
    page.get_by_label("Start", exact=True).fill("22:00")
    page.get_by_label("End").fill("06:00")
    page.get_by_label("Sunday").uncheck()
    page.get_by_label("In late by more than").fill("0.5")
    press(page, "Add")
    page.get_by_role("status").wait_for()
    (made,) = web.store.shifts.all()
    assert (made.name, made.start, made.end, made.late_clock_in_hours) == ("night & day?", time(22), time(6), 0.5)
    assert made.weekdays == ("mon", "tue", "wed", "thu", "fri", "sat")

    page.get_by_label("Site").select_option("Works / north")
    page.get_by_label("First work date").fill("2026-01-01")
    press(page, "Assign")
    page.get_by_role("status").wait_for()
    press(page, "Assign")  # once more without a target
    page.get_by_role("alert").filter(has_text="name one").wait_for()
    page.get_by_role("button", name="Remove night & day?", exact=True).click()
    page.get_by_role("alert").filter(has_text="unassign it first").wait_for()

    page.get_by_role("link", name="Edit night & day?").click()
    assert not page.get_by_label("Sunday").is_checked()
    page.get_by_label("End").fill("07:00")
    press(page, "Save")
    page.get_by_role("status").wait_for()
    assert web.store.shifts.get("night & day?").end == time(7)
    page.get_by_role("button", name="Remove night & day? for").click()
    page.get_by_text("No shift is assigned.").wait_for()
    page.get_by_role("button", name="Remove night & day?", exact=True).click()
    page.get_by_text("No shifts: all users").wait_for()
    assert web.store.shifts.all() == []
    web.store.devices.remove("Gate")


def test_rotations_files_and_seasons_are_assigned_and_removed(web: Web, open_page: Open, tmp_path: Path) -> None:
    page = open_page("/shifts/new").page
    page.get_by_label("Name").fill("off")
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"):
        page.get_by_label(day).uncheck()
    press(page, "Add")
    page.get_by_role("status").wait_for()
    assert web.store.shifts.get("off").is_off
    web.store.shifts.add(Shift(name="duty", start=time(8), end=time(8)))
    page.get_by_role("link", name="Rotations and files").click()
    page.get_by_label("Pattern").fill("duty off*3")
    page.get_by_label("User id").fill("1001")
    page.get_by_label("First work date").fill("2026-03-02")
    page.get_by_label("Last work date").fill("2026-03-09")
    press(page, "Assign")
    page.get_by_role("status").filter(has_text="4 added, 0 removed, 0 unchanged").wait_for()
    file = tmp_path / "assignments.csv"
    file.write_text("user_id;shift;from;to\n1001;off;2026-03-02;2026-03-03\n")
    page.get_by_label("File", exact=True).set_input_files(file)
    press(page, "Import")
    page.get_by_role("alert").filter(has_text="line 2: user '1001'").wait_for()
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_label("Replace other assignments on the dates in the file").check()
    press(page, "Import")
    page.get_by_role("status").filter(has_text="2 added, 2 removed").wait_for()
    page.goto(f"{web.url}/shifts/seasons")
    page.get_by_label("Shift", exact=True).select_option("duty")
    page.get_by_label("In its place").select_option("off")
    page.get_by_label("First work date").fill("2026-03-02")
    page.get_by_label("Last work date").fill("2026-03-09")
    press(page, "Add")
    page.get_by_role("status").wait_for()
    page.get_by_role("button", name="Remove duty, 2026-03-02").click()
    page.get_by_text("No seasons.").wait_for()
    for one in web.store.shifts.assignments():
        assert one.id is not None
        web.store.shifts.unassign(one.id)
    for name in ("duty", "off"):
        web.store.shifts.remove(name)


def test_holidays_are_added_imported_from_a_file_and_removed(web: Web, open_page: Open, tmp_path: Path) -> None:
    page = open_page("/holidays").page
    page.get_by_label("Date").fill("2026-12-24")
    page.get_by_label("Name").fill("Half a day")
    press(page, "Add")
    page.get_by_role("status").wait_for()
    file = tmp_path / "public holidays.ics"
    file.write_text(CALENDAR)
    page.get_by_label("File").set_input_files(file)
    press(page, "Import")
    page.get_by_role("status").filter(has_text="1 added, 0 changed, 0 unchanged").wait_for()
    page.get_by_role("button", name="Remove 2026-12-24").click()
    page.get_by_role("status").filter(has_text="Removed.").wait_for()
    assert web.store.holidays.all() == [Holiday(day=date(2026, 5, 1), name="Labour Day")]
    web.store.holidays.remove(date(2026, 5, 1))
