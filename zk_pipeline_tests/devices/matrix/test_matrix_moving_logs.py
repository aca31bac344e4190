"""Fault matrix, logs that change during a reading: the result is the log of one moment, complete and in order."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import AtFirst
from zk_pipeline.simulator.terminal.network_faults import SmallPackets
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import (
    at_once_or_in_parts,
    numbered_or_not,
    over_protocols,
    over_shapes,
)
from zk_pipeline_tests.devices.matrix.matrix_judge import (
    RIGHT,
    outcome_of,
    outcome_under,
    switched_on,
)
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES, EventBeforeAnswer, MatrixTerminal, terminal_of

REQUESTS = range(11)  # of a reading whose tables are sent at once; the last is past its end


@pytest.mark.parametrize("number", REQUESTS)
@over_shapes
@over_protocols
def test_a_punch_that_lands_between_two_requests(settle: Settle, protocol: Protocol, shape: str, number: int) -> None:
    terminal = terminal_of(shape, is_inline=True)
    settle(outcome_under(EventBeforeAnswer(number, lambda: terminal.punches_on(1)), terminal, protocol), RIGHT)


@pytest.mark.parametrize("number", REQUESTS)
@over_shapes
@over_protocols
def test_a_log_cleared_between_two_requests(settle: Settle, protocol: Protocol, shape: str, number: int) -> None:
    """If it happens during the transfer, a second attempt reads the empty log."""
    terminal = terminal_of(shape, is_inline=True)
    settle(outcome_under(EventBeforeAnswer(number, terminal.clear_log), terminal, protocol), RIGHT)


@pytest.mark.parametrize("number", REQUESTS)
@over_shapes
@over_protocols
def test_a_full_log_that_wraps_between_two_requests(
    settle: Settle, protocol: Protocol, shape: str, number: int
) -> None:
    """The counter stays the same while a new record replaces the oldest."""
    records = SHAPES[shape].inline
    terminal = MatrixTerminal(SHAPES[shape], records, record_capacity=records)
    settle(outcome_under(EventBeforeAnswer(number, lambda: terminal.punches_on(3)), terminal, protocol), RIGHT)


@at_once_or_in_parts
@over_shapes
@over_protocols
def test_a_log_that_was_cleared_and_goes_on(settle: Settle, protocol: Protocol, shape: str, is_inline: bool) -> None:
    terminal = terminal_of(shape, is_inline=is_inline)
    terminal.clear_log()
    terminal.punches_on(3)
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), RIGHT)


@numbered_or_not
@over_shapes
@over_protocols
def test_small_packets_while_punches_land(settle: Settle, protocol: Protocol, shape: str, is_numbered: bool) -> None:
    terminal = MatrixTerminal(SHAPES[shape], 4_000 // SHAPES[shape].size)
    fault = AtFirst(SmallPackets(1008, is_numbered, then=EventBeforeAnswer(9, lambda: terminal.punches_on(2))))
    settle(outcome_under(fault, terminal, protocol), RIGHT)
