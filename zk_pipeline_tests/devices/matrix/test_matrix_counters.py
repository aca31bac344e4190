"""Fault matrix, counters and user lists: verification of the log, and users of 8-byte records."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import ChangeAnswers
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import USER_LIST, VIOLATION, over_protocols, over_shapes
from zk_pipeline_tests.devices.matrix.matrix_judge import (
    BRIEF,
    RIGHT,
    UNCOUNTED,
    UNLISTED,
    WAITING,
    outcome_under,
)
from zk_pipeline_tests.devices.matrix.matrix_terminals import USERS, terminal_of

Change = Callable[[list[Frame]], list[Frame]]


def _counting(records: int) -> Change:
    return lambda frames: [
        replace(frames[0], data=frames[0].data[:32] + struct.pack("<i", records) + frames[0].data[36:])
    ]


@dataclass(frozen=True)
class Counting:
    """Changed answers to the request for the counters, and the outcome of the reading."""

    change: Change
    outcome: str
    times: float = 1000


COUNTERS = {
    "always-0": Counting(_counting(0), RIGHT),
    "0-at-first": Counting(_counting(0), RIGHT, times=1),
    "one-too-few": Counting(_counting(19), UNCOUNTED),
    "one-too-many": Counting(_counting(21), UNCOUNTED),
    "below-0": Counting(_counting(-1), VIOLATION),
    "millions": Counting(_counting(2**31 - 1), UNCOUNTED),
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
    settle(outcome, case.outcome)


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
    "with-a-size-too-small": lambda size: (
        lambda frames: [
            replace(frames[0], data=(len(frames[0].data) - 4 - size).to_bytes(4, "little") + frames[0].data[4:])
        ]
    ),
}


@pytest.mark.parametrize("users", USER_LISTS)
@over_shapes
@over_protocols
def test_a_user_list_that_is_not_to_be_had(settle: Settle, protocol: Protocol, shape: str, users: str) -> None:
    """A uid is never used as a user id: 8-byte punches wait. A partial list is not used."""
    terminal = terminal_of(shape, is_inline=True)
    change = USER_LISTS[users](terminal.definition.user_record_size)
    outcome = outcome_under(ChangeAnswers(Command.CMD_DATA_WRRQ, change, USER_LIST), terminal, protocol, timeout=BRIEF)
    settle(outcome, WAITING if terminal.shape.base == 8 else UNLISTED)


def test_the_user_list_comes_at_once_as_these_tests_assume() -> None:
    assert len(USERS) * 72 + 4 <= 1016
