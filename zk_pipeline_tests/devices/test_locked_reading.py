"""Keypad lock during a reading: only on request, and undone however the reading ends."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.device_lock import exclusive_access
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import CorruptData, Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    CutAt,
    Rewrite,
    Watched,
    device,
    gateway,
    same_punches,
    serving,
    terminal,
)
from zk_pipeline_tests.waiting import until

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
ENABLE, DISABLE = Command.CMD_ENABLEDEVICE, Command.CMD_DISABLEDEVICE


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_terminal_is_locked_while_its_log_is_transferred_and_not_after(protocol: Protocol) -> None:
    def look(frames: list[Frame]) -> list[Frame]:
        seen.append(emulated.is_enabled)
        return frames

    seen: list[bool] = []
    emulated = terminal(16, records=500)
    with serving(emulated, Rewrite(Command.CMD_DATA_RDY, look), protocol=protocol) as one:
        reading = gateway().read(one, lock_while_reading=True)
        assert emulated.is_enabled

    assert seen[0] is False
    assert same_punches(reading.punches, emulated.punches())


def test_the_keypad_is_not_locked_by_default() -> None:
    watched = Watched()
    with serving(terminal(), watched) as one:
        gateway().read(one)
    assert watched.count(DISABLE) == watched.count(ENABLE) == 0


def test_a_reading_that_finds_nothing_new_unlocks_what_it_locked() -> None:
    """The end of the log is compared, so the log must not grow in between."""
    watched = Watched()
    with serving(terminal(40, records=500), watched) as one:
        full = gateway().read(one)
        assert gateway().read(one, full.position, lock_while_reading=True).mode == "unchanged"
    assert watched.count(DISABLE) == watched.count(ENABLE) == 1


BROKEN: dict[str, tuple[Faults, type[errors.TerminalError]]] = {
    "connection ends": (CutAt(Command.CMD_DATA_RDY), errors.IncompleteTransfer),
    "terminal falls silent": (HangAt(Command.CMD_DATA_RDY), errors.NoAnswer),
    "terminal refuses its log": (RefuseCommand(Command.CMD_DATA_WRRQ), errors.UnsupportedCommand),
    "bytes are wrong": (CorruptData(100), errors.ProtocolViolation),
    "silence over the lock itself": (HangAt(DISABLE), errors.NoAnswer),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_reading_that_fails_leaves_the_terminal_unlocked(protocol: Protocol, case: str) -> None:
    faults, failure = BROKEN[case]
    if protocol == "udp" and isinstance(faults, CutAt):
        failure = errors.NoAnswer
    emulated = terminal(16, records=500)
    with serving(emulated, Watched(faults), protocol=protocol) as one:
        with pytest.raises(failure) as raised:
            gateway(timeout=0.2).read(one, lock_while_reading=True)
        assert emulated.is_enabled
    assert "unlocked" not in str(raised.value)


def test_a_reading_that_runs_into_its_deadline_leaves_the_terminal_unlocked() -> None:
    emulated = terminal(16, records=500)
    with serving(emulated, HangAt(Command.CMD_DATA_RDY)) as one:
        with pytest.raises(errors.DeadlineExceeded):
            gateway(timeout=30, deadline=1).read(one, lock_while_reading=True)
        assert emulated.is_enabled


def test_a_failure_says_when_the_terminal_could_not_be_unlocked() -> None:
    class NeverUnlocks(CutAt):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            if request.command == ENABLE:
                emulated.is_enabled = False
                connection.mute()
            await super().deliver(request, answer, connection)

    emulated = terminal(16, records=500)
    with serving(emulated, NeverUnlocks(Command.CMD_DATA_RDY)) as one:
        with pytest.raises(errors.IncompleteTransfer, match=r"could not be unlocked.*no answer") as raised:
            gateway(timeout=0.2).read(one, lock_while_reading=True)
        assert not emulated.is_enabled
    assert raised.value.code == "incomplete_transfer"


def test_a_good_reading_of_a_terminal_that_stays_locked_is_a_failure() -> None:
    emulated = terminal(16, records=500)
    watched = Watched(RefuseCommand(ENABLE))
    with serving(emulated, watched) as one, pytest.raises(errors.DeviceLeftDisabled) as raised:
        gateway().read(one, lock_while_reading=True)
    assert raised.value.code == "still_disabled"
    assert watched.count(Command.CMD_CONNECT) == 2


def test_an_unlocking_that_is_refused_once_is_tried_on_a_fresh_connection() -> None:
    emulated = terminal(16, records=500)
    with Fleet.serve([emulated], faults={NAME: CutAt(ENABLE, times=1)}) as fleet:
        reading = gateway().read(device(fleet.port_of(NAME)), lock_while_reading=True)
    assert emulated.is_enabled
    assert same_punches(reading.punches, emulated.punches())


def test_a_terminal_that_cannot_be_locked_is_not_read_unlocked() -> None:
    watched = Watched(RefuseCommand(DISABLE))
    with serving(terminal(), watched) as one, pytest.raises(errors.UnsupportedCommand, match="locking"):
        gateway().read(one, lock_while_reading=True)
    assert watched.count(Command.CMD_DATA_WRRQ) == 0


@dataclass
class Memory:
    """Keypad locks in memory, and the order of their calls and of the terminal's commands."""

    noted: set[str] = field(default_factory=set)
    order: list[str] = field(default_factory=list)
    is_broken: bool = False

    def note(self, device: Device) -> None:
        if self.is_broken:
            raise StoreBusy("the store is held by another process")
        self.order.append("note")
        self.noted.add(device.name)

    def is_noted(self, device: Device) -> bool:
        return device.name in self.noted

    def forget(self, device: Device) -> None:
        if self.is_broken:
            raise StoreBusy("the store is held by another process")
        self.order.append("forget")
        self.noted.discard(device.name)


