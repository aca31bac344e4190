"""Fault matrix, tables: sizes that do not agree, records that cannot be, logs that move while they are read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.faults import AtFirst, ChangeAnswers, Faults
from zk_pipeline.simulator.line_faults import SmallPackets
from zk_pipeline.simulator.protocol import Command, Frame
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_judge import BRIEF, RIGHT, WAITING, outcome_of, read, switched_on, verdict
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES, USERS, MatrixTerminal, Meanwhile

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
LOG, USER_LIST = bytes.fromhex("010d00"), bytes.fromhex("010900")  # how the requests for the two tables begin
LOSS, VIOLATION, REFUSAL, SILENCE = "incomplete_transfer", "protocol_violation", "refuses_protocol", "no_answer"

Change = Callable[[list[Frame]], list[Frame]]

over_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape}-bytes")
at_once_or_in_parts = pytest.mark.parametrize("is_inline", [True, False], ids=["at-once", "in-parts"])
once_or_always = pytest.mark.parametrize("is_once", [True, False], ids=["once", "always"])


def terminal_of(shape: str, *, is_inline: bool) -> MatrixTerminal:
    return MatrixTerminal(SHAPES[shape], SHAPES[shape].inline if is_inline else SHAPES[shape].in_parts)


def outcome_under(faults: Faults, terminal: MatrixTerminal, protocol: Protocol, timeout: float = 1.0) -> str:
    with switched_on(terminal, faults, protocol) as (_, device):
        return outcome_of(terminal, device, timeout=timeout)


# What the table's own first four bytes, or the announcement before it, say too much or too little, in bytes.
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
    settle(outcome, {RIGHT} if is_once else {LOSS})


@pytest.mark.parametrize("error", SIZE_ERRORS)
@over_shapes
@over_protocols
def test_an_announced_size_that_is_wrong(settle: Settle, protocol: Protocol, shape: str, error: str) -> None:
    """Too much is refused by the terminal, which has no such part; gigabytes by us."""
    fault = ChangeAnswers(Command.CMD_DATA_WRRQ, announced(_bytes(error, shape)), LOG)
    outcome = outcome_under(fault, terminal_of(shape, is_inline=False), protocol)
    settle(outcome, {LOSS, REFUSAL, VIOLATION})


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
    # Over UDP a loss is taken for granted and asked for again: smaller, so that in the end it is not short.
    settle(outcome, {RIGHT} if is_once else {LOSS, VIOLATION})


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


@pytest.mark.parametrize("falsehood", FALSIFIED)
@at_once_or_in_parts
@over_shapes
@over_protocols
def test_a_table_that_is_not_what_the_terminal_counts(
    settle: Settle, protocol: Protocol, shape: str, is_inline: bool, falsehood: str
) -> None:
    """Every size in it agrees with every other: only the terminal's own counter tells."""
    terminal = terminal_of(shape, is_inline=is_inline)
    terminal.alter = lambda log: FALSIFIED[falsehood](log, SHAPES[shape].size)
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), {LOSS})


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
    """They are set aside byte for byte, or kept as often as they come; the good ones lose nothing."""
    terminal = MatrixTerminal(SHAPES[shape], 10 if is_inline else SHAPES[shape].in_parts)
    for _ in range(4):
        ODD_RECORDS[odd](terminal)
        terminal.punches_on(1)
    with switched_on(terminal, None, protocol) as (_, device):
        reading = read(device)
    assert len(reading.rejected) == (0 if odd == "the-last-again" else 4)
    settle(verdict(reading, terminal), {RIGHT})


@pytest.mark.parametrize("odd", ["of-zeros", "of-FF"])
@over_shapes
@over_protocols
def test_a_log_of_odd_records_only(settle: Settle, protocol: Protocol, shape: str, odd: str) -> None:
    terminal = MatrixTerminal(SHAPES[shape], 0)
    for _ in range(12):
        ODD_RECORDS[odd](terminal)
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), {RIGHT})


def _counting(records: int) -> Change:
    return lambda frames: [
        replace(frames[0], data=frames[0].data[:32] + struct.pack("<i", records) + frames[0].data[36:])
    ]


@dataclass(frozen=True)
class Counting:
    """What becomes of the answer to the request for the counters, and of the reading."""

    change: Change
    outcome: str
    times: float = 1000


COUNTERS = {
    "always-0": Counting(_counting(0), RIGHT),
    "0-at-first": Counting(_counting(0), RIGHT, times=1),
    "one-too-few": Counting(_counting(19), LOSS),
    "one-too-many": Counting(_counting(21), LOSS),
    "below-0": Counting(_counting(-1), VIOLATION),
    "millions": Counting(_counting(2**31 - 1), LOSS),
    "cut-after-76-bytes": Counting(lambda frames: [replace(frames[0], data=frames[0].data[:76])], VIOLATION),
    "empty": Counting(lambda frames: [replace(frames[0], data=b"")], VIOLATION),
    "in-two-frames": Counting(
        lambda frames: [replace(frames[0], data=frames[0].data[:40]), replace(frames[0], data=frames[0].data[40:])],
        VIOLATION,
    ),
}


