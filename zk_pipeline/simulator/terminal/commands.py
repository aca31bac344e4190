"""Commands answered from a terminal's state alone, in one frame: options, clock, counters, enable, disable.

Commands of the client's session are in `session`, the transfer of tables in `tables`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from zk_pipeline.simulator.terminal.protocol import Command, decode_time, encode_time
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

Answer = tuple[Command, bytes]

ERROR: Answer = (Command.CMD_ACK_ERROR, b"")
_SIZES = struct.Struct("<23I")


def ok(data: bytes = b"") -> Answer:
    return Command.CMD_ACK_OK, data


def read_option(terminal: EmulatedTerminal, data: bytes) -> Answer:
    name = _text(data)
    value = terminal.option(name)
    return ERROR if value is None else ok(f"{name}={value}\0".encode())


def write_option(terminal: EmulatedTerminal, data: bytes) -> Answer:
    name, separator, value = _text(data).partition("=")
    return ok() if separator and terminal.set_option(name, value) else ERROR


def read_sizes(terminal: EmulatedTerminal, _: bytes) -> Answer:
    """Current counters, independent of a snapshot: 92 bytes, or 80 from firmware without faces.

    Positions: zk-protocol, terminal.md.
    """
    definition = terminal.definition
    users, records = len(definition.users), terminal.record_count
    fields = [0] * 23
    fields[4], fields[6], fields[8] = users, users, records  # one fingerprint per user
    fields[12] = sum(user.privilege > 0 for user in definition.users)
    capacities = definition.finger_capacity, definition.user_capacity, definition.record_capacity
    fields[14:17] = capacities
    fields[17:20] = [max(0, total - used) for total, used in zip(capacities, (users, users, records), strict=True)]
    return ok(_SIZES.pack(*fields)[: 80 if definition.user_record_size == 28 else 92])


def read_time(terminal: EmulatedTerminal, _: bytes) -> Answer:
    return ok(struct.pack("<I", encode_time(terminal.now_local())))


def set_time(terminal: EmulatedTerminal, data: bytes) -> Answer:
    try:
        terminal.set_clock(decode_time(int.from_bytes(data[:4], "little")))
    except ValueError:
        return ERROR
    return ok()


def enable(terminal: EmulatedTerminal, _: bytes) -> Answer:
    terminal.is_enabled = True
    return ok()


def disable(terminal: EmulatedTerminal, _: bytes) -> Answer:
    terminal.is_enabled = False
    return ok()


def clear_log(terminal: EmulatedTerminal, _: bytes) -> Answer:
    terminal.clear_log()
    return ok()


def nothing(_: EmulatedTerminal, __: bytes) -> Answer:
    """Commands without an effect: an emulated terminal has no cache and no fingerprint sensor."""
    return ok()


COMMANDS: dict[int, Callable[[EmulatedTerminal, bytes], Answer]] = {
    Command.CMD_OPTIONS_RRQ: read_option,
    Command.CMD_OPTIONS_WRQ: write_option,
    Command.CMD_GET_VERSION: lambda terminal, _: ok(terminal.definition.firmware.encode() + b"\0"),
    Command.CMD_GET_PINWIDTH: lambda terminal, _: ok(bytes([terminal.definition.pin_width])),
    Command.CMD_GET_FREE_SIZES: read_sizes,
    Command.CMD_GET_TIME: read_time,
    Command.CMD_SET_TIME: set_time,
    Command.CMD_ENABLEDEVICE: enable,
    Command.CMD_DISABLEDEVICE: disable,
    Command.CMD_CLEAR_ATTLOG: clear_log,
    Command.CMD_REFRESHDATA: nothing,
    Command.CMD_REFRESHOPTION: nothing,
    Command.CMD_STARTVERIFY: nothing,
    Command.CMD_CANCELCAPTURE: nothing,
}


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace")
