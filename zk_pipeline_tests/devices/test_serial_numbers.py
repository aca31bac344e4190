"""Serial number check: every operation verifies a registered serial number."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from zk_pipeline.devices.errors import SerialChanged, SerialUnverified
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.faults import ChangeAnswers, RefuseCommand
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.terminal_fixtures import Watched, gateway, serving, terminal

SERIAL = terminal().definition.serial_number
OPTION = b"~SerialNumber"

WORK: dict[str, Callable[[TerminalGateway, Device], object]] = {
    "read": lambda terminals, one: terminals.read(one),
    "users": lambda terminals, one: terminals.users(one),
    "set_clock": lambda terminals, one: terminals.set_clock(one),
    "clear_log": lambda terminals, one: terminals.clear_log(one, lambda _: True),
    "live": lambda terminals, one: next(iter(terminals.live_punches(one, threading.Event()))),
}
SILENT = {
    "refused": RefuseCommand(Command.CMD_OPTIONS_RRQ),
    "empty": ChangeAnswers(
        Command.CMD_OPTIONS_RRQ, lambda frames: [replace(frames[0], data=b"~SerialNumber=\0")], OPTION
    ),
    "nothing": ChangeAnswers(Command.CMD_OPTIONS_RRQ, lambda frames: [replace(frames[0], data=b"")], OPTION),
}
CHANGING = {Command.CMD_SET_TIME, Command.CMD_CLEAR_ATTLOG, Command.CMD_DATA_WRRQ, Command.CMD_REG_EVENT}


@pytest.mark.parametrize("silence", SILENT)
@pytest.mark.parametrize("work", WORK)
def test_a_registered_serial_number_that_is_not_reported_is_an_error_of_its_own(work: str, silence: str) -> None:
    watched = Watched(SILENT[silence])
    with serving(terminal(), watched) as one, pytest.raises(SerialUnverified, match=SERIAL) as failure:
        WORK[work](gateway(), replace(one, serial_number=SERIAL))
    assert failure.value.code == "serial_unverified"
    assert not CHANGING & {request.command for request in watched.requests}


@pytest.mark.parametrize("work", WORK)
def test_nothing_is_done_with_another_terminal(work: str) -> None:
    watched = Watched()
    with serving(terminal(), watched) as one, pytest.raises(SerialChanged):
        WORK[work](gateway(), replace(one, serial_number="OTHER"))
    assert not CHANGING & {request.command for request in watched.requests}


@pytest.mark.parametrize("silence", SILENT)
@pytest.mark.parametrize("work", WORK)
def test_a_terminal_of_which_none_was_ever_known_is_accepted(work: str, silence: str) -> None:
    with serving(terminal(), SILENT[silence]) as one:
        WORK[work](gateway(), one)


def test_a_serial_number_that_is_refused_once_is_requested_again() -> None:
    def refused(frames: list[Frame]) -> list[Frame]:
        return [replace(frames[0], command=Command.CMD_ACK_ERROR, data=b"")]

    once = ChangeAnswers(Command.CMD_OPTIONS_RRQ, refused, OPTION, times=1)
    with serving(terminal(), once) as one:
        reading = gateway().read(replace(one, serial_number=SERIAL))
    assert reading.info.serial_number == SERIAL
    assert reading.position is not None
