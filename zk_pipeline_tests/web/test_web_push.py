"""Pages of terminals that push: adoption, uploads, commands, events and limits."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.store.push.commands import Confirmation
from zk_pipeline.store.push.terminals import PushTerminal, secret_digest
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, event, push
from zk_pipeline_tests.web.test_web_forms import ATTACK, csrf_of, press
from zk_pipeline_tests.web.web_fixtures import Visit, Web

Open = Callable[..., Visit]
pytestmark = pytest.mark.timeout(300)


def terminal_of(web: Web, serial: str) -> PushTerminal:
    return next(one for one in web.store.push.terminals() if one.serial_number == serial)


def id_of(web: Web, name: str) -> int:
    number = web.store.devices.get(name).id
    assert number is not None
    return number


@pytest.mark.parametrize("script", [True, False], ids=["with scripts", "without scripts"])
def test_a_pending_terminal_is_adopted_and_gets_a_command(web: Web, open_page: Open, script: bool) -> None:
    serial, name = ("SCRIPT1", "Dock") if script else ("PLAIN1", "Ramp")
    contact(web.store, serial, family="A")
    page = open_page("/", script=script, width=390).page
    page.get_by_role("link", name="1 terminal", exact=True).click()
    page.get_by_role("link", name=f"Adopt {serial}").click()
    page.get_by_label("Name").first.fill(name)
    page.get_by_label("Time zone").fill("Europe/Istambul")
    press(page, "Adopt")
    page.get_by_role("alert").filter(has_text="did you mean Europe/Istanbul?").wait_for()
    assert page.get_by_label("Name").first.input_value() == name  # the input is kept
    page.get_by_label("Time zone").fill("Europe/Istanbul")
    press(page, "Adopt")
    page.get_by_role("heading", name=name).wait_for()
    page.get_by_text("The terminal is adopted.").wait_for()
    for absent in ("Test", "Poll", "Set clock"):
        assert page.get_by_role("button", name=absent, exact=True).count() == 0
    press(page, "Report counters")
    page.get_by_text("The command is queued.").wait_for()
    page.get_by_label("Punches from").fill("2026-11-01")
    page.get_by_label("To", exact=True).fill("2026-11-30")
    press(page, "Send these punches again")
    page.get_by_text("2026-11-01 to 2026-11-30").wait_for()
    assert terminal_of(web, serial).adopted_by == "test admin"
    assert [one.command.kind for one in web.store.push.commands(serial)] == ["query_punches", "info"]
    page.goto(f"{web.url}/devices")
    row = page.get_by_role("row").filter(has_text=name)
    assert (row.get_by_text("adopted").count(), row.get_by_text("pushes").count()) == (1, 1)
    assert row.get_by_role("button").count() == 0


def test_a_secret_is_shown_once(web: Web) -> None:
    contact(web.store, "SECRET1")
    with web.client() as admin:
        signed = {"csrf_token": csrf_of(admin)}
        page = admin.post("/devices/adopt/SECRET1", data=signed | {"name": "Vault", "secret": "on"})
        first = page.text.partition("The secret is <code>")[2].partition("</code>")[0]
        assert secret_digest(first) == terminal_of(web, "SECRET1").secret_hash
        number = id_of(web, "Vault")
        shown = admin.get(f"/devices/{number}").text
        assert "<dd>required</dd>" in shown
        assert first not in shown
        form = signed | {"enabled": "on", "push_secret": "new", "push_networks": "192.0.2.0/24"}
        page = admin.post(f"/devices/{number}/edit", data=form | {"push_timezone_form": "minutes"})
        second = page.text.partition("The secret is <code>")[2].partition("</code>")[0]
        terminal = terminal_of(web, "SECRET1")
        assert (terminal.secret_hash, second != first) == (secret_digest(second), True)
        assert (terminal.networks, terminal.timezone_form) == ("192.0.2.0/24", "minutes")


def test_limits_are_changed_checked_and_cleared(web: Web) -> None:
    adopt(web.store, "Side", "LIMITS1")
    number = id_of(web, "Side")
    with web.client() as admin:
        kept = {"csrf_token": csrf_of(admin), "enabled": "on"}
        for wrong in (
            {"push_networks": "192.0.2.1/24"},
            {"push_timezone_form": "seconds"},
            {"push_secret": "mine"},
            {"polled": "on"},  # without an address
        ):
            assert admin.post(f"/devices/{number}/edit", data=kept | wrong).status_code == 400, wrong
        limits = {"push_networks": " 192.0.2.0/24 ", "push_timezone_form": "offset", "push_secret": "keep"}
        assert admin.post(f"/devices/{number}/edit", data=kept | limits).status_code == 303
        form = admin.get(f"/devices/{number}/edit").text
        assert 'value="192.0.2.0/24"' in form
        assert '<option value="offset" selected>' in form
        assert terminal_of(web, "LIMITS1").secret_hash is None
        assert web.store.devices.get("Side").ip_address == "192.0.2.10"  # an empty field keeps it
        assert admin.post(f"/devices/{number}/edit", data=kept).status_code == 303
        assert (terminal_of(web, "LIMITS1").networks, terminal_of(web, "LIMITS1").timezone_form) == (None, None)


def test_a_device_page_shows_uploads_stamps_results_and_events(web: Web) -> None:
    hello = web.store.clock()
    adopt(web.store, "Story", "STORY1", hello_at=hello, hello_offset_seconds=-12600, firmware_version=ATTACK)
    events = [event(21, "2026-11-02T08:00", detail="a\tb"), event(4711, "2026-11-02T09:00", is_operation=False)]
    push(web.store, ("1001", "2026-11-02T08:00"), name="Story", serial="STORY1", events=events, stamp="82983982")
    push(web.store, ("1001", "2026-11-02T08:00"), name="Story", serial="STORY1", stamp="82983982")
    with web.client("operate") as operator:
        path = f"/devices/{id_of(web, 'Story')}"
        signed = {"csrf_token": csrf_of(operator)}
        assert operator.post(f"{path}/commands", data=signed | {"kind": "info"}).status_code == 303
        (queued,) = web.store.push.commands("STORY1")
        web.store.push.record_sent([queued.id])
        web.store.push.confirm("STORY1", [Confirmation(queued.id, is_done=False, return_code=-1002, result=ATTACK)])
        page = operator.get(path).text
    assert "with the offset -03:30" in page
    assert "ATTLOG <code>82983982</code>" in page
    for label, count in {"Uploads": 2, "Lines": 4, "New punches": 1, "Duplicates": 1, "Other": 2}.items():
        assert f'data-label="{label}">{count}</td>' in page
    assert ">failed</span>" in page
    assert "-1002: &lt;img" in page
    assert ATTACK not in page
    assert page.index("event 4711") < page.index("clock set")
    assert "a, b" in page


def test_only_admins_adopt_restart_and_set_clocks(web: Web) -> None:
    adopt(web.store, "Scopes", "SCOPES1")
    contact(web.store, "SCOPES2")
    path = f"/devices/{id_of(web, 'Scopes')}"
    with web.client("read") as reader, web.client("operate") as operator:
        assert "SCOPES2" in reader.get("/devices").text
        assert "Adopt SCOPES2" not in operator.get("/devices").text
        assert operator.get("/devices/adopt/SCOPES2").status_code == 403
        assert "Report counters" not in reader.get(path).text
        page = operator.get(path).text
        assert ("Report counters" in page, "Restart" in page) == (True, False)
        signed = {"csrf_token": csrf_of(reader)}
        assert reader.post(f"{path}/commands", data=signed | {"kind": "info"}).status_code == 403
        signed = {"csrf_token": csrf_of(operator)}
        for kind in ("reboot", "set-clock"):
            assert operator.post(f"{path}/commands", data=signed | {"kind": kind}).status_code == 403
        assert operator.post(f"{path}/commands", data=signed | {"kind": "CLEAR DATA"}).status_code == 400
        assert operator.post("/devices/adopt/SCOPES2", data=signed | {"name": "X"}).status_code == 403
    assert web.store.push.commands("SCOPES1") == []
    web.store.devices.remove("Scopes")


def test_a_serial_that_is_not_pending_has_no_form(web: Web) -> None:
    adopt(web.store, "Taken", "TAKEN1")
    with web.client() as admin:
        assert admin.get("/devices/adopt/UNKNOWN1").status_code == 404
        assert admin.get("/devices/adopt/TAKEN1").status_code == 404
        late = admin.post("/devices/adopt/TAKEN1", data={"csrf_token": csrf_of(admin), "name": "Other"})
        assert (late.status_code, "is adopted already" in late.text) == (400, True)


def test_a_polled_terminal_that_also_pushes_keeps_its_buttons_and_is_named_in_the_form(web: Web) -> None:
    web.store.devices.add(Device(name="Both", ip_address="192.0.2.10"))
    contact(web.store, "BOTH1")
    with web.client() as admin:
        signed = {"csrf_token": csrf_of(admin), "name": "Both"}
        assert admin.post("/devices/adopt/BOTH1", data=signed).status_code == 303
        page = admin.get(f"/devices/{id_of(web, 'Both')}").text
    assert ("Set clock" in page, "Report counters" in page) == (True, True)
    assert "yes; it pushes" in page


def test_a_device_for_files_only_says_so(web: Web) -> None:
    web.store.devices.add(Device(name="Stick", ip_address="", polled=False))
    with web.client("read") as reader:
        assert "files only" in reader.get(f"/devices/{id_of(web, 'Stick')}").text
    web.store.devices.remove("Stick")