@pytest.mark.parametrize("counter", COUNTERS)
@over_shapes
@over_protocols
def test_counters_that_are_wrong(settle: Settle, protocol: Protocol, shape: str, counter: str) -> None:
    case = COUNTERS[counter]
    terminal = terminal_of(shape, is_inline=True)
    outcome = outcome_under(
        ChangeAnswers(Command.CMD_GET_FREE_SIZES, case.change, times=case.times), terminal, protocol
    )
    # Without a counter the two ways of writing 8 bytes may read like one of 16: then neither is chosen.
    is_ambiguous = shape == "8-MA300" and counter == "always-0"
    settle(outcome, {case.outcome, VIOLATION} if is_ambiguous else {case.outcome})


def _users(size: int, change: Callable[[bytes, int], bytes]) -> Change:
    """The user list, sent at once, changed; its size follows."""

    def rewritten(frames: list[Frame]) -> list[Frame]:
        users = change(frames[0].data[4:], size)
        return [replace(frames[0], data=len(users).to_bytes(4, "little") + users)]

    return rewritten


USER_LISTS: dict[str, Callable[[int], Change]] = {
    "refused": lambda _: lambda frames: [replace(frames[0], command=Command.CMD_ACK_ERROR, data=b"")],
    "unanswered": lambda _: lambda _: [],
    "empty": lambda size: _users(size, lambda _, __: b""),
    "without-a-size": lambda _: lambda frames: [replace(frames[0], data=b"")],
    "one-user-short": lambda size: _users(size, lambda users, size: users[:-size]),
    "cut-in-a-user": lambda size: _users(size, lambda users, _: users[:-5]),
    "with-a-size-too-small": lambda size: lambda frames: [declared(-size)(frames)[0]],
}


@pytest.mark.parametrize("users", USER_LISTS)
@over_shapes
@over_protocols
def test_a_user_list_that_is_not_to_be_had(settle: Settle, protocol: Protocol, shape: str, users: str) -> None:
    """A uid is never taken for a user id: 8-byte punches wait. What is half a list fails as a whole."""
    terminal = terminal_of(shape, is_inline=True)
    change = USER_LISTS[users](terminal.definition.user_record_size)
    outcome = outcome_under(ChangeAnswers(Command.CMD_DATA_WRRQ, change, USER_LIST), terminal, protocol, BRIEF)
    if users in ("refused", "unanswered", "empty", "without-a-size"):
        settle(outcome, {WAITING if terminal.shape.base == 8 else RIGHT})
    else:
        settle(outcome, {LOSS})


REQUESTS = range(11)  # of a reading whose tables come at once; the last is past its end


@pytest.mark.parametrize("number", REQUESTS)
@over_shapes
@over_protocols
def test_a_punch_that_lands_between_two_requests(settle: Settle, protocol: Protocol, shape: str, number: int) -> None:
    terminal = terminal_of(shape, is_inline=True)
    settle(outcome_under(Meanwhile(number, lambda: terminal.punches_on(1)), terminal, protocol), {RIGHT})


@pytest.mark.parametrize("number", REQUESTS)
@over_shapes
@over_protocols
def test_a_log_cleared_between_two_requests(settle: Settle, protocol: Protocol, shape: str, number: int) -> None:
    """Where it happened during the transfer a second attempt finds the empty log."""
    terminal = terminal_of(shape, is_inline=True)
    settle(outcome_under(Meanwhile(number, terminal.clear_log), terminal, protocol), {RIGHT})


@pytest.mark.parametrize("number", REQUESTS)
@over_shapes
@over_protocols
def test_a_full_log_that_wraps_between_two_requests(
    settle: Settle, protocol: Protocol, shape: str, number: int
) -> None:
    """Its counter stays the same while the oldest record gives way to a new one."""
    records = SHAPES[shape].inline
    terminal = MatrixTerminal(SHAPES[shape], records, record_capacity=records)
    settle(outcome_under(Meanwhile(number, lambda: terminal.punches_on(3)), terminal, protocol), {RIGHT})


@at_once_or_in_parts
@over_shapes
@over_protocols
def test_a_log_that_was_cleared_and_goes_on(settle: Settle, protocol: Protocol, shape: str, is_inline: bool) -> None:
    terminal = terminal_of(shape, is_inline=is_inline)
    terminal.clear_log()
    terminal.punches_on(3)
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), {RIGHT})


@pytest.mark.parametrize("is_numbered", [True, False], ids=["numbered", "unnumbered"])
@over_shapes
@over_protocols
def test_small_packets_while_punches_land(settle: Settle, protocol: Protocol, shape: str, is_numbered: bool) -> None:
    terminal = MatrixTerminal(SHAPES[shape], 4_000 // SHAPES[shape].size)
    fault = AtFirst(SmallPackets(1008, is_numbered, then=Meanwhile(9, lambda: terminal.punches_on(2))))
    settle(outcome_under(fault, terminal, protocol), {RIGHT})


def test_the_user_list_comes_at_once_as_these_tests_assume() -> None:
    assert len(USERS) * 72 + 4 <= 1016
