"""A slot of a terminal's user list that passes to another user: punches stay with the user who made them."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.operations.live_capture import StoredPunches, capture_live
from zk_pipeline.operations.poll import poll_devices
from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.operations.history_terminal import HistoryTerminal, LayoutName, RefusesUserList
from zk_pipeline_tests.operations.history_world import polls_by
from zk_pipeline_tests.store.store_fixtures import StoppedClock, rows
from zk_pipeline_tests.waiting import until

NAME = "gate"
OLD, NEW, SLOT = "1002", "777001", 5
PUNCHES = 21
MORNING, EVENING = datetime(2026, 6, 1, 8, 0), datetime(2026, 6, 1, 11, 30)


@dataclass
class Gate:
    """A terminal of which the slot in question is the lowest free one once its holder is deleted."""

    fleet: Fleet
    terminal: HistoryTerminal
    store: Store
    clock: StoppedClock
    gateway: TerminalGateway
    heard: list[StoredPunches] = field(default_factory=list)

    @property
    def device(self) -> Device:
        return self.store.devices.get(NAME)

    def punch(self, person: str, begin: datetime, count: int = 1) -> None:
        made = [self.terminal.make(person, begin + timedelta(minutes=number)) for number in range(count)]
        self.fleet.call(lambda: self.terminal.write(made, is_reported=True))

    def passes(self) -> None:
        """The former user leaves, a new one gets the slot."""
        self.fleet.call(lambda: self.terminal.delete(OLD))
        assert self.fleet.call(lambda: self.terminal.enrol(NEW)) == SLOT

    def poll(self, *, full: bool = False, list_is_refused: bool = False) -> int:
        """How many punches were new."""
        self.fleet.inject(NAME, RefusesUserList() if list_is_refused else Faults())
        (polled,) = poll_devices(
            self.store, [self.device], self.gateway.read, deadline_seconds=20, run_id=None, full=full
        )
        assert polled.ingested is not None, polled.error
        return polled.ingested.new

    @contextmanager
    def listening(self) -> Iterator[None]:
        stop = threading.Event()
        said: list[str] = []
        listener = threading.Thread(
            target=capture_live,
            args=(self.store, self.gateway, [self.device]),
            kwargs={"stop": stop, "on_stored": self.heard.append, "say": said.append},
        )
        listener.start()
        try:
            until(lambda: self.terminal.listener_count > 0)
            yield
        finally:
            stop.set()
            listener.join()
        assert said == []

    def punch_heard(self, person: str, at: datetime) -> None:
        """A punch during a live session; returns once it is stored."""
        before = sum(one.received for one in self.heard)
        self.punch(person, at)
        until(lambda: sum(one.received for one in self.heard) > before)

    def punches(self) -> Counter[str]:
        """How many are stored, by person."""
        return Counter(dict(rows(self.store, "SELECT user_id, count(*) FROM raw_punches GROUP BY 1")))

    def quarantined(self) -> list[str]:
        """The reasons of the records that are in quarantine now."""
        return [one.reason for one in self.store.quarantine.of(NAME)]


Open = Callable[..., Gate]


@pytest.fixture
def open_gate(store: Store, clock: StoppedClock) -> Iterator[Open]:
    """Serves and registers a terminal whose slot 5 the old holder has, with 21 punches in the log."""
    ticking = Clock(now=clock)
    with Fleet() as fleet, polls_by(ticking):

        def opened(layout: LayoutName = "8", *, events_name_uids: bool = False) -> Gate:
            terminal = HistoryTerminal(
                NAME, layout, timezone="UTC", clock=clock, events_name_uids=events_name_uids, capacity=100_000
            )
            for slot in range(1, 10):
                terminal.enrol(OLD if slot == SLOT else str(3000 + slot))
            port = fleet.add(terminal)
            store.devices.add(Device(name=NAME, ip_address="127.0.0.1", port=port, protocol="tcp"))
            gateway = TerminalGateway(timeout=5, deadline=20, comm_keys=lambda _: 0, clock=ticking)
            gate = Gate(fleet, terminal, store, clock, gateway)
            gate.punch(OLD, MORNING, PUNCHES)
            return gate

        yield opened


@pytest.mark.parametrize("layout", ["8", "8-MA300"])
@pytest.mark.parametrize("reads_all", [False, True], ids=["tail poll", "full poll"])
def test_a_newcomer_in_a_slot_gets_no_punch_of_who_had_it_before(
    layout: LayoutName, reads_all: bool, open_gate: Open
) -> None:
    gate = open_gate(layout)
    assert gate.poll() == PUNCHES
    gate.passes()
    gate.punch(NEW, EVENING)
    assert gate.poll(full=reads_all) == 1
    assert gate.poll(full=True) == 0
    assert gate.punches() == {OLD: PUNCHES, NEW: 1}
    assert gate.quarantined() == []


@pytest.mark.parametrize("events_name_uids", [True, False], ids=["events with the uid", "events with the user id"])
def test_a_listener_across_the_change_stores_the_newcomers_punch_as_theirs_once(
    events_name_uids: bool, open_gate: Open
) -> None:
    gate = open_gate(events_name_uids=events_name_uids)
    gate.poll()
    with gate.listening():
        gate.punch_heard(OLD, EVENING)
        if not events_name_uids:
            gate.poll()  # otherwise no reading has the list with that punch
        gate.passes()
        gate.punch_heard(NEW, EVENING + timedelta(minutes=5))
        assert gate.punches() == {OLD: PUNCHES + 1, NEW: 1}
        assert gate.poll() == 0
    assert gate.poll(full=True) == 0
    assert gate.punches() == {OLD: PUNCHES + 1, NEW: 1}
    assert gate.quarantined() == []


def test_records_of_somebody_deleted_before_the_first_poll_stay_in_quarantine_whoever_has_the_slot_next(
    open_gate: Open,
) -> None:
    gate = open_gate()
    gate.fleet.call(lambda: gate.terminal.delete(OLD))
    assert gate.poll() == 0
    assert len(gate.quarantined()) == PUNCHES
    assert gate.fleet.call(lambda: gate.terminal.enrol(NEW)) == SLOT
    gate.punch(NEW, EVENING)
    assert gate.poll() == 1
    assert gate.poll(full=True) == 0
    release_quarantine(gate.store)
    assert gate.punches() == {NEW: 1}
    assert len(gate.quarantined()) == PUNCHES


def test_a_release_gives_records_that_waited_for_a_list_to_who_held_the_slot_when_it_was_read(open_gate: Open) -> None:
    gate = open_gate()
    gate.poll(list_is_refused=True)
    assert gate.punches() == {}
    assert len(gate.quarantined()) == PUNCHES
    gate.poll()  # the list that the records waited for
    gate.passes()
    gate.punch(NEW, EVENING)
    gate.poll()
    release_quarantine(gate.store)
    assert gate.punches() == {OLD: PUNCHES, NEW: 1}
    assert gate.quarantined() == []
    assert gate.poll(full=True) == 0


def test_a_release_after_the_log_was_cleared_and_the_slot_passed_on_gives_them_to_nobody_else(open_gate: Open) -> None:
    gate = open_gate()
    gate.poll(list_is_refused=True)
    gate.fleet.call(gate.terminal.clear)
    gate.poll()
    gate.passes()
    gate.punch(NEW, EVENING)
    gate.poll()
    release_quarantine(gate.store)
    assert gate.punches() == {OLD: PUNCHES, NEW: 1}
    assert gate.quarantined() == []


def test_the_last_punches_of_somebody_deleted_since_are_theirs(open_gate: Open) -> None:
    gate = open_gate()
    gate.poll()
    gate.punch(OLD, EVENING)
    gate.fleet.call(lambda: gate.terminal.delete(OLD))
    assert gate.poll() == 1
    assert gate.poll(full=True) == 0
    assert gate.punches() == {OLD: PUNCHES + 1}
    assert gate.quarantined() == []


def test_new_records_of_a_slot_that_passed_on_between_lists_hours_apart_are_quarantined_with_the_reason(
    open_gate: Open,
) -> None:
    gate = open_gate()
    gate.poll()
    gate.passes()
    gate.punch(NEW, EVENING)
    gate.clock.go(hours=3)
    assert gate.poll() == 0
    release_quarantine(gate.store)
    assert gate.punches() == {OLD: PUNCHES}
    (reason,) = gate.quarantined()
    assert OLD in reason
    assert NEW in reason
    gate.punch(NEW, EVENING + timedelta(hours=3))
    assert gate.poll() == 1
    assert gate.punches() == {OLD: PUNCHES, NEW: 1}


def test_a_log_that_was_cleared_and_refilled_to_the_same_count_by_a_newcomer_is_read(open_gate: Open) -> None:
    gate = open_gate()
    gate.punch("3001", MORNING + timedelta(hours=1), 140)  # more than one packet
    gate.poll()
    gate.passes()
    gate.fleet.call(gate.terminal.clear)
    gate.punch(NEW, EVENING - timedelta(hours=3), PUNCHES + 140)
    assert gate.poll() == PUNCHES + 140
    assert gate.punches() == {OLD: PUNCHES, "3001": 140, NEW: PUNCHES + 140}


def test_somebody_who_comes_back_to_their_slot_has_their_own_punches_and_the_other_theirs(open_gate: Open) -> None:
    gate = open_gate()
    gate.poll()
    gate.passes()
    gate.punch(NEW, EVENING)
    gate.poll()
    gate.fleet.call(lambda: gate.terminal.delete(NEW))
    assert gate.fleet.call(lambda: gate.terminal.enrol(OLD)) == SLOT
    gate.punch(OLD, EVENING + timedelta(minutes=9))
    assert gate.poll() == 1
    assert gate.poll(full=True) == 0
    assert gate.punches() == {OLD: PUNCHES + 1, NEW: 1}
