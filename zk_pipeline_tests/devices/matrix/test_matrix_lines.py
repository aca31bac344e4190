"""Fault matrix, network: fragments, pauses, losses. The reading is complete, or the error is named."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.faults import AtFirst, Faults
from zk_pipeline.simulator.terminal.network_faults import (
    BadLine,
    Fate,
    LateAnswers,
    Segments,
    SmallPackets,
    random_fates,
)
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.devices.matrix.conftest import Settle
from zk_pipeline_tests.devices.matrix.matrix_axes import numbered_or_not, over_commands, over_protocols, over_shapes
from zk_pipeline_tests.devices.matrix.matrix_judge import (
    BRIEF,
    RIGHT,
    UNLISTED,
    Timing,
    outcome_of,
    outcome_under,
    switched_on,
)
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES, MatrixTerminal

RECORDS = ["no-records", "one-record", "records-at-once", "records-in-parts"]


@pytest.mark.parametrize("records", RECORDS)
@over_shapes
@over_protocols
def test_a_healthy_terminal(settle: Settle, protocol: Protocol, shape: str, records: str) -> None:
    sizes = dict(zip(RECORDS, (0, 1, SHAPES[shape].inline, SHAPES[shape].in_parts), strict=True))
    terminal = MatrixTerminal(SHAPES[shape], sizes[records])
    with switched_on(terminal, None, protocol) as (_, device):
        settle(outcome_of(terminal, device), RIGHT)


@numbered_or_not
@over_shapes
@over_protocols
def test_packets_of_1008_bytes_in_bunches(settle: Settle, protocol: Protocol, shape: str, is_numbered: bool) -> None:
    """Segments of 2,600 bytes, which split the third packet or its header."""
    terminal = MatrixTerminal(SHAPES[shape], SHAPES[shape].in_parts)
    bunches = SmallPackets(1008, is_numbered, then=Segments(2_600, 0.0) if protocol == "tcp" else Faults())
    with switched_on(terminal, bunches, protocol) as (_, device):
        settle(outcome_of(terminal, device), RIGHT)


@pytest.mark.parametrize("segment_bytes", [7, 8, 17, 60])
@over_shapes
def test_every_answer_split_over_segments(settle: Settle, shape: str, segment_bytes: int) -> None:
    """Including the packet of the counters, of 108 bytes."""
    terminal = MatrixTerminal(SHAPES[shape], 3)
    with switched_on(terminal, Segments(segment_bytes, 0.0005), "tcp") as (_, device):
        settle(outcome_of(terminal, device), RIGHT)


@over_protocols
def test_a_slow_drip(settle: Settle, protocol: Protocol) -> None:
    """Each segment arrives within the timeout, the whole log never within the deadline."""
    terminal = MatrixTerminal(SHAPES["40"], SHAPES["40"].in_parts)
    with switched_on(terminal, Segments(10, 0.02), protocol) as (_, device):
        settle(outcome_of(terminal, device, deadline=0.8), "deadline_exceeded")


PACKETS = range(28)  # of the reading of a log in three data packets; the last one is past its end
OF_USER_LIST = (14, 15)  # the list itself and the counters after it
ONE_FATE = {"lost": Fate.LOST, "doubled": Fate.DOUBLED, "overtaken": Fate.OVERTAKEN}


def one_packet(number: int, fate: Fate) -> BadLine:
    return BadLine(lambda each: fate if each == number else Fate.ARRIVES)


@pytest.mark.parametrize("number", PACKETS)
@pytest.mark.parametrize("fate", ONE_FATE)
@over_protocols
def test_one_packet_lost_doubled_or_overtaken(settle: Settle, protocol: Protocol, fate: str, number: int) -> None:
    """Repaired over UDP by a resent request, otherwise on a new connection. A timeout of the user list is final."""
    terminal = MatrixTerminal(SHAPES["16"], 190)
    with switched_on(terminal, one_packet(number, ONE_FATE[fate]), protocol) as (_, device):
        outcome = outcome_of(terminal, device, timeout=0.2)
    is_silent = protocol == "tcp" and number in OF_USER_LIST and fate != "doubled"
    settle(outcome, UNLISTED if is_silent else RIGHT)


# Each request is sent three times and each reading tried three times, which compensates for a few lost datagrams, but
# not for nine in ten, with which the session is seldom opened.
SLOW = "an answer that the machine is slow with is asked for again, which moves the losses to other datagrams"
LOSSES: dict[float, str | Timing] = {
    0.01: RIGHT,
    0.05: Timing((RIGHT, "no_answer"), SLOW),
    0.3: Timing(("no_answer", "incomplete_transfer"), SLOW),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3], ids=lambda share: f"{share:.0%}-each")
@over_shapes
def test_a_line_that_loses_doubles_and_reorders_datagrams(settle: Settle, shape: str, share: float, seed: int) -> None:
    terminal = MatrixTerminal(SHAPES[shape], 2_000 // SHAPES[shape].size * 4)
    line = BadLine(random_fates(seed, lost=share, doubled=share, overtaken=share))
    with switched_on(terminal, line, "udp") as (_, device):
        outcome = outcome_of(terminal, device, timeout=0.09, deadline=4)
    settle(outcome, LOSSES[share])


@over_commands
@over_protocols
def test_one_answer_later_than_the_timeout(settle: Settle, protocol: Protocol, command: Command) -> None:
    terminal = MatrixTerminal(SHAPES["40"], SHAPES["40"].in_parts)
    with switched_on(terminal, LateAnswers(0.3, command, times=1), protocol) as (_, device):
        settle(outcome_of(terminal, device, timeout=0.2), RIGHT)


@over_commands
@over_protocols
def test_answers_always_later_than_the_timeout(settle: Settle, protocol: Protocol, command: Command) -> None:
    terminal = MatrixTerminal(SHAPES["40"], SHAPES["40"].in_parts)
    with switched_on(terminal, LateAnswers(3 * BRIEF, command), protocol) as (_, device):
        outcome = outcome_of(terminal, device, timeout=BRIEF)
    settle(outcome, RIGHT if command in (Command.CMD_FREE_DATA, Command.CMD_EXIT) else "no_answer")


@over_shapes
@over_protocols
def test_a_first_connection_that_loses_everything(settle: Settle, protocol: Protocol, shape: str) -> None:
    terminal = MatrixTerminal(SHAPES[shape], SHAPES[shape].inline)
    nothing = AtFirst(BadLine(lambda number: Fate.LOST if number > 0 else Fate.ARRIVES))
    with switched_on(terminal, nothing, protocol) as (_, device):
        settle(outcome_of(terminal, device, timeout=0.3), RIGHT)


@pytest.mark.parametrize(
    ("protocol", "is_numbered"),
    [("udp", True), ("udp", False), ("tcp", True)],
    ids=["udp-numbered", "udp-unnumbered", "tcp-numbered"],
)
@pytest.mark.parametrize("number", [11, 12])
def test_swapped_packets_of_one_part(settle: Settle, protocol: Protocol, is_numbered: bool, number: int) -> None:
    """A firmware fault on TCP, not a network fault; not detectable there without packet numbers, so not tested."""
    terminal = MatrixTerminal(SHAPES["16"], 300)
    swapped = AtFirst(SmallPackets(1008, is_numbered, then=one_packet(number, Fate.OVERTAKEN)))
    settle(outcome_under(swapped, terminal, protocol, timeout=0.3), RIGHT)
