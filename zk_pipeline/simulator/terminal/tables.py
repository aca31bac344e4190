"""Tables (users, log) of an emulated terminal as transferred, and the snapshot of the buffered read.

Source: zk-protocol (adrobinoga), ex_data.md.
"""

from __future__ import annotations

import struct

from zk_pipeline.simulator.terminal.commands import ERROR, Answer, ok
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

INLINE_BYTES = 1016  # tables up to this size are sent at once: 1 KiB together with the header
FCT_USER = 5

_SNAPSHOT_REQUEST = struct.Struct("<bHII")
_CHUNK_REQUEST = struct.Struct("<ii")


def encoded_table(terminal: EmulatedTerminal, command: int, fct: int) -> bytes | None:
    """A table as transferred: u32 size, then its records. None for an unknown table."""
    if command == Command.CMD_ATTLOG_RRQ:
        records = terminal.encoded_log()
    elif command == Command.CMD_USERTEMP_RRQ and fct == FCT_USER:
        records = terminal.encoded_users()
    elif command in (Command.CMD_DB_RRQ, Command.CMD_OPLOG_RRQ):
        records = b""  # templates and operations are not emulated
    else:
        return None
    return struct.pack("<I", len(records)) + records


class ReadBuffer:
    """One client's snapshot: new records do not change a table during a read."""

    def __init__(self) -> None:
        self._table: bytes | None = None

    def prepare(self, terminal: EmulatedTerminal, data: bytes) -> Answer:
        """CMD_DATA_WRRQ: send a small table at once, or the size of a larger one, which is kept until `free`."""
        if len(data) != _SNAPSHOT_REQUEST.size:
            return ERROR
        _, command, fct, _ = _SNAPSHOT_REQUEST.unpack(data)
        table = encoded_table(terminal, command, fct)
        if table is None:
            return ERROR
        if len(table) <= INLINE_BYTES:
            return Command.CMD_DATA, table
        self._table = table
        # Documented as: zero, the size twice, then "a kind of checksum" without further explanation.
        return ok(struct.pack("<BIII", 0, len(table), len(table), 0))

    def part(self, data: bytes) -> bytes | None:
        """CMD_DATA_RDY: the bytes at an offset; None if they exceed the snapshot."""
        if self._table is None or len(data) != _CHUNK_REQUEST.size:
            return None
        start, size = _CHUNK_REQUEST.unpack(data)
        if start < 0 or size <= 0 or start + size > len(self._table):
            return None
        return self._table[start : start + size]

    def free(self) -> None:
        self._table = None