@dataclass
class Order(Watched):
    """Adds the terminal's commands to the order of a Memory."""

    memory: Memory = field(default_factory=Memory)

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command in (ENABLE, DISABLE):
            self.memory.order.append(Command(request.command).name)
        await super().deliver(request, answer, connection)


def remembering(memory: Memory, *, timeout: float = 5.0, locks: Path | None = None) -> TerminalGateway:
    return replace(gateway(timeout=timeout, locks=locks), keypad_locks=memory)


def left_locked(one: Device) -> Device:
    """The device as registered while its lock is recorded."""
    return replace(one, keypad_locked_at=datetime.now(UTC))


def test_a_lock_is_recorded_before_it_is_taken_and_the_record_deleted_after_the_unlock() -> None:
    memory = Memory()
    with serving(terminal(), Order(memory=memory)) as one:
        remembering(memory).read(one, lock_while_reading=True)
    assert memory.order == ["note", "CMD_DISABLEDEVICE", "CMD_ENABLEDEVICE", "forget"]


def test_a_lock_that_cannot_be_noted_is_not_taken() -> None:
    memory = Memory(is_broken=True)
    with serving(terminal(), Order(memory=memory)) as one, pytest.raises(StoreBusy):
        remembering(memory).read(one, lock_while_reading=True)
    assert memory.order == []


def test_a_reading_that_locks_nothing_notes_nothing() -> None:
    memory = Memory()
    with serving(terminal(), Order(memory=memory)) as one:
        remembering(memory).read(one)
    assert memory.order == []


def test_a_reading_succeeds_although_the_record_of_its_lock_cannot_be_deleted(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()

    def break_memory(frames: list[Frame]) -> list[Frame]:
        memory.is_broken = True
        return frames

    emulated = terminal()
    with serving(emulated, Rewrite(ENABLE, break_memory)) as one:
        assert len(remembering(memory).read(one, lock_while_reading=True).punches) == 60
    assert emulated.is_enabled
    assert memory.noted == {NAME}
    assert "the next contact unlocks it again" in caplog.text


def test_the_advice_of_a_terminal_that_stays_locked_is_true() -> None:
    class StaysLocked(RefuseCommand):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            emulated.is_enabled = emulated.is_enabled and request.command != ENABLE
            await super().deliver(request, answer, connection)

    def is_unlocked() -> bool:
        return emulated.is_enabled and not memory.noted

    emulated, memory = terminal(16, records=500), Memory()
    with Fleet.serve([emulated], faults={NAME: StaysLocked(ENABLE)}) as fleet:
        one = device(fleet.port_of(NAME))
        with pytest.raises(errors.DeviceLeftDisabled, match="`zk-pipeline test-device NAME`"):
            remembering(memory).read(one, lock_while_reading=True)
        remembering(memory).probe(left_locked(one))  # still without success
        assert not is_unlocked()
        fleet.inject(NAME, Faults())
        remembering(memory).probe(left_locked(one))
    assert is_unlocked()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_cannot_be_unlocked_is_read_all_the_same(
    protocol: Protocol, caplog: pytest.LogCaptureFixture
) -> None:
    emulated, memory = terminal(), Memory({NAME})
    emulated.is_enabled = False
    with serving(emulated, Watched(HangAt(ENABLE)), protocol=protocol) as one:
        assert len(remembering(memory, timeout=0.3).read(left_locked(one)).punches) == 60
    assert memory.noted == {NAME}
    assert f"{NAME} was left locked, and could not be unlocked: {NAME} (127.0.0.1" in caplog.text


def test_another_terminal_in_its_place_does_not_end_the_complaint(caplog: pytest.LogCaptureFixture) -> None:
    memory, watched = Memory({NAME}), Watched()
    with serving(terminal(), watched) as one:
        remembering(memory).probe(left_locked(replace(one, serial_number="OLD1")))
    assert memory.noted == {NAME}
    assert watched.count(ENABLE) == 0
    assert "another terminal" in caplog.text


def test_a_terminal_that_knows_no_locks_is_not_taken_for_a_locked_one() -> None:
    class KnowsNeither(RefuseCommand):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            if request.command == ENABLE:
                answer = [Frame(self.code, answer[0].session_id, request.reply_number)]
            await super().deliver(request, answer, connection)

    memory = Memory()
    with serving(terminal(), KnowsNeither(DISABLE)) as one, pytest.raises(errors.UnsupportedCommand, match="locking"):
        remembering(memory).read(one, lock_while_reading=True)
    assert memory.noted == set()


def test_a_terminal_that_was_left_locked_while_others_waited_for_it_is_unlocked_by_them(tmp_path: Path) -> None:
    emulated, memory = terminal(), Memory()
    with serving(emulated) as one:
        with exclusive_access(tmp_path, one, Deadline.after(5)) as hold:
            probe = threading.Thread(target=remembering(memory, locks=tmp_path).probe, args=[one])
            probe.start()
            until(hold.is_wanted)
            time.sleep(0.1)  # it is first in the queue; it must also wait for the lock
            memory.note(one)
            emulated.is_enabled = False
        probe.join()
    assert emulated.is_enabled
    assert memory.noted == set()
