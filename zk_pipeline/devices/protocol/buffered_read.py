"""Buffered read of a terminal's tables (log, users): complete or TerminalError. No decoding of records.

Source: zk-protocol "Exchange of data", and captures in pyzk's tests: DATA_WRRQ takes a snapshot; a small one
is sent at once as DATA, a larger one is announced by ACK_OK with its size and fetched with DATA_RDY by offset,
each part as PREPARE_DATA (its size), DATA packets and ACK_OK.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from zk_pipeline.devices.errors import IncompleteTransfer, ProtocolViolation, TerminalError
from zk_pipeline.devices.protocol.client import TerminalClient
from zk_pipeline.devices.protocol.frames import Command, Frame
from zk_pipeline.devices.protocol.packets import LostPacket

FCT_USER = 5
TCP_PART_BYTES = 0xFFC0  # the size that pyzk requests, so terminals are known to support it
UDP_PART_BYTES = 16 << 10
PART_ATTEMPTS = 5
MAX_TABLE_BYTES = 256 << 20
SIZE_BYTES = 4

_TABLE = struct.Struct("<bhii")
_PART = struct.Struct("<ii")


@dataclass(frozen=True)
class Snapshot:
    """A terminal's snapshot of a table, which begins with its own size; a large one is fetched in parts."""

    size: int
    table: bytes | None = None  # of a small one, which is sent at once


def take_log_snapshot(client: TerminalClient) -> Snapshot:
    """Snapshot of the attendance log. Raises UnsupportedCommand or TerminalBusy if the terminal refuses it."""
    return _take_snapshot(client, Command.ATTLOG_RRQ, 0)


def take_user_snapshot(client: TerminalClient) -> Snapshot:
    """Snapshot of the user list, like `take_log_snapshot`."""
    return _take_snapshot(client, Command.USERTEMP_RRQ, FCT_USER)


def read_records(client: TerminalClient, snapshot: Snapshot) -> bytes:
    """All records of the snapshot, checked against the size that it declares.

    Raises UnsupportedCommand if the terminal refuses them, IncompleteTransfer if records are missing.
    """
    table = read_part(client, 0, snapshot.size) if snapshot.table is None else snapshot.table
    declared = int.from_bytes(table[:SIZE_BYTES], "little")
    if table and len(table) != SIZE_BYTES + declared:
        problem = f"the table declares {declared} bytes of records and {len(table) - SIZE_BYTES} arrived"
        client.transport.fail(IncompleteTransfer, problem)
    return table[SIZE_BYTES:]


def read_part(client: TerminalClient, start: int, end: int) -> bytes:
    """Bytes from `start` to `end` of the latest snapshot. Raises UnsupportedCommand if the terminal refuses them."""
    transport = client.transport
    part_bytes = TCP_PART_BYTES if transport.kind == "tcp" else UDP_PART_BYTES
    table = bytearray()
    attempts = 0
    while (missing := end - start - len(table)) > 0:
        attempts += 1
        wanted = min(part_bytes, missing)
        try:
            request = _PART.pack(start + len(table), wanted)
            part = _collect(client, client.require(Command.DATA_RDY, request), wanted)
        except LostPacket:
            if transport.kind == "tcp" or attempts == PART_ATTEMPTS:
                raise
            # From now on one packet per request: its reply number proves its position.
            part_bytes = min(part_bytes, transport.packets.first_bytes or part_bytes)
            continue
        table += part
        attempts = 0
    return bytes(table)


def free_data(client: TerminalClient, snapshot: Snapshot) -> None:
    """Release the terminal's snapshot after everything was read from it.

    Raises nothing, because the data is complete; a failure marks the session as broken.
    """
    if snapshot.table is not None:
        return
    client.transport.operation = "releasing the snapshot"
    try:
        client.request(Command.FREE_DATA)
    except TerminalError:
        client.transport.is_broken = True


def _take_snapshot(client: TerminalClient, command: int, function: int) -> Snapshot:
    answer = client.require(Command.DATA_WRRQ, _TABLE.pack(1, command, function, 0))
    if answer.command == Command.ACK_OK:
        return Snapshot(_announced_size(client, answer))
    table = _collect(client, answer)
    return Snapshot(len(table), table)


def _announced_size(client: TerminalClient, answer: Frame) -> int:
    # The size follows a zero byte; an acknowledgement without a size announces an empty table.
    size = int.from_bytes(answer.data[1 : 1 + SIZE_BYTES], "little")
    if size > MAX_TABLE_BYTES:
        client.transport.fail(ProtocolViolation, f"a table of {size} bytes was announced")
    return size


def _collect(client: TerminalClient, first: Frame, wanted: int | None = None) -> bytes:
    """The data of one answer, of exactly the `wanted` size unless that is None.

    Raises LostPacket or ProtocolViolation.
    """
    transport = client.transport
    if first.command == Command.DATA:
        if wanted not in (None, len(first.data)):
            transport.fail(LostPacket, f"{len(first.data)} of {wanted} bytes arrived")
        return first.data
    if first.command != Command.PREPARE_DATA:
        transport.fail(LostPacket, f"data was expected and answer {first.command} arrived")
    size = int.from_bytes(first.data[:SIZE_BYTES], "little")
    if size > MAX_TABLE_BYTES or wanted not in (None, size):
        transport.fail(LostPacket, f"{size} bytes were announced where {wanted} were requested")
    data = bytearray()
    while True:
        frame = transport.receive()
        if frame.command == Command.ACK_OK:
            break
        if frame.command != Command.DATA:
            transport.fail(ProtocolViolation, f"the terminal answered {frame.command} during a data transfer")
        data += frame.data
        if len(data) > size:
            transport.fail(ProtocolViolation, f"more than the announced {size} bytes arrived")
    if len(data) != size:
        transport.fail(LostPacket, f"{len(data)} of {size} bytes arrived")
    if transport.kind == "udp" and not transport.packets.are_numbered:
        # Datagrams may have been swapped, or one lost and another duplicated.
        transport.fail(LostPacket, "several datagrams arrived without numbers that prove their order")
    if transport.packets.are_out_of_order:  # not a network fault on TCP, but firmware may send them so
        transport.fail(LostPacket, "the packets arrived in another order than their numbers")
    return bytes(data)
