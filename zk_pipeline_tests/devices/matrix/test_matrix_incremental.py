"""Fault matrix, incremental readings: full and incremental reading together equal the terminal's log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import AtFirst, ChangeAnswers, CloseAfter, CorruptData, Faults, RefuseCommand
from zk_pipeline.simulator.terminal.network_faults import BadLine, Fate, LateAnswers, SmallPackets
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import (
    LOG,
    LOSS,
    REFUSAL,
    SILENCE,
    USER_LIST,
    VIOLATION,
    numbered_or_not,
    over_protocols,
    over_shapes,
)
from zk_pipeline_tests.devices.matrix.matrix_judge import (
    BRIEF,
    RIGHT,
    WAITING,
    Known,
    known_from,
    outcome_of,
    read,
    switched_on,
    verdict,
)
from zk_pipeline_tests.devices.matrix.matrix_terminals import NAME, SHAPES, EventBeforeAnswer, MatrixTerminal

NEW = 300

Event = Callable[[MatrixTerminal], None]


def read_before(shape: str, *, record_capacity: int = 100_000) -> MatrixTerminal:
    """A terminal whose log is not sent at once."""
    return MatrixTerminal(SHAPES[shape], 200, record_capacity=record_capacity)


def new_punches(terminal: MatrixTerminal) -> None:
    terminal.punches_on(NEW)


def nothing(_: MatrixTerminal) -> None:
    return


def outcome_after(
    event: Event, terminal: MatrixTerminal, protocol: Protocol, faults: Faults | None = None, *, timeout: float = 1.0
) -> str:
    """Outcome of an incremental reading after `event`, with `faults`."""
    with switched_on(terminal, None, protocol) as (fleet, device):
        known = known_from(read(device), terminal)
        fleet.call(lambda: event(terminal))
        fleet.inject(NAME, faults or Faults())
        return outcome_of(terminal, device, timeout=timeout, known=known)


def _cleared(terminal: MatrixTerminal) -> None:
    terminal.clear_log()


def _cleared_and_grown_less(terminal: MatrixTerminal) -> None:
    terminal.clear_log()
    terminal.punches_on(150)


def _cleared_and_grown_as_much(terminal: MatrixTerminal) -> None:
    terminal.clear_log()
    terminal.punches_on(200)


def _cleared_and_grown_more(terminal: MatrixTerminal) -> None:
    terminal.clear_log()
    terminal.punches_on(350)


def _oldest_gone_and_grown(terminal: MatrixTerminal) -> None:
    terminal.discard_oldest(100)
    terminal.punches_on(150)


def _oldest_gone(terminal: MatrixTerminal) -> None:
    terminal.discard_oldest(1)


def _odd_records(terminal: MatrixTerminal) -> None:
    for _ in range(5):
        terminal.append_raw(bytes(terminal.shape.base))
        terminal.append_raw(b"\xff" * terminal.shape.base)
        terminal.append_impossible_date()
        terminal.punches_on(1)


EVENTS: dict[str, Event] = {
    "nothing": nothing,
    "one-punch": lambda terminal: terminal.punches_on(1),
    "many-punches": new_punches,
    "odd-records": _odd_records,
    "cleared": _cleared,
    "cleared-and-shorter": _cleared_and_grown_less,
    "cleared-and-as-long": _cleared_and_grown_as_much,
    "cleared-and-longer": _cleared_and_grown_more,
    "oldest-gone": _oldest_gone,
    "oldest-gone-and-longer": _oldest_gone_and_grown,
}


@pytest.mark.parametrize("event", EVENTS)
@over_shapes
@over_protocols
def test_what_happened_since_the_last_reading(settle: Settle, protocol: Protocol, shape: str, event: str) -> None:
    settle(outcome_after(EVENTS[event], read_before(shape), protocol), RIGHT)


@pytest.mark.parametrize("new", [1, 50, 60, 200])
@over_shapes
@over_protocols
def test_a_log_that_wrapped_since_the_last_reading(settle: Settle, protocol: Protocol, shape: str, new: int) -> None:
    """The capacity is 250, so 60 more records replace the oldest ten, and the counter stays at 250."""
    terminal = read_before(shape, record_capacity=250)
    settle(outcome_after(lambda terminal: terminal.punches_on(new), terminal, protocol), RIGHT)


REQUESTS = range(14)  # of an incremental reading; the last is past its end


@pytest.mark.parametrize("number", REQUESTS)
@pytest.mark.parametrize("shape", ["8", "40"], ids=["8-bytes", "40-bytes"])
@over_protocols
def test_punches_between_two_requests_are_neither_lost_nor_doubled(
    settle: Settle, protocol: Protocol, shape: str, number: int
) -> None:
    """Three readings, each continuing the one before, with a punch during the second."""
    terminal = read_before(shape)
    with switched_on(terminal, None, protocol) as (fleet, device):
        known = known_from(read(device), terminal)
        fleet.call(lambda: terminal.punches_on(3))
        fleet.inject(NAME, EventBeforeAnswer(number, lambda: terminal.punches_on(1)))
        second = read(device, position=known.position)
        assert second.mode == "incremental"
        assert second.position is not None
        outcome = verdict(second, terminal, known)
        known = Known(terminal.served[-1], second.position)
        fleet.call(lambda: terminal.punches_on(1))
        settle(outcome if outcome != RIGHT else outcome_of(terminal, device, known=known), RIGHT)


@pytest.mark.parametrize("number", REQUESTS)
@over_protocols
def test_a_log_cleared_between_two_requests_of_an_incremental_reading(
    settle: Settle, protocol: Protocol, number: int
) -> None:
    terminal = read_before("40")
    settle(outcome_after(new_punches, terminal, protocol, EventBeforeAnswer(number, terminal.clear_log)), RIGHT)


@pytest.mark.parametrize("number", range(8, 24))  # after session and terminal info
@pytest.mark.parametrize("fate", [Fate.LOST, Fate.DOUBLED, Fate.OVERTAKEN], ids=["lost", "doubled", "overtaken"])
@over_protocols
def test_one_packet_of_an_incremental_reading(settle: Settle, protocol: Protocol, fate: Fate, number: int) -> None:
    line = BadLine(lambda each: fate if each == number else Fate.ARRIVES)
    settle(outcome_after(new_punches, read_before("16"), protocol, line, timeout=0.2), RIGHT)


# Requests of an incremental reading that are not answered or refused, and their parts.
SIZE, PART = bytes(4), (4 + 184 * 40).to_bytes(4, "little")
PARTS = {
    "the-snapshot": ChangeAnswers(Command.CMD_DATA_WRRQ, lambda _: [], LOG),
    "the-size": ChangeAnswers(Command.CMD_DATA_RDY, lambda _: [], SIZE),
    "the-new-records": ChangeAnswers(Command.CMD_DATA_RDY, lambda _: [], PART),
    "all-parts": ChangeAnswers(Command.CMD_DATA_RDY, lambda _: []),
}


@pytest.mark.parametrize("silent", PARTS)
@over_protocols
def test_silence_in_an_incremental_reading(settle: Settle, protocol: Protocol, silent: str) -> None:
    """Terminals that send only whole logs are read in full."""
    outcome = outcome_after(new_punches, read_before("40"), protocol, PARTS[silent], timeout=BRIEF)
    settle(outcome, RIGHT if silent == "the-new-records" else SILENCE)


@pytest.mark.parametrize("part", [SIZE, PART], ids=["the-size", "the-new-records"])
@over_protocols
def test_a_part_refused_in_an_incremental_reading(settle: Settle, protocol: Protocol, part: bytes) -> None:
    refusal = AtFirst(RefuseCommand(Command.CMD_DATA_RDY, data_prefix=part))
    outcome = outcome_after(new_punches, read_before("40"), protocol, refusal)
    # A full reading follows in the same session; its first part also begins at the size, so it is refused too.
    settle(outcome, RIGHT if part == PART else REFUSAL)


@pytest.mark.parametrize("offset", [0, 3, 50, 641, 2_000])
@over_shapes
@over_protocols
def test_a_corrupted_byte_in_an_incremental_reading(
    settle: Settle, protocol: Protocol, shape: str, offset: int
) -> None:
    corrupt = CorruptData(offset)
    outcome = outcome_after(new_punches, read_before(shape), protocol, corrupt)
    # Datagrams have no more than 1,024 bytes of data.
    settle(outcome, RIGHT if protocol == "udp" and offset > 1024 else VIOLATION)


CUT_OFF_AT_ONCE = {"end-of-stream": "refused", "reset": "refused", "silence": SILENCE}


@pytest.mark.parametrize("sent_bytes", [0, 16, 300, 409, 430, 460, 500, 1_000, 8_000, 13_000])
@pytest.mark.parametrize("end", ["end-of-stream", "reset", "silence"])
def test_an_incremental_reading_cut_off(settle: Settle, end: str, sent_bytes: int) -> None:
    cut = CloseAfter(sent_bytes, with_reset=end == "reset")
    protocol: Protocol = "udp" if end == "silence" else "tcp"
    outcome = outcome_after(new_punches, read_before("40"), protocol, cut, timeout=BRIEF)
    # The last bytes are a partial datagram, which is not a frame.
    settle(outcome, CUT_OFF_AT_ONCE[end] if sent_bytes == 0 else VIOLATION if end == "silence" else LOSS)


@numbered_or_not
@over_shapes
@over_protocols
def test_small_packets_in_an_incremental_reading(
    settle: Settle, protocol: Protocol, shape: str, is_numbered: bool
) -> None:
    settle(outcome_after(new_punches, read_before(shape), protocol, SmallPackets(1008, is_numbered)), RIGHT)


@pytest.mark.parametrize("command", [Command.CMD_DATA_WRRQ, Command.CMD_DATA_RDY, Command.CMD_GET_FREE_SIZES])
@over_protocols
def test_one_late_answer_in_an_incremental_reading(settle: Settle, protocol: Protocol, command: Command) -> None:
    late = LateAnswers(0.3, command, times=1)
    settle(outcome_after(new_punches, read_before("40"), protocol, late, timeout=0.2), RIGHT)


@over_shapes
@over_protocols
def test_an_incremental_reading_without_a_user_list(settle: Settle, protocol: Protocol, shape: str) -> None:
    refusal = RefuseCommand(Command.CMD_DATA_WRRQ, data_prefix=USER_LIST)
    outcome = outcome_after(new_punches, read_before(shape), protocol, refusal)
    # Without a change of users, records with a user id need no list.
    settle(outcome, WAITING if SHAPES[shape].base == 8 else RIGHT)
