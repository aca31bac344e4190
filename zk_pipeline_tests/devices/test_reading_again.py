"""Retries: a failed reading is repeated on a new connection, a refused one is not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import CorruptData, Faults, HangAt, RefuseCommand
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
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
    udp_only,
)

PROTOCOLS: list[Protocol] = ["tcp", "udp"]


@dataclass
class OnFirst(Faults):
    """Has faults on the first connections, then none."""

    faults: Faults
    connections: int

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == Command.CMD_CONNECT:
            self.connections -= 1
        faults = self.faults if self.connections >= 0 else Faults()
        await faults.deliver(request, answer, connection)


def declares_less(frames: list[Frame]) -> list[Frame]:
    return [frames[0], replace(frames[1], data=bytes(4) + frames[1].data[4:]), *frames[2:]]


WHOLE_FAILURES: dict[str, tuple[Faults, type[errors.TerminalError]]] = {
    "incomplete": (Rewrite(Command.CMD_DATA_RDY, declares_less), errors.IncompleteTransfer),
    "violated": (CorruptData(100), errors.ProtocolViolation),
    "silent": (HangAt(Command.CMD_DATA_RDY), errors.NoAnswer),
    "silent from the start": (HangAt(Command.CMD_CONNECT), errors.NoAnswer),
}


@pytest.mark.parametrize("case", WHOLE_FAILURES)
@pytest.mark.parametrize("connections", [1, 2])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_fails_once_or_twice_is_read_in_the_end(protocol: Protocol, connections: int, case: str) -> None:
    emulated = terminal(16, records=500)
    with serving(emulated, OnFirst(WHOLE_FAILURES[case][0], connections), protocol=protocol) as one:
        assert same_punches(gateway(timeout=0.2).read(one).punches, emulated.punches())


@pytest.mark.parametrize("case", WHOLE_FAILURES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_lasting_failure_ends_the_reading_after_the_third_connection(protocol: Protocol, case: str) -> None:
    faults, failure = WHOLE_FAILURES[case]
    watched = Watched(faults)
    with serving(terminal(16, records=500), watched, protocol=protocol) as one, pytest.raises(failure):
        gateway(timeout=0.2).read(one)
    assert watched.count(Command.CMD_CONNECT) == 3


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_refusal_is_not_retried(protocol: Protocol) -> None:
    watched = Watched(RefuseCommand(Command.CMD_DATA_WRRQ))
    with serving(terminal(), watched, protocol=protocol) as one, pytest.raises(errors.UnsupportedCommand):
        gateway().read(one)
    assert watched.count(Command.CMD_CONNECT) == 1


def test_a_wrong_comm_key_is_tried_once() -> None:
    watched = Watched()
    with serving(terminal(comm_key=7), watched) as one, pytest.raises(errors.WrongCommKey):
        gateway(comm_key=8).read(one)
    assert watched.count(Command.CMD_CONNECT) == 1


def test_another_terminal_is_not_retried() -> None:
    watched = Watched()
    with serving(terminal(), watched) as one, pytest.raises(errors.SerialChanged):
        gateway().read(replace(one, serial_number="OLD1"))
    assert watched.count(Command.CMD_CONNECT) == 1


def test_a_terminal_that_takes_no_second_connection_does_not_hide_why_the_first_one_failed() -> None:
    class TakesOne(CorruptData):
        taken = 0

        def accepts(self) -> bool:
            self.taken += 1
            return self.taken == 1

    with serving(terminal(), TakesOne(4)) as one, pytest.raises(errors.ProtocolViolation, match="checksum"):
        gateway().read(one)


def test_no_reading_is_tried_again_after_the_deadline() -> None:
    with serving(terminal(40, records=500), HangAt(Command.CMD_DATA_WRRQ)) as one:
        started = time.monotonic()
        with pytest.raises(errors.NoAnswer):
            gateway(timeout=0.3, deadline=0.45).read(one)
        assert time.monotonic() - started < 2


def test_bytes_of_failed_attempts_are_counted() -> None:
    emulated = terminal(16, records=500)
    with serving(emulated, OnFirst(Rewrite(Command.CMD_DATA_RDY, declares_less), 2)) as one:
        assert gateway().read(one).bytes_read > 3 * 8000


def test_a_lost_connection_before_the_log_keeps_the_next_attempt_short() -> None:
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:
        one = device(fleet.port_of(NAME))
        full = gateway().read(one)
        fleet.call(lambda: emulated.punch("1000"))
        fleet.inject(NAME, CutAt(Command.CMD_GET_VERSION, times=1))
        assert gateway().read(one, full.position).mode == "incremental"
        fleet.inject(NAME, CutAt(Command.CMD_DATA_WRRQ, times=1))
        assert gateway().read(one, full.position).mode == "full"


def remembering(port: int, transport: str | None) -> Device:
    return replace(device(port, "auto"), last_transport=transport)  # type: ignore[arg-type]


@pytest.mark.parametrize(("remembered", "used"), [(None, "tcp"), ("tcp", "tcp"), ("udp", "udp")])
def test_the_transport_that_worked_last_is_tried_first(remembered: str | None, used: str) -> None:
    emulated = terminal()
    with Fleet.serve([emulated]) as fleet:
        assert gateway().read(remembering(fleet.port_of(NAME), remembered)).info.transport == used


def test_where_the_remembered_transport_is_gone_the_other_one_is_used() -> None:
    emulated = terminal()
    with Fleet.serve([emulated]) as fleet, udp_only(fleet.port_of(NAME)) as port:
        assert gateway().read(remembering(port, "tcp")).info.transport == "udp"
    with Fleet.serve([emulated]) as fleet:
        fleet.inject(NAME, SilentOverUdp())
        assert gateway(timeout=0.2).read(remembering(fleet.port_of(NAME), "udp")).info.transport == "tcp"


class SilentOverUdp(Faults):
    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if len(connection.frame(answer[0])) != len(answer[0].encode()):  # only TCP frames have a header
            await super().deliver(request, answer, connection)


def test_a_terminal_that_is_only_on_udp_survives_a_lost_datagram_at_the_start() -> None:
    emulated = terminal()
    with Fleet.serve([emulated]) as fleet, udp_only(fleet.port_of(NAME)) as port:
        fleet.inject(NAME, Rewrite(Command.CMD_CONNECT, lambda _: [], times=1))
        assert gateway(timeout=0.3).read(remembering(port, "udp")).info.transport == "udp"


def test_attempts_share_one_deadline() -> None:
    """Each call of this clock takes a second; a single attempt would fit into the deadline."""

    def looks(reading: Callable[[Clock], object]) -> int:
        seconds = itertools.count()
        reading(Clock(monotonic=lambda: float(next(seconds))))
        return next(seconds)

    with serving(terminal(40, records=500)) as one:
        needed = looks(lambda clock: replace(gateway(deadline=10_000), clock=clock).read(one))
    assert needed > 10
    watched = Watched(CorruptData(100))
    with serving(terminal(40, records=500), watched) as one, pytest.raises(errors.ProtocolViolation):
        looks(lambda clock: replace(gateway(deadline=needed), clock=clock).read(one))
    assert watched.count(Command.CMD_CONNECT) < 3
