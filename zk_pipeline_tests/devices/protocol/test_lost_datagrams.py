"""Lost, duplicated, swapped or late packets: a single fault is repaired, a lasting one ends in a named error."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.terminal_fixtures import (
    Rewrite,
    data_packets,
    gateway,
    same_punches,
    serving,
    terminal,
)

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
Change = Callable[[list[Frame]], list[Frame]]


def _swapped(frames: list[Frame]) -> list[Frame]:
    return [frames[0], frames[2], frames[1], *frames[3:]]


LOSSES: dict[str, Change] = {
    "announcement-lost": lambda frames: frames[1:],
    "packet-lost": lambda frames: [*frames[:2], *frames[3:]],
    "last-packet-lost": lambda frames: [*frames[:-2], frames[-1]],
    "acknowledgement-lost": lambda frames: frames[:-1],
    "everything-lost": lambda _: [],
    "packet-doubled": lambda frames: [*frames[:2], frames[1], *frames[2:]],
    "everything-doubled": lambda frames: [frame for frame in frames for _ in range(2)],
    "lost-and-doubled": lambda frames: [frames[0], frames[1], frames[1], *frames[3:]],
    "swapped": _swapped,
    "acknowledged-too-early": lambda frames: [frames[-1], *frames[:-1]],
}


def _losing(case: str, *, numbered: bool, times: int) -> Rewrite:
    cut, left = data_packets(1008, numbered=numbered), [times]

    def change(frames: list[Frame]) -> list[Frame]:
        frames = cut(frames)
        if left[0] <= 0 or len(frames) < 5:
            return frames
        left[0] -= 1
        return LOSSES[case](frames)

    return Rewrite(Command.CMD_DATA_RDY, change)


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "unnumbered"])
@pytest.mark.parametrize("case", LOSSES)
def test_a_datagram_lost_doubled_or_swapped_is_made_good(case: str, numbered: bool) -> None:
    emulated = terminal(16, records=1200)
    with serving(emulated, _losing(case, numbered=numbered, times=1), protocol="udp") as one:
        assert same_punches(gateway(timeout=0.3).read(one).punches, emulated.punches())


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "unnumbered"])
@pytest.mark.parametrize("case", LOSSES)
def test_datagrams_that_are_always_lost_never_make_wrong_data(case: str, numbered: bool) -> None:
    emulated = terminal(16, records=1200)
    with serving(emulated, _losing(case, numbered=numbered, times=10**9), protocol="udp") as one:
        try:
            punches = gateway(timeout=0.15).read(one).punches
        except (errors.NoAnswer, errors.IncompleteTransfer):
            return
    assert same_punches(punches, emulated.punches())


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_answer_later_than_the_timeout_is_not_taken_for_the_next_one(protocol: Protocol) -> None:
    """Every answer is sent twice, the second time after the next request."""

    class Echo(Faults):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            if before:
                await connection.send([connection.frame(frame) for frame in before.pop()])
            before.append(answer)
            await super().deliver(request, answer, connection)

    before: list[list[Frame]] = []
    emulated = terminal(40, records=3000)
    with serving(emulated, Echo(), protocol=protocol) as one:
        assert same_punches(gateway().read(one).punches, emulated.punches())
