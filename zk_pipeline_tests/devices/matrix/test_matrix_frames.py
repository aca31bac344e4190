"""Fault matrix, frames: bytes that change on their way, and answers to another question. None of them is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.faults import AtFirst, ChangeAnswers, CorruptAnswer, CorruptData, Faults
from zk_pipeline.simulator.protocol import Command, Frame
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_judge import BRIEF, RIGHT, outcome_of, switched_on
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES, MatrixTerminal

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
COMMANDS = [
    Command.CMD_CONNECT,
    Command.CMD_GET_TIME,
    Command.CMD_GET_FREE_SIZES,
    Command.CMD_OPTIONS_RRQ,
    Command.CMD_GET_VERSION,
    Command.CMD_DATA_WRRQ,
    Command.CMD_DATA_RDY,
    Command.CMD_FREE_DATA,
    Command.CMD_EXIT,
]
VIOLATION, SILENCE, LOSS, REFUSAL = "protocol_violation", "no_answer", "incomplete_transfer", "refuses_protocol"

over_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape}-bytes")
over_commands = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name[4:].lower())
once_or_always = pytest.mark.parametrize("is_once", [True, False], ids=["once", "always"])


def outcome_under(faults: Faults, protocol: Protocol, shape: str, records: int, timeout: float) -> str:
    terminal = MatrixTerminal(SHAPES[shape], records)
    with switched_on(terminal, faults, protocol) as (_, device):
        return outcome_of(terminal, device, timeout=timeout)


PLACES = {"command": 0, "checksum": 2, "session": 4, "reply-number": 6, "data": 8}


@once_or_always
@pytest.mark.parametrize("place", PLACES)
@over_commands
@over_protocols
def test_a_byte_that_changed_on_its_way(
    settle: Settle, protocol: Protocol, command: Command, place: str, is_once: bool
) -> None:
    corrupt = CorruptAnswer(command, PLACES[place])
    outcome = outcome_under(AtFirst(corrupt) if is_once else corrupt, protocol, "40", 100, 0.5)
    has_such_a_byte = place != "data" or command not in (Command.CMD_CONNECT, Command.CMD_FREE_DATA)
    is_harmless = is_once or command is Command.CMD_EXIT or not has_such_a_byte
    settle(outcome, {RIGHT} if is_harmless else {VIOLATION})


@pytest.mark.parametrize("offset", range(-8, 0))
@over_commands
def test_a_changed_byte_in_front_of_the_frame(settle: Settle, command: Command, offset: int) -> None:
    """In TCP's own four bytes and the length: the stream is out of step from there, or waits for what never comes."""
    outcome = outcome_under(CorruptAnswer(command, offset), "tcp", "40", 100, BRIEF)
    settle(outcome, {RIGHT} if command is Command.CMD_EXIT else {VIOLATION, SILENCE})


@pytest.mark.parametrize("offset", [0, 3, 4, 50, 119])
@pytest.mark.parametrize("is_inline", [True, False], ids=["records-at-once", "records-in-parts"])
@over_shapes
@over_protocols
def test_a_corrupted_byte_of_data(settle: Settle, protocol: Protocol, shape: str, is_inline: bool, offset: int) -> None:
    records = SHAPES[shape].inline if is_inline else SHAPES[shape].in_parts
    settle(outcome_under(CorruptData(offset), protocol, shape, records, 1.0), {VIOLATION})


Change = Callable[[list[Frame]], list[Frame]]


def first(**changes: object) -> Change:
    return lambda frames: [replace(frames[0], **changes), *frames[1:]]  # type: ignore[arg-type]


def of_first(change: Callable[[Frame], Frame]) -> Change:
    return lambda frames: [change(frames[0]), *frames[1:]]


# Each with a checksum that fits: only what it says is wrong.
WRONG_FRAMES: dict[str, Change] = {
    "of-another-session": of_first(lambda frame: replace(frame, session_id=frame.session_id ^ 1)),
    "to-a-later-request": of_first(lambda frame: replace(frame, reply_number=frame.reply_number + 1 & 0xFFFF)),
    "to-an-earlier-request": of_first(lambda frame: replace(frame, reply_number=frame.reply_number - 1 & 0xFFFF)),
    "to-one-long-ago": of_first(lambda frame: replace(frame, reply_number=frame.reply_number - 100 & 0xFFFF)),
    "of-an-unknown-kind": first(command=4711),
    "an-event-nobody-asked-for": first(command=Command.CMD_REG_EVENT),
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
    settle(outcome_under(faults, protocol, "40", 100, BRIEF), {RIGHT, VIOLATION, SILENCE, LOSS, REFUSAL})


@pytest.mark.parametrize("change", WRONG_FRAMES)
@over_commands
@over_protocols
def test_one_answer_to_another_question(settle: Settle, protocol: Protocol, command: Command, change: str) -> None:
    faults = AtFirst(ChangeAnswers(command, WRONG_FRAMES[change], times=1))
    settle(outcome_under(faults, protocol, "8", 400, 0.2), {RIGHT, REFUSAL})
