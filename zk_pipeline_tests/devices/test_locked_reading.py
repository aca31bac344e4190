"""A terminal is locked only where asked for, and people can punch again however the reading ends."""

from __future__ import annotations

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.faults import CorruptData, Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.fleet import Fleet
from zk_pipeline.simulator.protocol import Command, Frame
from zk_pipeline.simulator.wires import Wire
from zk_pipeline_tests.devices.terminal_bench import (
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


def test_nobody_is_locked_out_unasked() -> None:
    watched = Watched()
    with serving(terminal(), watched) as one:
        gateway().read(one)
    assert watched.count(DISABLE) == watched.count(ENABLE) == 0


def test_a_reading_that_finds_nothing_new_unlocks_what_it_locked() -> None:
    """The end of the log is compared, so it must not grow in between."""
    watched = Watched()
    with serving(terminal(40, records=500), watched) as one:
        full = gateway().read(one)
        assert gateway().read(one, full.tail, lock_while_reading=True).mode == "unchanged"
    assert watched.count(DISABLE) == watched.count(ENABLE) == 1


BROKEN: dict[str, tuple[Faults, type[errors.TerminalError]]] = {
    "connection ends": (CutAt(Command.CMD_DATA_RDY), errors.IncompleteTransfer),
    "terminal falls silent": (HangAt(Command.CMD_DATA_RDY), errors.NoAnswer),
    "terminal refuses its log": (RefuseCommand(Command.CMD_DATA_WRRQ), errors.RefusesProtocol),
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
        async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:
            if request.command == ENABLE:
                emulated.is_enabled = False
                wire.mute()
            await super().deliver(request, answer, wire)

    emulated = terminal(16, records=500)
    with serving(emulated, NeverUnlocks(Command.CMD_DATA_RDY)) as one:
        with pytest.raises(errors.IncompleteTransfer, match=r"could not be unlocked.*no answer") as raised:
            gateway(timeout=0.2).read(one, lock_while_reading=True)
        assert not emulated.is_enabled
    assert raised.value.code == "incomplete_transfer"


def test_a_good_reading_of_a_terminal_that_stays_locked_is_a_failure() -> None:
    emulated = terminal(16, records=500)
    watched = Watched(RefuseCommand(ENABLE))
    with serving(emulated, watched) as one, pytest.raises(errors.StillDisabled) as raised:
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
    with serving(terminal(), watched) as one, pytest.raises(errors.RefusesProtocol, match="locking"):
        gateway().read(one, lock_while_reading=True)
    assert watched.count(Command.CMD_DATA_WRRQ) == 0
