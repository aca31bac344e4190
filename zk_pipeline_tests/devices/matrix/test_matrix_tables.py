"""Fault matrix, tables: contradictory sizes, impossible records, logs that change during a reading."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import ChangeAnswers, Faults
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import (
    LOG,
    LOSS,
    REFUSAL,
    UNTOLD,
    VIOLATION,
    at_once_or_in_parts,
    once_or_always,
    over_protocols,
    over_shapes,
)
from zk_pipeline_tests.devices.matrix.matrix_judge import (
    RIGHT,
    UNCOUNTED,
    WRONG,
    outcome_of,
    outcome_under,
    read,
    switched_on,
    verdict,
)
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES, MatrixTerminal, terminal_of

Change = Callable[[list[Frame]], list[Frame]]

# Error of the size in the table's first four bytes, or in the announcement before it, in bytes.
SIZE_ERRORS = {"a-record-less": -1, "a-record-more": 1, "three-bytes-less": -3, "gigabytes-more": 1 << 31}


def declared(by: int) -> Change:
    """The size in front of the records changed."""

    def change(frames: list[Frame]) -> list[Frame]:
        at = next(index for index, frame in enumerate(frames) if frame.command == Command.CMD_DATA)
        size = int.from_bytes(frames[at].data[:4], "little") + by & 0xFFFFFFFF
        frame = replace(frames[at], data=size.to_bytes(4, "little") + frames[at].data[4:])
        return [*frames[:at], frame, *frames[at + 1 :]]

    return change


def announced(by: int) -> Change:
    """The size in the acknowledgement of the snapshot changed."""

    def change(frames: list[Frame]) -> list[Frame]:
        zero, size, *rest = struct.unpack("<BIII", frames[0].data)
        return [replace(frames[0], data=struct.pack("<BIII", zero, size + by & 0xFFFFFFFF, *rest))]

    return change


def _bytes(error: str, shape: str) -> int:
    return SIZE_ERRORS[error] * (SHAPES[shape].size if "record" in error else 1)


@once_or_always
@pytest.mark.parametrize("error", SIZE_ERRORS)
@at_once_or_in_parts
@over_shapes
@over_protocols
def test_a_declared_size_that_is_wrong(
    settle: Settle, protocol: Protocol, shape: str, *, is_inline: bool, error: str, is_once: bool
) -> None:
    command, prefix = (Command.CMD_DATA_WRRQ, LOG) if is_inline else (Command.CMD_DATA_RDY, bytes(4))
    fault: Faults = ChangeAnswers(command, declared(_bytes(error, shape)), prefix, 1 if is_once else 100)
    outcome = outcome_under(fault, terminal_of(shape, is_inline=is_inline), protocol)
    settle(outcome, RIGHT if is_once else LOSS)


ANNOUNCED = {
    "a-record-less": LOSS,
    "a-record-more": REFUSAL,
    "three-bytes-less": LOSS,
    "gigabytes-more": VIOLATION,
}


@pytest.mark.parametrize("error", SIZE_ERRORS)
@over_shapes
@over_protocols
def test_an_announced_size_that_is_wrong(settle: Settle, protocol: Protocol, shape: str, error: str) -> None:
    """The terminal refuses a part beyond its table; the client refuses gigabytes."""
    fault = ChangeAnswers(Command.CMD_DATA_WRRQ, announced(_bytes(error, shape)), LOG)
    outcome = outcome_under(fault, terminal_of(shape, is_inline=False), protocol)
    settle(outcome, ANNOUNCED[error])


def _without_last_bytes(count: int) -> Change:
    def change(frames: list[Frame]) -> list[Frame]:
        return [*frames[:-2], replace(frames[-2], data=frames[-2].data[:-count]), frames[-1]]

    return change


def _announcing_less(count: int) -> Change:
    def change(frames: list[Frame]) -> list[Frame]:
        size = int.from_bytes(frames[0].data[:4], "little") - count
        first = replace(frames[0], data=size.to_bytes(4, "little") + frames[0].data[4:])
        return [first, *_without_last_bytes(count)(frames)[1:]]

    return change


def _as_one_packet(count: int) -> Change:
    def change(frames: list[Frame]) -> list[Frame]:
        data = b"".join(frame.data for frame in frames[1:-1])
        return [replace(frames[0], command=Command.CMD_DATA, data=data[:-count])]

    return change


SHORT_PARTS = {
    "less-than-announced": _without_last_bytes,
    "as-announced": _announcing_less,
    "unannounced": _as_one_packet,
}


@once_or_always
@pytest.mark.parametrize("way", SHORT_PARTS)
@pytest.mark.parametrize("is_whole_record", [True, False], ids=["by-a-record", "by-a-byte"])
@over_shapes
@over_protocols
def test_a_short_part(
    settle: Settle, protocol: Protocol, shape: str, *, is_whole_record: bool, way: str, is_once: bool
) -> None:
    change = SHORT_PARTS[way](SHAPES[shape].size if is_whole_record else 1)
    fault: Faults = ChangeAnswers(Command.CMD_DATA_RDY, change, bytes(4), 1 if is_once else 100)
    outcome = outcome_under(fault, terminal_of(shape, is_inline=False), protocol)
    # Over UDP a short part is requested again, in smaller parts, so that in the end nothing is missing.
    settle(outcome, RIGHT if is_once else LOSS)


FALSIFIED: dict[str, Callable[[bytes, int], bytes]] = {
    "last-record-truncated": lambda log, size: log[: -(size // 2)],
    "last-byte-missing": lambda log, _: log[:-1],
    "last-record-missing": lambda log, size: log[:-size],
    "first-record-missing": lambda log, size: log[size:],
    "middle-record-missing": lambda log, size: log[: size * 7] + log[size * 8 :],
    "last-record-twice": lambda log, size: log + log[-size:],
    "one-byte-too-many": lambda log, _: log + b"\0",
    "nothing-in-it": lambda _, __: b"",
}


WHOLE_RECORDS = {"last-record-missing", "first-record-missing", "middle-record-missing", "last-record-twice"}


@pytest.mark.parametrize("falsehood", FALSIFIED)
@at_once_or_in_parts
@over_shapes
@over_protocols
def test_a_table_that_is_not_what_the_terminal_counts(
    settle: Settle, protocol: Protocol, shape: str, is_inline: bool, falsehood: str
) -> None:
    """All sizes agree; only the terminal's counter contradicts them. A log that is repeated is accepted, with a
    warning, if it consists of records.
    """
    terminal = terminal_of(shape, is_inline=is_inline)
    terminal.alter = lambda log: FALSIFIED[falsehood](log, SHAPES[shape].size)
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), UNCOUNTED if falsehood in WHOLE_RECORDS else LOSS)


def _zeros(terminal: MatrixTerminal) -> None:
    terminal.append_raw(bytes(terminal.shape.base))


def _ones(terminal: MatrixTerminal) -> None:
    terminal.append_raw(b"\xff" * terminal.shape.base)


def _twice(terminal: MatrixTerminal) -> None:
    terminal.append_raw(terminal.log_of_base()[-terminal.shape.base :])


ODD_RECORDS: dict[str, Callable[[MatrixTerminal], None]] = {
    "of-zeros": _zeros,
    "of-FF": _ones,
    "of-31-February": MatrixTerminal.append_impossible_date,
    "the-last-again": _twice,
}


@pytest.mark.parametrize("odd", ODD_RECORDS)
@at_once_or_in_parts
@over_shapes
@over_protocols
def test_odd_records_among_good_ones(settle: Settle, protocol: Protocol, shape: str, is_inline: bool, odd: str) -> None:
    """They are rejected with their bytes, or kept as often as received; the valid ones are unaffected."""
    terminal = MatrixTerminal(SHAPES[shape], 10 if is_inline else SHAPES[shape].in_parts)
    for _ in range(4):
        ODD_RECORDS[odd](terminal)
        terminal.punches_on(1)
    with switched_on(terminal, None, protocol) as (_, device):
        reading = read(device)
    assert len(reading.rejected) == (0 if odd == "the-last-again" else 4)
    settle(verdict(reading, terminal), RIGHT)


@pytest.mark.parametrize("odd", ["of-zeros", "of-FF"])
@over_shapes
@over_protocols
def test_a_log_of_odd_records_only(settle: Settle, protocol: Protocol, shape: str, odd: str) -> None:
    """They give no evidence of a layout; three valid ones after them do, and the impossible ones are rejected."""
    terminal = MatrixTerminal(SHAPES[shape], 0)
    for _ in range(12):
        ODD_RECORDS[odd](terminal)
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), UNTOLD)
        terminal.punches_on(3)
        assert outcome_of(terminal, device) == RIGHT


@over_shapes
def test_what_no_checksum_and_no_counter_can_tell_would_be_found_here(shape: str) -> None:
    """The matrix must detect wrong data, even if all answers of the terminal are consistent."""
    terminal = terminal_of(shape, is_inline=True)
    terminal.alter = lambda log: log[: SHAPES[shape].size] + log[: SHAPES[shape].size] + log[2 * SHAPES[shape].size :]
    with switched_on(terminal, None, "tcp") as (_, device):
        assert outcome_of(terminal, device) == WRONG
