"""Live capture follows the registry; a listener that fails is reported and replaced, whatever the error."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.events import LiveEvent, LivePunch
from zk_pipeline.errors import UsageError
from zk_pipeline.operations import live_capture
from zk_pipeline.operations.live_capture import ListenerHangs, StoredPunches, capture_live
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.errors import ReadingRefused
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.punches import PunchStore
from zk_pipeline_tests.simulator.small_terminal import small_terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock, rows
from zk_pipeline_tests.waiting import until

TERMINALS = TerminalGateway(timeout=1, deadline=5, comm_keys=lambda _: 0)
FAILURES = "SELECT device, status, mode, error_code FROM device_polls WHERE status = 'failed'"


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "REGISTRY_INTERVAL_SECONDS": 0.1,
        "ENDING_INTERVAL_SECONDS": 0.05,
        "MIN_RECONNECT_SECONDS": 0.05,
    }.items():
        monkeypatch.setattr(live_capture, name, seconds)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet.serve([small_terminal(name=name) for name in ("gate", "yard")]) as running:
        yield running


@pytest.fixture
def gate(fleet: Fleet, store: Store, clock: StoppedClock) -> Device:
    clock.now = datetime.now(UTC) + timedelta(hours=1)
    return store.devices.add(registered(fleet, "gate"))


def registered(fleet: Fleet, name: str, **values: Any) -> Device:
    port = fleet.port_of(name)
    return Device(name=name, ip_address="127.0.0.1", port=port, protocol="tcp", live=True, **values)


@dataclass
class Heard:
    """What `capture_live` said and stored, and what it raised."""

    said: list[str] = field(default_factory=list)
    stored: list[StoredPunches] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    @property
    def new(self) -> int:
        return sum(one.new for one in self.stored)

    def has_said(self, words: str) -> bool:
        return any(words in line for line in list(self.said))


@contextmanager
def listening(
    store: Store, devices: Sequence[Device] | None = None, terminals: TerminalGateway = TERMINALS
) -> Iterator[Heard]:
    heard, stop = Heard(), threading.Event()

    def work() -> None:
        try:
            capture_live(store, terminals, devices, stop=stop, on_stored=heard.stored.append, say=heard.said.append)
        except BaseException as error:
            heard.errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield heard
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def listeners(fleet: Fleet) -> dict[str, int]:
    return {name: fleet.terminal(name).listener_count for name in fleet.names}


def test_the_registry_is_followed_while_it_changes(fleet: Fleet, gate: Device, store: Store) -> None:
    with listening(store) as heard:
        until(lambda: listeners(fleet) == {"gate": 1, "yard": 0})
        store.devices.add(registered(fleet, "yard"))
        until(lambda: listeners(fleet) == {"gate": 1, "yard": 1})
        fleet.punch("yard", "1001")
        until(lambda: heard.new == 1)
        store.devices.update("gate", enabled=False)
        until(lambda: listeners(fleet) == {"gate": 0, "yard": 1})
        store.devices.update("gate", enabled=True)
        until(lambda: listeners(fleet) == {"gate": 1, "yard": 1})
        store.devices.update("yard", live=False)
        until(lambda: listeners(fleet) == {"gate": 1, "yard": 0})
        store.devices.update("gate", port=fleet.port_of("yard"))
        until(lambda: listeners(fleet) == {"gate": 0, "yard": 1})
        store.devices.remove("gate")
        until(lambda: listeners(fleet) == {"gate": 0, "yard": 0})
        store.devices.add(replace(gate, live=True))
        until(lambda: listeners(fleet) == {"gate": 1, "yard": 0})
    assert heard.errors == []
    assert [line for line in heard.said if "live capture stopped" in line] == [
        "gate: live capture stopped",
        "yard: live capture stopped",
        "gate: live capture stopped",
    ]


def test_a_punch_after_the_zone_was_changed_gets_its_instant_from_the_new_one(
    fleet: Fleet, gate: Device, store: Store
) -> None:
    with listening(store, [gate]) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
        fleet.punch("gate", "1001", datetime(2026, 3, 2, 8, 0))  # noqa: DTZ001 (a wall clock)
        until(lambda: heard.new == 1)
        store.devices.update("gate", timezone="Africa/Nairobi")
        until(lambda: heard.has_said("registration changed: reconnecting"))
        until(lambda: heard.has_said("gate: live capture started") and listeners(fleet)["gate"] == 1)
        fleet.punch("gate", "1001", datetime(2026, 3, 2, 9, 0))  # noqa: DTZ001 (a wall clock)
        until(lambda: heard.new == 2)
    # The one from before was moved with the zone.
    hours = "SELECT hour(punched_at_local), hour(punched_at) FROM raw_punches ORDER BY 1"
    assert rows(store, hours) == [(8, 5), (9, 6)]


def test_a_named_device_is_listened_to_although_it_is_disabled_or_not_live(
    fleet: Fleet, gate: Device, store: Store
) -> None:
    named = store.devices.update(gate.name, live=False, enabled=False)
    with listening(store, [named]) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
    assert heard.errors == []


def test_what_a_poll_leaves_in_the_registry_does_not_end_a_connection(fleet: Fleet, gate: Device, store: Store) -> None:
    with listening(store, [gate]) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
        with store.database.write("test") as connection:
            connection.execute("UPDATE devices SET last_sync = now(), last_transport = 'tcp', keypad_locked_at = now()")
        fleet.punch("gate", "1001")
        until(lambda: heard.new == 1)
        fleet.punch("gate", "1002")
        until(lambda: heard.new == 2)
    assert heard.said == []


class Failing(TerminalGateway):
    """Fails to listen for as often as there are failures left; None: the events end, and nothing is raised."""

    failures: list[BaseException | None]

    def live_punches(self, device: Device, stop: threading.Event, *, keep_alive: float = 30.0) -> Iterator[LiveEvent]:
        if self.failures:
            error = self.failures.pop()
            if error is not None:
                raise error
            return
        yield from super().live_punches(device, stop, keep_alive=keep_alive)


def failing(*failures: BaseException | None) -> Failing:
    terminals = Failing(timeout=1, deadline=5, comm_keys=lambda _: 0)
    object.__setattr__(terminals, "failures", list(failures))
    return terminals


@pytest.mark.parametrize("error", [ZeroDivisionError("a defect"), SystemExit(3), None], ids=str)
def test_a_listener_that_fails_unexpectedly_is_told_of_and_on_record_and_listens_again(
    error: BaseException | None, fleet: Fleet, gate: Device, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(store, [gate], failing(error, error)) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
        fleet.punch("gate", "1001")
        until(lambda: heard.new == 1)
    name = type(error or RuntimeError()).__name__
    assert [line.partition(":")[0] for line in heard.said] == ["gate", "gate"]
    assert all(f"internal error in its live capture ({name}" in line for line in heard.said)
    assert [record.exc_info is not None for record in caplog.records if record.levelname == "ERROR"] == [True, True]
    # What repeats before the terminal is heard again is on record once.
    assert rows(store, FAILURES) == [("gate", "failed", "live", "internal_error")]


def test_a_comm_key_that_is_set_later_is_used_without_a_restart(fleet: Fleet, gate: Device, store: Store) -> None:
    unset = UsageError("comm key of gate: the variable GATE_KEY is not set")
    with listening(store, [gate], failing(unset)) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
    assert heard.said == [f"gate: {unset}. Reconnecting in 0 s."]


def test_a_listener_that_hangs_ends_the_command_and_is_on_record(
    gate: Device, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    is_over = threading.Event()

    class Hanging(TerminalGateway):
        def live_punches(self, *_: object, **__: object) -> Iterator[LiveEvent]:
            is_over.wait(60)
            yield from ()

    monkeypatch.setattr(live_capture, "HANG_GRACE_SECONDS", 0.3)
    try:
        with listening(store, [gate], Hanging(timeout=0.1, deadline=0.1, comm_keys=lambda _: 0)) as heard:
            until(lambda: heard.errors)
    finally:
        is_over.set()
    (error,) = heard.errors
    assert isinstance(error, ListenerHangs)
    assert str(error).startswith("gate: the listener hangs past every deadline")
    assert "is_over.wait(60)" in caplog.text
    assert rows(store, FAILURES) == [("gate", "failed", "live", "internal_error")]


def refusing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """A store that refuses each live punch of 1002."""
    ingest_live = PunchStore.ingest_live

    def ingest(self: PunchStore, device: Device, punches: Sequence[LivePunch], *, poll_id: int) -> int:
        if any(one.user_id == "1002" for one in punches):
            raise error
        return ingest_live(self, device, punches, poll_id=poll_id)

    monkeypatch.setattr(PunchStore, "ingest_live", ingest)
    monkeypatch.setattr(live_capture, "GATHER_SECONDS", 0.3)


def punch_three(fleet: Fleet) -> None:
    def punches() -> None:
        for user_id in ("1001", "1002", "1003"):
            fleet.terminal("gate").punch(user_id)

    fleet.call(punches)


def test_a_live_punch_that_cannot_be_stored_costs_the_others_nothing(
    fleet: Fleet, gate: Device, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusing(monkeypatch, OverflowError("too large"))
    with listening(store, [gate]) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
        punch_three(fleet)
        until(lambda: heard.new == 2)
        until(lambda: heard.said)
    assert heard.errors == []
    expected = "gate: a live punch cannot be stored; it stays in the terminal's log, and the next poll"
    assert heard.said[0].startswith(expected)
    assert rows(store, FAILURES) == [("gate", "failed", "live", "not_stored")]
    assert "OverflowError: too large" in caplog.text


def test_live_punches_that_the_store_refuses_are_told_of_with_its_words(
    fleet: Fleet, gate: Device, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, ReadingRefused("gate", "registration_changed", "gate: it was moved during the session"))
    with listening(store, [gate]) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
        fleet.punch("gate", "1002")
        until(lambda: heard.said)
        fleet.punch("gate", "1001")
        until(lambda: heard.new == 1)
    assert heard.said == ["gate: it was moved during the session"]
    assert rows(store, FAILURES) == [("gate", "failed", "live", "registration_changed")]


def test_a_store_that_fails_ends_listening_and_what_is_not_stored_is_counted(
    fleet: Fleet, gate: Device, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, duckdb.IOException("gone"))
    with listening(store, [gate]) as heard:
        until(lambda: listeners(fleet)["gate"] == 1)
        fleet.punch("gate", "1002")
        until(lambda: heard.errors)
    assert isinstance(heard.errors[0], duckdb.IOException)
    assert heard.said == ["gate: 1 live punch not stored; the next poll reads the log"]
    assert listeners(fleet)["gate"] == 0
