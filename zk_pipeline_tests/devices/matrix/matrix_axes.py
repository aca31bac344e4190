"""Axes of the fault matrix, and the errors that its cases may end in."""

from __future__ import annotations

import pytest

from zk_pipeline.devices.models import Protocol
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline_tests.devices.matrix.matrix_terminals import SHAPES

LOSS, VIOLATION, REFUSAL, SILENCE = "incomplete_transfer", "protocol_violation", "refuses_protocol", "no_answer"
BUSY = "terminal_busy"
UNTOLD = "layout_unknown"

PROTOCOLS: list[Protocol] = ["tcp", "udp"]
ALL_PROTOCOLS: list[Protocol] = ["tcp", "udp", "auto"]
LOG, USER_LIST = bytes.fromhex("010d00"), bytes.fromhex("010900")  # how the requests for the two tables begin
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

over_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)
over_all_protocols = pytest.mark.parametrize("protocol", ALL_PROTOCOLS)
over_shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape}-bytes")
over_commands = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name[4:].lower())
at_once_or_in_parts = pytest.mark.parametrize("is_inline", [True, False], ids=["at-once", "in-parts"])
once_or_always = pytest.mark.parametrize("is_once", [True, False], ids=["once", "always"])
numbered_or_not = pytest.mark.parametrize("is_numbered", [True, False], ids=["numbered", "unnumbered"])
