"""Commands for terminals that push: adoption, limits, commands and events."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.devices.push.commands import CommandKind
from zk_pipeline.store.push.commands import Confirmation
from zk_pipeline.store.push.terminals import secret_digest
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, event, push


def test_a_pending_terminal_is_listed_until_it_is_adopted(zk: CommandLine, home_store: Store) -> None:
    assert zk("device", "pending").out == (
        "no terminal waits for adoption; "
        "set the address of `zk-pipeline receive` as the server in the menu of the terminal\n"
    )
    contact(home_store, "SN1", family="C", push_version="3.1.2")
    (waiting,) = zk("device", "pending", "--json").json
    assert (waiting["serial_number"], waiting["address"], waiting["family"]) == ("SN1", "192.0.2.10", "C")
    assert (waiting["push_version"], waiting["registered_as"]) == ("3.1.2", None)
    assert "SN1" in zk("device", "pending").out
    done = zk("device", "adopt", "SN1", "--name", "Gate", "--timezone", "Europe/Istanbul", "--site", "HQ")
    assert done.code == 0
    assert done.out.splitlines()[0] == "adopted SN1 as Gate, site HQ, time zone Europe/Istanbul"
    assert "secret" not in done.out
    assert "--not-polled" not in done.out  # it is not polled
    gate = home_store.devices.get("Gate")
    assert (gate.serial_number, gate.polled, gate.pushes, gate.timezone) == ("SN1", False, True, "Europe/Istanbul")
    assert zk("device", "pending", "--json").json == []
    (terminal,) = home_store.push.terminals()
    assert terminal.adopted_by == f"cli:{getpass.getuser()}"


def test_a_new_device_gets_the_zone_of_the_settings_and_its_name_as_site(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZK_PIPELINE_TIMEZONE", "Asia/Kolkata")
    contact(home_store, "SN1")
    made = zk("device", "adopt", "SN1", "--name", "Gate", "--json").json
    assert (made["timezone"], made["site"], made["secret"], made["pushes"]) == ("Asia/Kolkata", "Gate", None, True)


def test_a_polled_terminal_is_adopted_under_its_name_and_stays_one_device(zk: CommandLine, home_store: Store) -> None:
    home_store.devices.add(Device(name="Main Office", ip_address="192.0.2.10", timezone="Europe/Berlin", site="HQ"))
    contact(home_store, "SN1")
    done = zk("device", "adopt", "SN1", "--name", "Main Office")
    assert "Polls continue; `zk-pipeline device update 'Main Office' --not-polled` ends them." in done.out
    (gate,) = home_store.devices.all()
    assert (gate.polled, gate.pushes, gate.ip_address) == (True, True, "192.0.2.10")
    assert (gate.timezone, gate.site) == ("Europe/Berlin", "HQ")
    assert "polled, pushes" in zk("device", "list").out
    assert zk("device", "update", "Main Office", "--not-polled").code == 0
    assert home_store.devices.get("Main Office").connection == "pushes"


def test_an_adoption_that_cannot_be_is_refused_with_one_line(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    contact(home_store, "SN2")
    for arguments, words in {
        ("SN9", "--name", "Door"): "no terminal with serial number 'SN9' has connected",
        ("SN1", "--name", "Door"): "is adopted already, as 'Gate'",
        ("SN2", "--name", "Gate"): "device 'Gate' is the terminal with serial number SN1",
        ("SN2", "--name", "a/b"): "file names cannot contain a slash",
        ("SN2", "--name", "Door", "--timezone", "Europe/Istambul"): "did you mean Europe/Istanbul?",
    }.items():
        refused = zk("device", "adopt", *arguments)
        assert refused.is_refusal()
        assert words in refused.err
    assert [one.serial_number for one in home_store.push.pending()] == ["SN2"]


def test_a_secret_is_shown_once_and_only_its_digest_is_stored(zk: CommandLine, home_store: Store) -> None:
    contact(home_store, "SN1")
    secret = zk("device", "adopt", "SN1", "--name", "Gate", "--secret", "--json").json["secret"]
    assert len(secret) == 16
    assert home_store.push.terminals()[0].secret_hash == secret_digest(secret)
    changed = zk("device", "update", "Gate", "--push-secret", "new")
    new = home_store.push.terminals()[0].secret_hash
    shown = changed.out.splitlines()[1].removeprefix("secret: ").split()[0]
    assert (secret_digest(shown), shown != secret) == (new, True)
    assert zk("device", "show", "Gate", "--json").json["push"]["has_secret"] is True
    assert str(new) not in zk("device", "show", "Gate").out + zk("device", "show", "Gate", "--json").out
    assert zk("device", "update", "Gate", "--push-secret", "none").out == "updated Gate\n"
    assert home_store.push.terminals()[0].secret_hash is None


def test_an_adoption_ends_the_limits_of_the_one_before(zk: CommandLine, home_store: Store) -> None:
    contact(home_store, "SN1")
    zk("device", "adopt", "SN1", "--name", "Gate", "--secret")
    zk("device", "update", "Gate", "--push-networks", "192.0.2.0/24", "--push-timezone-form", "minutes")
    removed = zk("device", "remove", "Gate")
    assert removed.out.splitlines()[1] == (
        "its terminal is pending again, without path secret and networks: `zk-pipeline device pending` lists it"
    )
    zk("device", "adopt", "SN1", "--name", "Door")
    (terminal,) = home_store.push.terminals()
    assert (terminal.secret_hash, terminal.networks, terminal.timezone_form) == (None, None, None)


def test_networks_and_the_form_of_the_zone_are_changed_and_cleared(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    options = ("--push-networks", "192.0.2.0/24, 2001:DB8::/32", "--push-timezone-form", "minutes")
    assert zk("device", "update", "Gate", *options).code == 0
    terminal = home_store.push.terminals()[0]
    assert (terminal.networks, terminal.timezone_form) == ("192.0.2.0/24,2001:db8::/32", "minutes")
    refused = zk("device", "update", "Gate", "--push-networks", "192.0.2.1/24")
    assert refused.is_refusal()
    assert "192.0.2.1/24 has host bits set" in refused.err
    zk("device", "update", "Gate", "--push-networks", "none", "--push-timezone-form", "auto")
    terminal = home_store.push.terminals()[0]
    assert (terminal.networks, terminal.timezone_form) == (None, None)


def test_limits_of_a_device_that_does_not_push_are_refused(zk: CommandLine, home_store: Store) -> None:
    home_store.devices.add(Device(name="Gate", ip_address="192.0.2.10"))
    refused = zk("device", "update", "Gate", "--push-secret", "new")
    assert refused.is_refusal()
    assert "device 'Gate' does not push" in refused.err


def test_polls_of_a_terminal_that_only_pushed_need_an_address(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    refused = zk("device", "update", "Gate", "--polled")
    assert refused.is_refusal()
    assert "device 'Gate' has no address to poll yet: name it with --ip" in refused.err
    assert zk("device", "update", "Gate", "--polled", "--ip", "192.0.2.10").code == 0
    gate = home_store.devices.get("Gate")
    assert (gate.connection, gate.ip_address) == ("polled, pushes", "192.0.2.10")


def test_a_declared_device_without_polls_needs_no_address_and_keeps_the_known_one(
    zk: CommandLine, home_store: Store, tmp_path: Path
) -> None:
    adopt(home_store, "Gate", "SN1")
    file = tmp_path / "devices.yaml"
    file.write_text("devices:\n- {name: Gate, polled: false, site: HQ}\n- {name: Files, polled: false}\n")
    assert zk("device", "apply", str(file), "--json").json == {"added": ["Files"], "changed": ["Gate"], "unchanged": []}
    gate = home_store.devices.get("Gate")
    assert (gate.ip_address, gate.site, gate.connection) == ("192.0.2.10", "HQ", "pushes")
    assert home_store.devices.get("Files").connection == "files"
    assert zk("device", "apply", str(file), "--json").json["unchanged"] == ["Gate", "Files"]


def test_commands_that_connect_to_a_terminal_name_the_remedy_if_it_only_pushes(
    zk: CommandLine, home_store: Store
) -> None:
    adopt(home_store, "Gate", "SN1")
    for command in (["device", "set-clock"], ["device", "users"], ["test-device"]):
        refused = zk(*command, "Gate")
        assert refused.is_refusal()
        assert "Gate only pushes" in refused.err
        if command[0] == "device":
            assert f"`zk-pipeline device command Gate {command[1]}` queues the command" in refused.err


def test_a_replaced_terminal_is_pending_again(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    assert "is pending again" in zk("device", "update", "Gate", "--accept-new-serial").out
    assert [one.serial_number for one in home_store.push.pending()] == ["SN1"]


def test_another_zone_of_a_terminal_that_pushes_names_the_correction_of_its_clock(
    zk: CommandLine, home_store: Store
) -> None:
    adopt(home_store)
    home_store.devices.add(Device(name="Polled", ip_address="192.0.2.10"))
    moved = [zk("device", "update", name, "--timezone", "Asia/Kolkata").out for name in ("Gate", "Gate", "Polled")]
    assert ["followed UTC since its adoption" in one for one in moved] == [True, False, False]
    assert "correct-clock" in moved[0]


def test_a_device_shows_how_its_terminal_pushes(zk: CommandLine, home_store: Store) -> None:
    hello = datetime(2026, 11, 2, 8, tzinfo=UTC)
    adopt(
        home_store, "Gate", "SN1", family="A", hello_at=hello, hello_offset_seconds=10800, record_count=7, user_count=3
    )
    push(home_store, ("1001", "2026-11-02T08:00"), name="Gate", serial="SN1", stamp="82983982")
    zk("device", "command", "Gate", "info")
    shown = zk("device", "show", "Gate", "--json").json
    assert (shown["connection"], shown["polled"], shown["pushes"]) == ("pushes", False, True)
    assert shown["last_contact"] is not None
    pushing = shown["push"]
    assert (pushing["family"], pushing["record_count"], pushing["hello_offset_seconds"]) == ("A", 7, 10800)
    assert pushing["stamps"] == {"ATTLOG": "82983982"}
    assert [(one["kind"], one["state"]) for one in pushing["open_commands"]] == [("info", "queued")]
    lines = {line.split(maxsplit=1)[0]: line for line in zk("device", "show", "Gate").out.splitlines() if line}
    assert lines["stamps"].endswith("ATTLOG 82983982")
    assert lines["open_commands"].endswith("1 info (queued)")
    assert zk("device", "add", "Door", "192.0.2.1").code == 0
    assert zk("device", "show", "Door", "--json").json["push"] is None


def test_a_command_is_queued_once_and_its_result_is_listed(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    assert zk("device", "commands", "Gate").out == (
        "no command was requested for Gate; request one with `zk-pipeline device command`\n"
    )
    span = ("--start-date", "2026-11-01", "--end-date", "2026-11-30")
    queued = zk("device", "command", "Gate", "punches", *span, "--json").json
    assert (queued["kind"], queued["state"]) == ("punches", "queued")
    assert (queued["start_local"], queued["end_local"]) == ("2026-11-01T00:00:00", "2026-11-30T23:59:59")
    assert queued["requested_by"] == f"cli:{getpass.getuser()}"
    assert zk("device", "command", "Gate", "punches", *span, "--json").json["id"] == queued["id"]
    home_store.push.record_sent([queued["id"]])
    home_store.push.confirm("SN1", [Confirmation(queued["id"], is_done=False, return_code=-1002, result="no")])
    again = zk("device", "command", "Gate", "punches", *span)
    assert again.out.splitlines()[0] == f"queued command {queued['id'] + 1} for Gate: punches"
    newest, ended = zk("device", "commands", "Gate", "--json").json
    assert (newest["state"], ended["state"], ended["return_code"], ended["times_sent"]) == (
        "queued",
        "failed",
        -1002,
        1,
    )
    assert "-1002" in zk("device", "commands", "Gate").out


KINDS: dict[str, CommandKind] = {
    "info": "info",
    "hello": "hello",
    "upload": "upload",
    "users": "query_users",
    "reboot": "reboot",
    "set-clock": "set_clock",
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_command_without_dates_is_queued(zk: CommandLine, home_store: Store, kind: str) -> None:
    adopt(home_store, "Gate", "SN1")
    assert zk("device", "command", "Gate", kind, "--json").json["kind"] == kind
    assert [one.command.kind for one in home_store.push.commands("SN1")] == [KINDS[kind]]


def test_a_command_that_cannot_be_carried_out_is_refused(zk: CommandLine, home_store: Store) -> None:
    home_store.devices.add(Device(name="Polled", ip_address="192.0.2.10"))
    adopt(home_store, "Gate", "SN1")
    adopt(home_store, "Door", "SN2", family="C")
    adopt(home_store, "Off", "SN3")
    home_store.devices.update("Off", enabled=False)
    dates = ("--start-date", "2026-11-02", "--end-date", "2026-11-01")
    for arguments, words in {
        ("Polled", "info"): "device 'Polled' does not push: `zk-pipeline device pending` lists",
        ("Off", "info"): "device 'Off' is disabled and gets no commands: `zk-pipeline device enable Off`",
        ("Gate", "punches"): "the command punches needs a start date and an end date",
        ("Gate", "punches", *dates): "is before",
        ("Gate", "info", *dates): "the command info takes no dates",
        ("Door", "punches", *dates): "(family C) sends its whole log: the command punches takes no dates",
    }.items():
        refused = zk("device", "command", *arguments)
        assert refused.is_refusal()
        assert words in refused.err, arguments
    assert all(home_store.push.commands(serial) == [] for serial in ("SN1", "SN2", "SN3"))


def test_events_are_listed_with_descriptions(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store, "Gate", "SN1")
    assert zk("device", "events", "Gate").out == "no event of Gate is stored for these dates\n"
    push(
        home_store,
        name="Gate",
        serial="SN1",
        events=[
            event(21, "2026-11-01T08:00", detail="2026\t11"),
            event(77, "2026-11-02T08:00"),
            event(27, "2026-11-03T08:00", user_id="1001", is_operation=False),
        ],
        table="OPERLOG",
    )
    shown = [(one["description"], one["user_id"]) for one in zk("device", "events", "Gate", "--json").json]
    assert shown == [("refused: person is not registered", "1001"), ("operation 77", "0"), ("clock set", "0")]
    only = zk("device", "events", "Gate", "--start-date", "2026-11-02", "--end-date", "2026-11-02", "--json").json
    assert [one["code"] for one in only] == [77]
    line = zk("device", "events", "Gate").out.splitlines()[-1]
    assert "clock set" in line
    assert "2026, 11" in line
