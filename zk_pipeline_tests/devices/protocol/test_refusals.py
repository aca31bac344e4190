"""Refused requests: transient refusals are retried, lasting ones are named by their answer code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from zk_pipeline.devices import errors
from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import Faults, RefuseCommand
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.terminal_fixtures import Rewrite, Watched, gateway, same_punches, serving, terminal

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
ASKED_FOR = [
    Command.CMD_CONNECT,
    Command.CMD_GET_TIME,
    Command.CMD_GET_FREE_SIZES,
    Command.CMD_DATA_WRRQ,
    Command.CMD_DATA_RDY,
]
LOG = b"\x01\x0d\x00"  # how a request for its snapshot begins
TRANSIENT = [2001, 2003, 2004]


@dataclass
class RefusesAtFirst(Faults):
    """Answers the first `times` requests of a command with `code`."""

    command: Command
    code: int
    times: int = 2

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command and self.times > 0:
            self.times -= 1
            answer = [Frame(self.code, answer[0].session_id, request.reply_number)]
        await super().deliver(request, answer, connection)


@dataclass
class Naps:
    """A clock that does not sleep, and records the pauses."""

    seconds: list[float] = field(default_factory=list)

    def clock(self) -> Clock:
        return Clock(sleep=self.seconds.append)


@pytest.mark.parametrize("code", TRANSIENT)
@pytest.mark.parametrize("command", ASKED_FOR)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_transient_refusal_is_retried(protocol: Protocol, command: Command, code: int) -> None:
    emulated, naps, watched = terminal(40, records=3000), Naps(), Watched(RefusesAtFirst(command, code))
    with serving(emulated, watched, protocol=protocol) as one:
        reading = gateway(clock=naps.clock()).read(one)
    assert same_punches(reading.punches, emulated.punches())
    assert (reading.users is None, reading.warnings) == (False, ())
    assert naps.seconds == [0.2, 0.6]
    assert watched.count(Command.CMD_EXIT) == 1  # all in one session


@pytest.mark.parametrize(
    ("command", "code", "failure", "advice"),
    [
        (Command.CMD_CONNECT, 2001, errors.TerminalBusy, "Another program is connected"),
        (Command.CMD_CONNECT, 2003, errors.TerminalBusy, "Another program is connected"),
        (Command.CMD_CONNECT, 6001, errors.UnsupportedCommand, "ask its vendor"),
        (Command.CMD_DATA_WRRQ, 2001, errors.UnsupportedCommand, "It may be busy: poll it again"),
        (Command.CMD_DATA_WRRQ, 2003, errors.TerminalBusy, "It is busy, or the network"),
        (Command.CMD_DATA_WRRQ, 0xFFFF, errors.UnsupportedCommand, "ask its vendor"),
        (Command.CMD_DATA_RDY, 2005, errors.TerminalBusy, "Another program is connected"),
    ],
)
def test_a_lasting_refusal_has_the_advice_for_its_answer(
    command: Command, code: int, failure: type[errors.TerminalError], advice: str
) -> None:
    with serving(terminal(40, records=3000), RefuseCommand(command, code)) as one, pytest.raises(failure) as raised:
        gateway().read(one)
    assert raised.value.code == failure.code
    assert f"the terminal answered {code}" in str(raised.value)
    assert advice in str(raised.value)


def test_a_permanent_refusal_is_not_retried() -> None:
    watched = Watched(RefuseCommand(Command.CMD_DATA_WRRQ, 0xFFFF))
    with serving(terminal(40), watched) as one, pytest.raises(errors.UnsupportedCommand):
        gateway().read(one)
    assert watched.count(Command.CMD_DATA_WRRQ) == 1


def test_pauses_end_before_the_deadline_and_the_refusal_is_reported() -> None:
    naps = Naps()
    with serving(terminal(40), RefuseCommand(Command.CMD_GET_TIME)) as one, pytest.raises(errors.UnsupportedCommand):
        gateway(deadline=0.5, clock=naps.clock()).read(one)
    assert naps.seconds == [0.2]


@pytest.mark.parametrize("command", [Command.CMD_GET_TIME, Command.CMD_OPTIONS_RRQ, Command.CMD_DATA_RDY])
def test_a_session_that_the_terminal_has_given_to_another_is_opened_again(command: Command) -> None:
    emulated, watched = terminal(40, records=3000), Watched(RefusesAtFirst(command, 2005, times=1))
    with serving(emulated, watched) as one:
        reading = gateway().read(one)
    assert same_punches(reading.punches, emulated.punches())
    assert reading.info.serial_number == emulated.definition.serial_number
    assert watched.count(Command.CMD_CONNECT) == 2


ONCE: dict[Command, Callable[[Device], object]] = {
    Command.CMD_SET_TIME: lambda one: gateway().set_clock(one),
    Command.CMD_CLEAR_ATTLOG: lambda one: gateway().clear_log(one, lambda _: True),
}


@pytest.mark.parametrize("command", ONCE)
def test_commands_that_must_not_be_delayed_are_not_retried(command: Command) -> None:
    watched = Watched(RefuseCommand(command))
    with serving(terminal(40), watched) as one, pytest.raises(errors.UnsupportedCommand):
        ONCE[command](one)
    assert watched.count(command) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_terminal_that_has_given_its_log_before_and_refuses_it_as_empty_firmware_does_is_empty_and_says_so(
    protocol: Protocol,
) -> None:
    with serving(
        terminal(40, records=0), RefuseCommand(Command.CMD_DATA_WRRQ, 2001, b"\x01\x0d"), protocol=protocol
    ) as one:
        reading = gateway().read(replace(one, log_layout="40"))
    assert reading.punches.empty
    assert reading.position is None
    assert [warning.split(":")[1] for warning in reading.warnings] == [" its log was accepted as empty"]


@pytest.mark.parametrize("code", [2001, 4989, 4991, 0xFFFF, 0xFFFD])
def test_a_terminal_that_counts_0_and_refuses_its_log_otherwise_is_a_failure_of_its_own(code: int) -> None:
    """4989 is the answer of SpeedFace-H5L with punches; 2001 is accepted only after a reading of the log."""
    known = None if code == 2001 else "40"
    with (
        serving(terminal(40, records=0), RefuseCommand(Command.CMD_DATA_WRRQ, code)) as one,
        pytest.raises(errors.LogRefused, match=f"counts no records, and the terminal answered {code}") as raised,
    ):
        gateway().read(replace(one, log_layout=known))
    assert raised.value.code == "log_refused"


def test_a_log_that_was_announced_is_not_empty_because_its_parts_are_refused() -> None:
    """Firmware that always counts 0."""

    class Blind(RefuseCommand):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            if request.command == Command.CMD_GET_FREE_SIZES:
                answer = [replace(answer[0], data=bytes(92))]
            await super().deliver(request, answer, connection)

    with (
        serving(terminal(40, records=500), Blind(Command.CMD_DATA_RDY)) as one,
        pytest.raises(errors.UnsupportedCommand) as raised,
    ):
        gateway().read(one)
    assert raised.value.code == "refuses_protocol"


@pytest.mark.parametrize("data", [bytes(4), b""], ids=["empty-table", "nothing"])
def test_a_terminal_that_counts_0_and_sends_an_empty_table_is_green(data: bytes) -> None:
    def empty(frames: list[Frame]) -> list[Frame]:
        return [replace(frames[0], command=Command.CMD_DATA, data=data)]

    with serving(terminal(40, records=0), Rewrite(Command.CMD_DATA_WRRQ, empty, times=1)) as one:
        reading = gateway().read(one)
    assert (len(reading.punches), reading.warnings) == (0, ())
