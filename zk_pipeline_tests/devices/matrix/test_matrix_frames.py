"""Fault matrix, frames: corrupted bytes, and answers to another request. None of them is accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import AtFirst, ChangeAnswers, CorruptAnswer, CorruptData
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import (
    SILENCE,
    VIOLATION,
    at_once_or_in_parts,
    once_or_always,
    over_commands,
    over_protocols,
    over_shapes,
)
from zk_pipeline_tests.devices.matrix.matrix_judge import BRIEF, RIGHT, outcome_under
from zk_pipeline_tests.devices.matrix.matrix_outcomes import outcome_of_answers
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES, MatrixTerminal, terminal_of


def some_terminal(shape: str = "40") -> MatrixTerminal:
    """A terminal whose log is read in one part."""
    return MatrixTerminal(SHAPES[shape], 4_000 // SHAPES[shape].size)


NEEDLESS = (Command.CMD_FREE_DATA, Command.CMD_EXIT)  # the reading is complete before their answers
PLACES = {"command": 0, "checksum": 2, "session": 4, "reply-number": 6, "data": 8}


@once_or_always
@pytest.mark.parametrize("place", PLACES)
@over_commands
@over_protocols
def test_a_byte_that_changed_on_its_way(
    settle: Settle, protocol: Protocol, command: Command, place: str, is_once: bool
) -> None:
    corrupt = CorruptAnswer(command, PLACES[place])
    outcome = outcome_under(AtFirst(corrupt) if is_once else corrupt, some_terminal(), protocol, timeout=0.5)
    has_such_a_byte = place != "data" or command is not Command.CMD_CONNECT
    is_harmless = is_once or command in NEEDLESS or not has_such_a_byte
    settle(outcome, RIGHT if is_harmless else VIOLATION)


@pytest.mark.parametrize("offset", range(-8, 0))
@over_commands
def test_a_changed_byte_in_front_of_the_frame(settle: Settle, command: Command, offset: int) -> None:
    """In the magic bytes or the length: the stream loses frame synchronisation, or waits for missing bytes."""
    outcome = outcome_under(CorruptAnswer(command, offset), some_terminal(), "tcp", timeout=BRIEF)
    # A few bytes longer, a part includes the following frames; 65,280 bytes longer, it never ends; more is not a valid
    # length.
    is_endless = offset == -3 or (offset == -4 and command is not Command.CMD_DATA_RDY)
    settle(outcome, RIGHT if command in NEEDLESS else SILENCE if is_endless else VIOLATION)


@pytest.mark.parametrize("offset", [0, 3, 4, 50, 119])
@at_once_or_in_parts
@over_shapes
@over_protocols
def test_a_corrupted_byte_of_data(settle: Settle, protocol: Protocol, shape: str, is_inline: bool, offset: int) -> None:
    terminal = terminal_of(shape, is_inline=is_inline)
    settle(outcome_under(CorruptData(offset), terminal, protocol), VIOLATION)


Change = Callable[[list[Frame]], list[Frame]]


def first(**changes: object) -> Change:
    return lambda frames: [replace(frames[0], **changes), *frames[1:]]  # type: ignore[arg-type]


def of_first(change: Callable[[Frame], Frame]) -> Change:
    return lambda frames: [change(frames[0]), *frames[1:]]


# Each with a valid checksum: only the content is wrong.
WRONG_FRAMES: dict[str, Change] = {
    "of-another-session": of_first(lambda frame: replace(frame, session_id=frame.session_id ^ 1)),
    "to-a-later-request": of_first(lambda frame: replace(frame, reply_number=frame.reply_number + 1 & 0xFFFF)),
    "to-an-earlier-request": of_first(lambda frame: replace(frame, reply_number=frame.reply_number - 1 & 0xFFFF)),
    "to-one-long-ago": of_first(lambda frame: replace(frame, reply_number=frame.reply_number - 100 & 0xFFFF)),
    "of-an-unknown-kind": first(command=4711),
    "an-unrequested-event": first(command=Command.CMD_REG_EVENT),
    "data-out-of-nothing": first(command=Command.CMD_DATA),
    "an-announcement-out-of-nothing": first(command=Command.CMD_PREPARE_DATA, data=bytes(8)),
    "without-data": first(data=b""),
    "with-half-the-data": of_first(lambda frame: replace(frame, data=frame.data[: len(frame.data) // 2])),
    "with-more-data": of_first(lambda frame: replace(frame, data=frame.data + bytes(3))),
    "doubled": lambda frames: [frames[0], *frames],
    "with-what-follows-doubled": lambda frames: [*frames, *frames],
    "without-what-follows": lambda frames: frames[:1],
    "after-an-empty-acknowledgement": lambda frames: [replace(frames[0], command=2000, data=b""), *frames],
}


@pytest.mark.parametrize("change", WRONG_FRAMES)
@over_commands
@over_protocols
def test_an_answer_to_another_question(settle: Settle, protocol: Protocol, command: Command, change: str) -> None:
    faults = ChangeAnswers(command, WRONG_FRAMES[change])
    outcome = outcome_under(faults, some_terminal(), protocol, timeout=BRIEF)
    settle(outcome, outcome_of_answers(change, command, protocol, is_once=False))


@pytest.mark.parametrize("change", WRONG_FRAMES)
@over_commands
@over_protocols
def test_one_answer_to_another_question(settle: Settle, protocol: Protocol, command: Command, change: str) -> None:
    faults = AtFirst(ChangeAnswers(command, WRONG_FRAMES[change], times=1))
    outcome = outcome_under(faults, some_terminal("8"), protocol, timeout=0.2)
    settle(outcome, outcome_of_answers(change, command, protocol, is_once=True))
