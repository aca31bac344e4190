"""Commands of the registry, and actions on one terminal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY, NASTY, PEOPLE, gate, present, switch_on
from zk_pipeline_tests.store.push.push_fixtures import adopt, push

DEVICES = """
devices:
  - name: Main Office
    ip: 192.0.2.10
    timezone: Europe/Istanbul
    site: headquarters
  - {name: Yard, ip: gate.example, port: 4371, protocol: udp, enabled: false, comm_key_env: YARD_KEY, encoding: GBK,
     direction: in}
"""


def test_a_device_is_added_with_the_settings_zone_and_its_name_as_site(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZK_PIPELINE_TIMEZONE", "Asia/Kolkata")
    result = zk("device", "add", "Main Office", "192.0.2.10")
    assert (result.code, result.out, result.err) == (0, "added Main Office at 192.0.2.10:4370\n", "")
    added = home_store.devices.get("Main Office")
    assert (added.timezone, added.site, added.protocol, added.enabled) == ("Asia/Kolkata", "Main Office", "auto", True)


def test_a_device_is_added_with_all_options(zk: CommandLine, home_store: Store) -> None:
    options = {
        "--port": "4371",
        "--protocol": "udp",
        "--timezone": "Europe/Istanbul",
        "--site": "HQ",
        "--comm-key-env": "GATE_KEY",
        "--encoding": "cp1256",
        "--direction": "out",
    }
    given = [word for pair in options.items() for word in pair]
    assert zk("device", "add", "Gate", "gate.example", *given, "--disabled").code == 0
    added = home_store.devices.get("Gate")
    assert (added.port, added.protocol, added.timezone, added.site) == (4371, "udp", "Europe/Istanbul", "HQ")
    assert (added.comm_key_env, added.encoding, added.enabled) == ("GATE_KEY", "cp1256", False)
    assert added.direction == "out"


@pytest.mark.usefixtures("home")
def test_devices_are_listed_as_a_table_and_as_json(zk: CommandLine) -> None:
    result = zk("device", "list")
    none = "no device is registered; add one with `zk-pipeline device add NAME IP`\n"
    assert (result.code, result.out, result.err) == (0, none, "")
    assert zk("device", "list", "--json").json == []
    zk("device", "add", "Main Office", "192.0.2.10")
    header, line = zk("device", "list").out.splitlines()
    assert header.split()[:3] == ["name", "ip_address", "port"]
    assert "Main Office" in line
    assert [one["name"] for one in zk("device", "list", "--json").json] == ["Main Office"]
    assert zk("device", "show", "Main Office", "--json").json["ip_address"] == "192.0.2.10"
    assert "192.0.2.10" in zk("device", "show", "Main Office").out


@pytest.mark.usefixtures("home")
def test_empty_lists_are_one_line(zk: CommandLine) -> None:
    for group in ("shift", "holiday", "api-token", "device"):
        result = zk(group, "list")
        assert (result.code, len(result.out.splitlines()), result.err) == (0, 1, ""), group
    assert zk("shift", "list", "--json").json == {"shifts": [], "assignments": [], "seasons": []}


def test_the_users_of_an_empty_terminal_are_one_line(zk: CommandLine, fleet: Fleet, home_store: Store) -> None:
    switch_on(fleet, home_store, EmulatedTerminal(TerminalDefinition(name="Gate")))
    assert zk("device", "users", "Gate").out == "no users are enrolled on Gate\n"
    assert zk("device", "users", "Gate", "--json").json == []


def test_only_a_new_device_or_shift_has_defaults(zk: CommandLine) -> None:
    for group in ("device", "shift"):
        assert "[default: " in zk(group, "add", "--help").out
        assert "[default: " not in zk(group, "update", "--help").out


def test_an_empty_quarantine_is_one_line(zk: CommandLine, home: Path) -> None:
    assert home.is_dir()
    for command in ("list", "release"):
        assert zk("quarantine", command).out == "the quarantine is empty\n"
        assert zk("quarantine", command, "--json").json == []


def test_a_device_is_changed_disabled_enabled_and_removed(zk: CommandLine, home_store: Store) -> None:
    zk("device", "add", "Gate", "192.0.2.10", "--site", "HQ")
    assert zk("device", "update", "Gate", "--ip", "192.0.2.11", "--port", "4371").out == "updated Gate\n"
    changed = home_store.devices.get("Gate")
    assert (changed.ip_address, changed.port, changed.site) == ("192.0.2.11", 4371, "HQ")
    for direction in ("in", "none"):
        assert zk("device", "update", "Gate", "--direction", direction).code == 0
        assert zk("device", "show", "Gate", "--json").json["direction"] == (None if direction == "none" else direction)
    assert zk("device", "disable", "Gate").out == "disabled Gate\n"
    assert home_store.devices.get("Gate").enabled is False
    assert zk("device", "enable", "Gate").out == "enabled Gate\n"
    assert home_store.devices.get("Gate").enabled is True
    assert zk("device", "remove", "Gate").out == "removed Gate; its history is kept\n"
    assert home_store.devices.all() == []


def test_a_declared_set_is_applied_once_and_does_not_change_others(
    zk: CommandLine, home_store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "devices.yaml"
    file.write_text(DEVICES)
    zk("device", "add", "Other", "192.0.2.99")
    zk("device", "add", "Yard", "192.0.2.20")
    first = zk("device", "apply", str(file), "--json").json
    assert first == {"added": ["Main Office"], "changed": ["Yard"], "unchanged": []}
    yard = home_store.devices.get("Yard")
    assert (yard.ip_address, yard.port, yard.protocol, yard.enabled) == ("gate.example", 4371, "udp", False)
    assert (yard.comm_key_env, yard.encoding, yard.timezone, yard.direction) == ("YARD_KEY", "GBK", "UTC", "in")
    assert home_store.devices.get("Main Office").direction is None

    before = home_store.devices.all()
    again = zk("device", "apply", str(file))
    assert again.out.splitlines() == ["added: –", "changed: –", "unchanged: Main Office, Yard"]
    assert home_store.devices.all() == before


def test_a_clock_is_set_to_the_current_time(zk: CommandLine, fleet: Fleet, home_store: Store) -> None:
    switch_on(fleet, home_store, gate("Gate", clock_offset_seconds=-420))
    change = zk("device", "set-clock", "Gate", "--json").json
    drifts = [value for name, value in change.items() if "drift" in name]
    assert any(value == pytest.approx(-420, abs=3) for value in drifts)
    terminal = fleet.terminal("Gate")
    assert abs((terminal.now_local() - terminal.true_now_local()).total_seconds()) < 3
    assert zk("device", "set-clock", "Gate").code == 0


def test_the_users_of_a_terminal_are_listed(zk: CommandLine, fleet: Fleet, home_store: Store) -> None:
    switch_on(fleet, home_store, gate("Gate"))
    users = zk("device", "users", "Gate", "--json").json
    assert [(one["user_id"], one["name"]) for one in users] == [
        (user_id, f"Zoë {number}") for number, user_id in enumerate(PEOPLE, start=1)
    ]
    assert isinstance(users[0]["uid"], int)
    assert NASTY in zk("device", "users", "Gate").out  # unchanged: no markup, not truncated


def test_names_in_another_encoding_are_reported_with_the_command_that_sets_it(
    zk: CommandLine, fleet: Fleet, home_store: Store
) -> None:
    switch_on(fleet, home_store, gate("Gate"))
    zk("device", "update", "Gate", "--encoding", "ascii")
    result = zk("device", "users", "Gate", "--json")
    assert result.code == 0
    assert "are not valid ascii. Set the terminal's encoding" in result.err
    assert '`zk-pipeline device update "Gate" --encoding ENCODING`' in result.err
    zk("device", "update", "Gate", "--encoding", "UTF-8")
    assert zk("device", "users", "Gate", "--json").err == ""


@pytest.mark.parametrize("command", [["device", "users"], ["device", "set-clock"], ["test-device"], ["poll"]])
def test_a_terminal_that_does_not_answer_is_a_failure_of_the_work(
    zk: CommandLine, fleet: Fleet, home_store: Store, command: list[str]
) -> None:
    switch_on(fleet, home_store, gate("Gate"))
    fleet.switch_off("Gate")
    result = zk(*command, "Gate")
    assert result.code == 1
    assert "127.0.0.1:" in result.out + result.err
    assert len(result.err.splitlines()) <= 1


def test_terminals_are_tested_in_parallel_with_their_device_information(
    zk: CommandLine, fleet: Fleet, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATE_KEY", "1234")
    switch_on(fleet, home_store, gate("Good", *present(MONDAY), record_capacity=40, firmware="Ver 6.60"))
    assert zk("test-device").code == 0
    switch_on(fleet, home_store, gate("Locked", comm_key=4711), comm_key_env="GATE_KEY")
    switch_on(fleet, home_store, gate("Off"), enabled=False)
    fleet.switch_off("Off")

    result = zk("test-device", "--all", "--json")
    assert result.code == 1
    tested = {one["name"]: one for one in json.loads(result.out)}
    good = tested.pop("Good")
    assert (good["ok"], good["records"], good["firmware_version"]) == (True, "2 of 40", "Ver 6.60")
    assert good["serial_number"]
    assert good["round_trip_ms"] > 0
    assert abs(good["drift_seconds"]) < 3
    codes = {name: (one["ok"], one["error_code"]) for name, one in tested.items()}
    assert codes == {"Locked": (False, "wrong_comm_key"), "Off": (False, "refused")}
    assert "1234" not in result.out

    result = zk("test-device")  # the enabled devices
    assert result.code == 1
    assert "Off" not in result.out.split()
    assert zk("test-device", "Good").code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["poll"],
        ["test-device"],
        ["live"],
        ["device", "set-clock"],
        ["device", "users"],
        ["device", "clear-log", "--yes"],
    ],
)
def test_a_command_that_would_connect_to_a_terminal_that_only_pushes_says_so_in_one_line(
    zk: CommandLine, home_store: Store, command: list[str]
) -> None:
    adopt(home_store)
    result = zk(*command, "Gate")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("zk-pipeline: Gate only pushes")
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize("command", [["poll"], ["test-device"], ["test-device", "--all"]])
def test_commands_for_all_devices_leave_out_those_that_only_push(
    zk: CommandLine, home_store: Store, command: list[str]
) -> None:
    home_store.devices.add(Device(name="Gate", ip_address="127.0.0.1", port=1, polled=False))
    result = zk(*command)
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith(" add one with `zk-pipeline device add NAME IP`\n")


def test_a_pushed_line_in_quarantine_is_listed_as_text(zk: CommandLine, home_store: Store) -> None:
    adopt(home_store)
    push(home_store, rejected=[b"0042 2026-13-40"])
    shown = zk("quarantine", "list").out
    assert "0042 2026-13-40" in shown
    assert b"0042".hex() not in shown
    (one,) = json.loads(zk("quarantine", "list", "--json").out)
    assert (one["record_format"], one["raw"], one["text"]) == (
        "ATTLOG", b"0042 2026-13-40".hex(), "0042 2026-13-40",
    )  # fmt: skip


def test_without_any_device_there_is_nothing_to_test(zk: CommandLine, home: Path) -> None:
    assert home.exists()
    result = zk("test-device")
    assert (result.code, result.out) == (1, "")
    assert result.err == "zk-pipeline: no device to test: add one with `zk-pipeline device add NAME IP`\n"
