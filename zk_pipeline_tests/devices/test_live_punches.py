"""Live capture of one terminal: punches, heartbeats, lost connections, and the terminal's state afterwards."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.device_lock import exclusive_access
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.devices.protocol.events import Heartbeat, LiveEvent, LivePunch, UnreadableEvent
from zk_pipeline.simulator.terminal.faults import Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Event, Frame
from zk_pipeline.simulator.terminal.records import Layout, Punch, TerminalUser
from zk_pipeline.simulator.terminal.session import Session
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    Rewrite,
    Watched,
    device,
    gateway,
    terminal,
)
from zk_pipeline_tests.waiting import until

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
LAYOUTS: list[Layout] = [8, 16, 40]
NOON = datetime(2026, 3, 2, 12, 0)  # noqa: DTZ001 - a wall clock has no zone


@dataclass
class Listening:
    """A thread with live capture of a terminal, and the received events."""

    stop: threading.Event = field(default_factory=threading.Event)
    events: list[LiveEvent] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    @property
    def punches(self) -> list[LivePunch]:
        return [event for event in self.events if isinstance(event, LivePunch)]

    @property
    def heartbeats(self) -> list[Heartbeat]:
        return [event for event in self.events if isinstance(event, Heartbeat)]

    def run(self, terminals: TerminalGateway, device: Device, keep_alive: float) -> None:
        try:
            for event in terminals.live_punches(device, self.stop, keep_alive=keep_alive):
                self.events.append(event)
        except Exception as error:
            self.errors.append(error)


@contextmanager
def listening(
    one: Device, terminals: TerminalGateway | None = None, *, keep_alive: float = 30.0
) -> Iterator[Listening]:
    heard = Listening()
    thread = threading.Thread(target=heard.run, args=[terminals or gateway(timeout=1), one, keep_alive])
    thread.start()
    try:
        until(lambda: heard.events or heard.errors)
        yield heard
    finally:
        heard.stop.set()
        thread.join()


@contextmanager
def open_terminal(
    layout: Layout = 40, faults: Faults | None = None, protocol: Protocol = "tcp"
) -> Iterator[tuple[Fleet, Device]]:
    with Fleet.serve([terminal(layout, records=60)], faults={NAME: faults} if faults else None) as fleet:
        yield fleet, device(fleet.port_of(NAME), protocol)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_punch_is_heard_as_it_happens(protocol: Protocol, layout: Layout) -> None:
    with open_terminal(layout, protocol=protocol) as (fleet, one), listening(one) as heard:
        for number in range(20):
            fleet.punch(
                NAME, str(1000 + number), NOON + timedelta(seconds=number), verify_type=number, punch_state=number % 6
            )
            until(lambda: len(heard.punches) == fleet.terminal(NAME).record_count - 60, seconds=2)

    assert [(p.user_id, p.punched_at_local, p.verify_type, p.punch_state) for p in heard.punches] == [
        (str(1000 + number), NOON + timedelta(seconds=number), number, number % 6) for number in range(20)
    ]
    assert all(punch.received_at.tzinfo is not None for punch in heard.punches)
    assert not heard.errors


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_event_has_a_receipt(protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    receipts: list[Frame] = []
    handle = Session.handle

    def watch(session: Session, request: Frame) -> list[Frame]:
        if request.command == Command.CMD_ACK_OK:
            receipts.append(request)
        return handle(session, request)

    monkeypatch.setattr(Session, "handle", watch)
    with open_terminal(protocol=protocol) as (fleet, one), listening(one) as heard:
        for _ in range(3):
            fleet.punch(NAME, "1000")
        until(lambda: len(receipts) == 3)
        until(lambda: len(heard.punches) == 3)
    assert {(receipt.reply_number, receipt.data) for receipt in receipts} == {(0, b"")}
    assert len({receipt.session_id for receipt in receipts}) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_punch_during_the_question_whether_the_terminal_is_there_is_heard(protocol: Protocol) -> None:
    def late_punch(frames: list[Frame]) -> list[Frame]:
        emulated.punch("1000", NOON + timedelta(seconds=emulated.record_count))
        return frames

    with open_terminal(protocol=protocol) as (fleet, one), listening(one, keep_alive=0.1) as heard:
        emulated = fleet.terminal(NAME)
        fleet.inject(NAME, Rewrite(Command.CMD_GET_FREE_SIZES, late_punch, times=4))
        until(lambda: len(heard.punches) == 4)
        until(lambda: heard.heartbeats[-1].record_count == 64)
    assert not heard.errors


def test_a_heartbeat_comes_first_and_again_and_again() -> None:
    with open_terminal() as (fleet, one), listening(one, keep_alive=0.1) as heard:
        assert isinstance(heard.events[0], Heartbeat)
        assert heard.events[0].record_count == 60
        fleet.punch(NAME, "1000")
        until(lambda: heard.heartbeats[-1].record_count == 61)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_whoever_stops_listening_says_goodbye(protocol: Protocol) -> None:
    watched = Watched()
    with open_terminal(faults=watched, protocol=protocol) as (fleet, one):
        with listening(one) as heard:
            assert fleet.call(lambda: len(fleet.terminal(NAME)._listeners)) == 1
            started = time.monotonic()
        assert time.monotonic() - started < 2
        assert not heard.errors
        assert fleet.call(lambda: len(fleet.terminal(NAME)._listeners)) == 0
    flags = [request.data for request in watched.requests if request.command == Command.CMD_REG_EVENT]
    assert flags == [bytes([Event.EF_ATTLOG, 0, 0, 0]), bytes(4)]
    assert watched.requests[-1].command == Command.CMD_EXIT


def test_a_listener_that_is_dropped_says_goodbye_too() -> None:
    with open_terminal() as (fleet, one):
        events = gateway().live_punches(one, threading.Event())
        assert isinstance(next(events), Heartbeat)
        events.close()  # type: ignore[attr-defined]
        assert fleet.call(lambda: len(fleet.terminal(NAME)._listeners)) == 0


def test_a_terminal_that_is_switched_off_is_noticed_at_once() -> None:
    with open_terminal() as (fleet, one), listening(one) as heard:
        fleet.switch_off(NAME)
        until(lambda: heard.errors, seconds=5)
    assert isinstance(heard.errors[0], errors.IncompleteTransfer)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_falls_silent_is_noticed_by_the_next_question(protocol: Protocol) -> None:
    with (
        open_terminal(protocol=protocol) as (fleet, one),
        listening(one, gateway(timeout=0.3), keep_alive=0.1) as heard,
    ):
        fleet.inject(NAME, HangAt(Command.CMD_GET_FREE_SIZES))
        until(lambda: heard.errors, seconds=5)
    assert isinstance(heard.errors[0], errors.NoAnswer)


def test_a_terminal_that_refuses_to_report_is_named() -> None:
    with open_terminal(faults=RefuseCommand(Command.CMD_REG_EVENT)) as (_, one), listening(one) as heard:
        until(lambda: heard.errors)
    assert isinstance(heard.errors[0], errors.UnsupportedCommand)


def test_another_terminal_is_not_listened_to() -> None:
    with open_terminal() as (_, one), listening(replace(one, serial_number="OLD1")) as heard:
        until(lambda: heard.errors)
    assert isinstance(heard.errors[0], errors.SerialChanged)


def events_of(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make terminals report this event instead of the punch."""

    def event(_: Session, punch: Punch) -> Frame:
        who = {"<uid>": struct.pack("<H", 7 + int(punch.user_id) - 1000)}
        return Frame(Command.CMD_REG_EVENT, Event.EF_ATTLOG, 0, data.replace(b"<uid>", who["<uid>"]))

    monkeypatch.setattr(Session, "_event", event)


