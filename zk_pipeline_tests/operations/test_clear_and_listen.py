"""Two operations on a terminal in addition to polls: clearing its log safely, and live capture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.errors import NotCleared
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Reading
from zk_pipeline.operations.clear_log import clear_log
from zk_pipeline.operations.live_capture import StoredPunches, capture_live
from zk_pipeline.operations.poll import poll_devices
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.simulator.small_terminal import small_terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock, rows
from zk_pipeline_tests.waiting import until

TERMINALS = TerminalGateway(timeout=1, deadline=5, comm_keys=lambda _: 0)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with Fleet.serve([small_terminal()]) as running:
        yield running


@pytest.fixture
def gate(fleet: Fleet, store: Store, clock: StoppedClock) -> Device:
    clock.now = datetime.now(UTC) + timedelta(hours=1)
    (name,) = fleet.names
    return store.devices.add(
        Device(name=name, ip_address="127.0.0.1", port=fleet.port_of(name), protocol="tcp", timezone="Africa/Nairobi")
    )


def test_a_log_is_cleared_once_all_of_it_is_stored(fleet: Fleet, gate: Device, store: Store) -> None:
    held = fleet.terminal(gate.name).record_count
    assert held > 0
    assert len(clear_log(store, TERMINALS, gate).punches) == held
    assert fleet.terminal(gate.name).record_count == 0
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(held,)]


def test_a_log_is_not_cleared_while_a_record_of_it_is_missing_from_the_store(
    fleet: Fleet, gate: Device, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = fleet.terminal(gate.name).record_count

    def forgetful(self: object, device: Device, reading: Reading, **_: object) -> None:
        """A store that acknowledges and keeps nothing."""

    monkeypatch.setattr("zk_pipeline.store.terminals.punches.PunchStore.ingest", forgetful)
    with pytest.raises(NotCleared):
        clear_log(store, TERMINALS, gate)
    assert fleet.terminal(gate.name).record_count == held


def test_punches_are_stored_as_they_happen_and_the_next_poll_brings_none_of_them_again(
    fleet: Fleet, gate: Device, store: Store
) -> None:
    list(poll_devices(store, [gate], TERMINALS.read, deadline_seconds=5, run_id="before"))
    before = store.punches.total()
    stop = threading.Event()
    seen: list[StoredPunches] = []
    said: list[str] = []
    listener = threading.Thread(
        target=capture_live,
        args=(store, TERMINALS, [gate]),
        kwargs={"stop": stop, "on_stored": seen.append, "say": said.append},
    )
    listener.start()
    try:
        until(lambda: fleet.terminal(gate.name).listener_count > 0)
        fleet.punch(gate.name, "1001")
        until(lambda: sum(one.new for one in seen) == 1)
    finally:
        stop.set()
        listener.join(10)
    assert not listener.is_alive()
    assert said == []
    assert store.punches.total() == before + 1
    (polled,) = poll_devices(store, [gate], TERMINALS.read, deadline_seconds=5, run_id="after")
    assert polled.ingested is not None
    assert polled.ingested.new == 0


def test_a_terminal_that_is_lost_is_listened_to_again(fleet: Fleet, gate: Device, store: Store) -> None:
    stop = threading.Event()
    seen: list[StoredPunches] = []
    said: list[str] = []
    fleet.switch_off(gate.name)
    listener = threading.Thread(
        target=capture_live,
        args=(store, TERMINALS, [gate]),
        kwargs={"stop": stop, "on_stored": seen.append, "say": said.append},
    )
    listener.start()
    try:
        until(lambda: bool(said))
        fleet.switch_on(gate.name)
        until(lambda: fleet.terminal(gate.name).listener_count > 0)
        fleet.punch(gate.name, "1001")
        until(lambda: sum(one.new for one in seen) == 1)
    finally:
        stop.set()
        listener.join(10)
    assert "Reconnecting in 1 s." in said[0]
