"""Clearing a log: only after a full reading, verification and keypad lock in one session."""

from __future__ import annotations

from dataclasses import replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Protocol, Reading
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import CorruptData, Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline.simulator.terminal.terminal import TerminalLockedError
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

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
LAYOUTS: list[Layout] = [8, 16, 40]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_verified_log_is_cleared_and_given_back(protocol: Protocol, layout: Layout) -> None:
    emulated = terminal(layout, records=500)
    truth = emulated.punches()
    shown: list[Reading] = []

    def verified(reading: Reading) -> bool:
        shown.append(reading)
        return True

    with serving(emulated, protocol=protocol) as one:
        cleared = gateway().clear_log(one, verified)

    assert shown == [cleared]
    assert same_punches(cleared.punches, truth)
    assert emulated.record_count == 0
    assert emulated.is_enabled


def test_a_log_that_is_not_verified_is_left_alone() -> None:
    emulated, watched = terminal(40, records=500), Watched()
    with serving(emulated, watched) as one, pytest.raises(errors.NotCleared) as failure:
        gateway().clear_log(one, lambda _: False)
    assert failure.value.code == "not_cleared"
    assert watched.count(Command.CMD_CLEAR_ATTLOG) == watched.count(Command.CMD_DISABLEDEVICE) == 0
    assert emulated.record_count == 500


def test_a_verification_that_fails_leaves_the_log_alone() -> None:
    def verified(_: Reading) -> bool:
        raise ZeroDivisionError

    emulated = terminal(40, records=500)
    with serving(emulated) as one, pytest.raises(ZeroDivisionError):
        gateway().clear_log(one, verified)
    assert (emulated.record_count, emulated.is_enabled) == (500, True)


def test_a_punch_during_the_verification_saves_the_log() -> None:
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:

        def verified(_: Reading) -> bool:
            fleet.punch(NAME, "1000")
            return True

        with pytest.raises(errors.NotCleared, match="501 records and 500"):
            gateway().clear_log(device(fleet.port_of(NAME)), verified)
    assert (emulated.record_count, emulated.is_enabled) == (501, True)


def test_no_punch_is_accepted_between_the_last_counter_check_and_the_clearing() -> None:
    def late_punch(frames: list[Frame]) -> list[Frame]:
        with pytest.raises(TerminalLockedError):
            emulated.punch("1000")
        tried.append(True)
        return frames

    tried: list[bool] = []
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:

        def verified(_: Reading) -> bool:
            fleet.inject(NAME, Rewrite(Command.CMD_GET_FREE_SIZES, late_punch))
            return True

        gateway().clear_log(device(fleet.port_of(NAME)), verified)
    assert tried
    assert (emulated.record_count, emulated.is_enabled) == (0, True)


def test_a_counter_that_confirms_nothing_clears_nothing() -> None:
    blind = Rewrite(Command.CMD_GET_FREE_SIZES, lambda frames: [replace(frames[0], data=bytes(len(frames[0].data)))])
    emulated = terminal(40, records=500)
    with serving(emulated, blind) as one, pytest.raises(errors.NotCleared):
        gateway().clear_log(one, lambda _: True)
    assert (emulated.record_count, emulated.is_enabled) == (500, True)


def test_an_empty_log_is_not_cleared_again() -> None:
    watched = Watched()
    with serving(terminal(40, records=0), watched) as one:
        assert gateway().clear_log(one, lambda _: pytest.fail("there is nothing to verify")).punches.empty
    assert watched.count(Command.CMD_CLEAR_ATTLOG) == 0


def test_a_log_that_is_not_read_well_is_not_cleared() -> None:
    emulated = terminal(40, records=500)
    with serving(emulated, CorruptData(100)) as one, pytest.raises(errors.ProtocolViolation):
        gateway().clear_log(one, lambda _: True)
    assert emulated.record_count == 500


def test_another_terminal_is_not_cleared() -> None:
    emulated = terminal(40, records=500)
    with serving(emulated) as one, pytest.raises(errors.SerialChanged):
        gateway().clear_log(replace(one, serial_number="OLD1"), lambda _: True)
    assert emulated.record_count == 500


@pytest.mark.parametrize("faults", [CutAt(Command.CMD_DISABLEDEVICE), RefuseCommand(Command.CMD_DISABLEDEVICE)])
def test_a_terminal_that_cannot_be_locked_is_not_cleared(faults: Faults) -> None:
    emulated, watched = terminal(40, records=500), Watched(faults)
    with serving(emulated, watched) as one, pytest.raises((errors.IncompleteTransfer, errors.UnsupportedCommand)):
        gateway().clear_log(one, lambda _: True)
    assert watched.count(Command.CMD_CLEAR_ATTLOG) == 0
    assert (emulated.record_count, emulated.is_enabled) == (500, True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_says_it_cleared_and_did_not_is_found_out(protocol: Protocol) -> None:
    class Forgetful(Faults):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            if request.command == Command.CMD_CLEAR_ATTLOG:
                emulated.is_enabled = True
                for _ in range(3):
                    emulated.punch("1000")
            await super().deliver(request, answer, connection)

    emulated = terminal(40, records=500)
    with (
        serving(emulated, Forgetful(), protocol=protocol) as one,
        pytest.raises(errors.NotCleared, match="still counts 3 records"),
    ):
        gateway().clear_log(one, lambda _: True)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_clearing_whose_answer_is_lost_is_not_repeated_and_says_what_was_attempted(protocol: Protocol) -> None:
    emulated, watched = terminal(40, records=500), Watched(HangAt(Command.CMD_CLEAR_ATTLOG))
    with serving(emulated, watched, protocol=protocol) as one:
        with pytest.raises(errors.NoAnswer, match="clearing the log"):
            gateway(timeout=0.3).clear_log(one, lambda _: True)
        assert emulated.is_enabled
    assert watched.count(Command.CMD_CLEAR_ATTLOG) == 1