KIND_AND_DATE = bytes([1, 0, 26, 3, 2, 12, 0, 0])


def test_an_event_that_names_a_slot_brings_the_user_list_as_it_is_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events_of(b"<uid>" + KIND_AND_DATE, monkeypatch)
    with open_terminal(8) as (fleet, one), listening(one) as heard:
        fleet.punch(NAME, "1000")
        until(lambda: heard.punches)
        emulated = fleet.terminal(NAME)
        others = [user for user in emulated.definition.users if user.user_id != "1000"]
        newcomer = TerminalUser(uid=7, user_id="1100")  # in the slot of 1000
        emulated.definition = replace(emulated.definition, users=(*others, newcomer))
        fleet.punch(NAME, "1000")
        until(lambda: len(heard.punches) == 2)
    assert [(punch.user_id, punch.uid) for punch in heard.punches] == [(None, 7), (None, 7)]
    holders = [punch.users.set_index("uid")["user_id"][7] for punch in heard.punches if punch.users is not None]
    assert holders == ["1000", "1100"]


def test_an_event_that_names_a_slot_is_reported_without_a_user_list_if_it_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events_of(b"<uid>" + KIND_AND_DATE, monkeypatch)
    with open_terminal(8, RefuseCommand(Command.CMD_DATA_WRRQ)) as (fleet, one), listening(one) as heard:
        fleet.punch(NAME, "1000")
        until(lambda: heard.punches)
    assert (heard.punches[0].user_id, heard.punches[0].uid, heard.punches[0].users) == (None, 7, None)


UNREADABLE = {
    "an unknown size": (b"?" * 11, "events of 11 bytes are not known"),
    "an impossible date": (b"1000".ljust(24, b"\0") + bytes([1, 0, 26, 2, 31, 8, 0, 0]), "impossible date"),
    "no-user": (bytes(24) + KIND_AND_DATE, "no user id"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_punch_is_shown_as_it_came(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, reason = UNREADABLE[case]
    events_of(raw, monkeypatch)
    with open_terminal() as (fleet, one), listening(one) as heard:
        fleet.punch(NAME, "1000")
        until(lambda: len(heard.events) > 1)
    event = heard.events[1]
    assert isinstance(event, UnreadableEvent)
    assert (event.raw, event.reason) == (raw, reason)
    assert not heard.errors


def test_other_events_are_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    def alarm_first(session: Session, punch: Punch) -> Frame:
        session.push(Frame(Command.CMD_REG_EVENT, 512, 0, b"\x37\0\0\0"))
        return original(session, punch)

    original = Session._event
    monkeypatch.setattr(Session, "_event", alarm_first)
    with open_terminal() as (fleet, one), listening(one) as heard:
        fleet.punch(NAME, "1000")
        until(lambda: heard.punches)
    assert len(heard.events) == 2


def test_a_poll_gets_its_turn_and_the_listener_comes_back(tmp_path: Path) -> None:
    shared = gateway(timeout=1, locks=tmp_path)
    with open_terminal() as (fleet, one), listening(one, shared) as heard:
        reading = shared.read(one)
        until(lambda: len(heard.heartbeats) == 2)
        fleet.punch(NAME, "1000", NOON)
        until(lambda: heard.punches)
    assert len(reading.punches) == 60
    assert not heard.errors


def test_whoever_waits_for_its_turn_to_listen_can_be_stopped(tmp_path: Path) -> None:
    shared = gateway(locks=tmp_path)
    with open_terminal() as (_, one), exclusive_access(tmp_path, one, Deadline.after(1)) as hold:
        heard = Listening()
        thread = threading.Thread(target=heard.run, args=[shared, one, 30.0])
        thread.start()
        until(hold.is_wanted)
        heard.stop.set()
        thread.join()
    assert (heard.events, heard.errors) == ([], [])
