"""Polling real (emulated) terminals into a real store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from itertools import product
from pathlib import Path

import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, LogPosition, Reading
from zk_pipeline.devices.polling import PollOutcome
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.poll import DevicePolled, poll_devices, store_outcomes
from zk_pipeline.operations.terminal_gateway import comm_key_of
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.faults import ChangeAnswers, Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.queries.terminal_health import terminal_health
from zk_pipeline.store.store import Store
from zk_pipeline_tests.simulator.small_terminal import small_terminal
from zk_pipeline_tests.store.store_fixtures import LONG_AFTER, MONDAY, StoppedClock, device, on, reading, rows, stale

NAMES = ["gate-8", "gate-16", "gate-40"]
POLLS = 'SELECT device, status, error_code, "new", run_id FROM device_polls ORDER BY device, id'


@pytest.fixture
def fleet(store: Store) -> Iterator[Fleet]:
    """A terminal per record layout, five punches each, all registered."""
    layouts: tuple[Layout, ...] = (8, 16, 40)
    terminals = [
        small_terminal(name=name, layout=layout, serial_number=f"SN {name}")
        for name, layout in zip(NAMES, layouts, strict=True)
    ]
    with Fleet.serve(terminals) as running:
        for name in NAMES:
            store.devices.add(_at(running, name))
        yield running


def _at(fleet: Fleet, name: str) -> Device:
    return Device(
        name=name, ip_address="127.0.0.1", port=fleet.port_of(name), protocol="tcp", timezone="Africa/Nairobi"
    )


def read(device: Device, position: LogPosition | None = None) -> Reading:
    return TerminalGateway(timeout=1, deadline=5, comm_keys=lambda _: 0).read(device, position)


def poll(store: Store, run_id: str = "run") -> dict[str, DevicePolled]:
    polled = list(poll_devices(store, store.devices.all(), read, deadline_seconds=5, run_id=run_id))
    assert sorted(item.device.name for item in polled) == [device.name for device in store.devices.all()]
    return {item.device.name: item for item in polled}


def poll_enabled(store: Store) -> dict[str, DevicePolled]:
    enabled = [one for one in store.devices.all() if one.enabled]
    return {one.device.name: one for one in poll_devices(store, enabled, read, deadline_seconds=5, run_id="run")}


def test_every_terminals_punches_are_stored_once_however_often_it_is_polled(fleet: Fleet, store: Store) -> None:
    first = poll(store, "first")
    assert [first[name].ingested.new for name in NAMES] == [5, 5, 5]  # type: ignore[union-attr]
    fleet.punch("gate-16", "1002")
    second = poll(store, "second")
    assert [second[name].ingested.new for name in NAMES] == [0, 1, 0]  # type: ignore[union-attr]
    assert rows(store, "SELECT device, count(*) FROM raw_punches GROUP BY 1 ORDER BY 1") == [
        ("gate-16", 6),
        ("gate-40", 5),
        ("gate-8", 5),
    ]
    assert rows(store, "SELECT count(DISTINCT (device, user_id)), min(name) FROM device_users") == [(9, "Zoë 0")]
    assert {run for (*_, run) in rows(store, POLLS)} == {"first", "second"}
    assert len(stale(store)) == 2


def test_a_dead_terminal_costs_the_others_nothing_and_its_failure_is_on_record(fleet: Fleet, store: Store) -> None:
    fleet.switch_off("gate-16")
    fleet.inject("gate-8", HangAt(Command.CMD_OPTIONS_RRQ))
    polled = poll(store)
    assert polled["gate-40"].ingested is not None
    assert polled["gate-16"].reading is None
    assert "gate-16 (127.0.0.1" in str(polled["gate-16"].error)
    assert rows(store, POLLS) == [
        ("gate-16", "failed", "refused", None, "run"),
        ("gate-40", "success", None, 5, "run"),
        ("gate-8", "failed", "no_answer", None, "run"),
    ]
    fleet.switch_on("gate-16")
    assert poll(store)["gate-16"].ingested.new == 5  # type: ignore[union-attr]


@pytest.mark.usefixtures("fleet")
def test_what_goes_wrong_before_a_terminal_is_reached_is_that_devices_failure_too(store: Store) -> None:
    def awkward(device: Device, position: LogPosition | None) -> Reading:
        if device.name == "gate-8":
            raise UsageError("comm key of gate-8: the variable KEY is not set")
        if device.name == "gate-16":
            raise ZeroDivisionError("a defect")
        return read(device, position)

    polled = list(poll_devices(store, store.devices.all(), awkward, deadline_seconds=5, run_id=None))
    codes = {item.device.name: (item.error_code, item.error) for item in polled}
    assert codes["gate-40"] == (None, None)
    assert codes["gate-8"] == ("misconfigured", "comm key of gate-8: the variable KEY is not set")
    code, words = codes["gate-16"]
    assert code == "internal_error"
    assert "ZeroDivisionError" in str(words)
    assert len(rows(store, POLLS)) == 3


def test_no_devices_are_no_work(store: Store) -> None:
    assert list(poll_devices(store, [], read, deadline_seconds=5, run_id=None)) == []
    assert rows(store, POLLS) == []


def test_a_comm_key_comes_from_the_environment_before_the_homes_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATE_KEY=111\n")
    locked = replace(device(), comm_key_env="GATE_KEY")
    assert comm_key_of(device(), tmp_path, {}) == 0
    assert comm_key_of(locked, tmp_path, {}) == 111
    assert comm_key_of(locked, tmp_path, {"GATE_KEY": "222"}) == 222


def test_a_comm_key_that_is_missing_or_wrong_is_told_by_the_variables_name_only(tmp_path: Path) -> None:
    locked = replace(device(), comm_key_env="GATE_KEY")
    for environ in ({}, {"GATE_KEY": ""}, {"GATE_KEY": "s3cret"}):
        with pytest.raises(UsageError, match="GATE_KEY") as refused:
            comm_key_of(locked, tmp_path, environ)
        assert "s3cret" not in str(refused.value)


def test_a_second_poll_reads_only_what_is_new_and_a_full_one_everything(fleet: Fleet, store: Store) -> None:
    for minute in range(40):  # a log that fits into one packet is read whole
        fleet.punch("gate-40", "1001", datetime(2026, 11, 1, 8, minute))  # noqa: DTZ001 (a terminal's wall clock)
    poll(store, "first")
    assert {item.reading.mode for item in poll(store, "again").values() if item.reading} == {"unchanged"}
    fleet.punch("gate-40", "1001")
    one_more = poll(store, "one more")["gate-40"]
    assert one_more.reading is not None
    assert one_more.ingested is not None
    assert (one_more.reading.mode, one_more.ingested.new) == ("incremental", 1)
    full = list(poll_devices(store, store.devices.all(), read, deadline_seconds=5, run_id="full", full=True))
    assert {item.reading.mode for item in full if item.reading} == {"full"}
    assert sum(item.ingested.new for item in full if item.ingested) == 0


@pytest.mark.usefixtures("fleet")
def test_the_whole_log_is_read_again_once_a_day(store: Store, clock: StoppedClock) -> None:
    poll(store, "first")
    clock.go(hours=23)
    assert {item.reading.mode for item in poll(store, "later").values() if item.reading} == {"unchanged"}
    clock.go(hours=2)
    assert {item.reading.mode for item in poll(store, "a day later").values() if item.reading} == {"full"}


@pytest.mark.parametrize(("encoding", "name"), [("gbk", "李娜"), ("cp1256", "سلمى"), ("utf-8", "Zoë")])
def test_people_are_stored_with_the_names_that_their_terminal_shows(encoding: str, name: str, store: Store) -> None:
    definition = TerminalDefinition(
        name="gate", encoding=encoding, users=(TerminalUser(uid=1, user_id="1001", name=name),)
    )
    with Fleet.serve([EmulatedTerminal(definition)]) as fleet:
        gate = Device(name="gate", ip_address="127.0.0.1", port=fleet.port_of("gate"), encoding=encoding)
        store.devices.add(gate)
        (polled,) = poll_devices(store, [gate], read, deadline_seconds=5, run_id=None)
    assert polled.error is None
    assert rows(store, "SELECT user_id, uid, name FROM device_users") == [("1001", 1, name)]


def outcome(device: Device, made: Reading) -> PollOutcome[Reading]:
    return PollOutcome(device=device, started_at=LONG_AFTER, finished_at=LONG_AFTER, reading=made)


def test_readings_that_come_together_are_one_write_unless_they_bring_much(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ABC":
        store.devices.add(device(name))
    times = on(MONDAY, "08:00", "17:00")
    come = [outcome(store.devices.get(name), reading(times, serial=f"SN {name}")) for name in "ABC"]
    writes: list[str] = []
    write = Database.write

    def noted(self: Database, purpose: str, about: str = "") -> AbstractContextManager[Connection]:
        writes.append(about)
        return write(self, purpose, about)

    monkeypatch.setattr(Database, "write", noted)
    assert [one.ingested and one.ingested.new for one in store_outcomes(store, come, "run")] == [2, 2, 2]
    assert writes == ["A, B, C"]
    monkeypatch.setattr("zk_pipeline.operations.poll.MAX_RECORDS_PER_TRANSACTION", 4)
    assert [one.ingested and one.ingested.new for one in store_outcomes(store, come, "run")] == [0, 0, 0]
    assert writes[1:] == ["A, B", "C"]
    assert rows(store, 'SELECT device, id, stored, "new" FROM device_polls ORDER BY id') == [
        (name, number, 2, new) for number, (new, name) in enumerate(product([2, 0], "ABC"), start=1)
    ]


def test_what_went_wrong_without_failing_a_poll_is_told_with_it(fleet: Fleet, store: Store) -> None:
    store.devices.update("gate-8", enabled=False)
    fleet.inject("gate-16", RefuseCommand(Command.CMD_DATA_WRRQ, 0xFFFF, bytes.fromhex("010900")))
    polled = poll_enabled(store)
    warning = "gate-16: the user list could not be read: the terminal answered 65535 (unknown command)."
    assert polled["gate-16"].summary.startswith(f"gate-16: 5 new of 5 (full); {warning}")
    assert polled["gate-40"].summary == "gate-40: 5 new of 5 (full)"

    warnings = rows(store, "SELECT device, warnings FROM device_polls ORDER BY device")
    assert [(name, (one or "").startswith(warning)) for name, one in warnings] == [
        ("gate-16", True),
        ("gate-40", False),
    ]
    assert warnings[1][1] is None
    assert [(one.warnings or "").startswith(warning) for one in store.punches.polls_of("run")] == [True, False]
    status = store.overview.status(WorkRules(), first=MONDAY, last=MONDAY, now=LONG_AFTER).devices
    assert [(one.last_warnings or "").startswith(warning) for one in status] == [True, False, False]

    fleet.inject("gate-16", Faults())
    healed = poll_enabled(store)["gate-16"]
    assert (healed.summary, healed.reading.users is None) == ("gate-16: 0 new of 5 (unchanged)", False)  # type: ignore[union-attr]


def test_records_that_the_terminal_counts_and_does_not_hold_are_told_and_not_missed(fleet: Fleet, store: Store) -> None:
    """Firmware that counts deleted records: the warning says it, no check stays red for it."""

    def two_more(frames: list[Frame]) -> list[Frame]:
        data = frames[0].data
        return [replace(frames[0], data=data[:32] + (7).to_bytes(4, "little") + data[36:])]

    fleet.inject("gate-40", ChangeAnswers(Command.CMD_GET_FREE_SIZES, two_more))
    polled = poll(store)["gate-40"]
    assert polled.summary.startswith(
        "gate-40: 5 new of 7 (full); gate-40: the terminal counts 7 records and its log has 5"
    )
    assert {one.device: one.missing for one in terminal_health(store.database)} == dict.fromkeys(NAMES, 0)
    assert rows(store, "SELECT reported, records_accounted_for FROM device_polls WHERE device = 'gate-40'") == [(7, 5)]
