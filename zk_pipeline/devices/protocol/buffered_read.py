"""A terminal's tables (log, users) through its buffered read, complete or not at all. No decoding of records.

Source: zk-protocol "Exchange of data", and captures in pyzk's tests: DATA_WRRQ takes a snapshot; a small one
comes at once as DATA, a larger one is announced by ACK_OK with its size and fetched with DATA_RDY by offset,
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
TCP_PART_BYTES = 0xFFC0  # what pyzk asks for, so what terminals are known to serve
UDP_PART_BYTES = 16 << 10
PART_ATTEMPTS = 5
MAX_TABLE_BYTES = 256 << 20
SIZE_BYTES = 4

_TABLE = struct.Struct("<bhii")
_PART = struct.Struct("<ii")


@dataclass(frozen=True)
class Snapshot:
    """A table as it was when it was asked for, its own size in front: a large one to be fetched in parts."""

    size: int
    table: bytes | None = None  # a small one comes at once


def take_log_snapshot(client: TerminalClient) -> Snapshot:
    """The attendance log as of now. Raises RefusesProtocol or TerminalBusy when the terminal does not give it."""
    return _take_snapshot(client, Command.ATTLOG_RRQ, 0)


def take_user_snapshot(client: TerminalClient) -> Snapshot:
    """The user list as of now, as `take_log_snapshot` takes the log."""
    return _take_snapshot(client, Command.USERTEMP_RRQ, FCT_USER)


def read_records(client: TerminalClient, snapshot: Snapshot) -> bytes:
    """All records of the snapshot, whose own size has to agree with what arrived.

    Raises RefusesProtocol when the terminal does not give them, IncompleteTransfer when they are not all there.
    """
    table = read_part(client, 0, snapshot.size) if snapshot.table is None else snapshot.table
    declared = int.from_bytes(table[:SIZE_BYTES], "little")
    if table and len(table) != SIZE_BYTES + declared:
        problem = f"the table declares {declared} bytes of records and {len(table) - SIZE_BYTES} arrived"
        client.transport.fail(IncompleteTransfer, problem)
    return table[SIZE_BYTES:]


def read_part(client: TerminalClient, start: int, end: int) -> bytes:
    """These bytes of the snapshot taken last. Raises RefusesProtocol when the terminal does not give them."""
    transport = client.transport
    part_bytes = TCP_PART_BYTES if transport.kind == "tcp" else UDP_PART_BYTES
    table = bytearray()
    attempts = 0
    while (missing := end - start - len(table)) > 0:
        attempts += 1
        wanted = min(part_bytes, missing)
        try:
            request = _PART.pack(start + len(table), wanted)
            part = _collect(client, client.ask_for(Command.DATA_RDY, request), wanted)
        except LostPacket:
            if transport.kind == "tcp" or attempts == PART_ATTEMPTS:
                raise
            # One packet per request from here on: its reply number then proves its place.
            part_bytes = min(part_bytes, transport.packets.first_bytes or part_bytes)
            continue
        table += part
        attempts = 0
    return bytes(table)


def free_data(client: TerminalClient, snapshot: Snapshot) -> None:
    """Let the terminal forget the snapshot, once all that depends on it is known.

    Raises nothing: whatever goes wrong, what was read is complete; the session is broken then.
    """
    if snapshot.table is not None:
        return
    client.transport.doing = "releasing the snapshot"
    try:
        client.ask(Command.FREE_DATA)
    except TerminalError:
        client.transport.is_broken = True


def _take_snapshot(client: TerminalClient, command: int, function: int) -> Snapshot:
    answer = client.ask_for(Command.DATA_WRRQ, _TABLE.pack(1, command, function, 0))
    if answer.command == Command.ACK_OK:
        return Snapshot(_announced_size(client, answer))
    table = _collect(client, answer)
    return Snapshot(len(table), table)


def _announced_size(client: TerminalClient, answer: Frame) -> int:
    # After a zero byte. An acknowledgement without a size announces nothing.
    size = int.from_bytes(answer.data[1 : 1 + SIZE_BYTES], "little")
    if size > MAX_TABLE_BYTES:
        client.transport.fail(ProtocolViolation, f"a table of {size} bytes was announced")
    return size


def _collect(client: TerminalClient, first: Frame, wanted: int | None = None) -> bytes:
    """The data of one answer, of exactly the `wanted` size where there is one.

    Raises LostPacket or ProtocolViolation.
    """
    transport = client.transport
    if first.command == Command.DATA:
        if wanted not in (None, len(first.data)):
            transport.fail(LostPacket, f"{len(first.data)} of {wanted} bytes arrived")
        return first.data
    if first.command != Command.PREPARE_DATA:
        transport.fail(LostPacket, f"data was due and {first.command} came")
    size = int.from_bytes(first.data[:SIZE_BYTES], "little")
    if size > MAX_TABLE_BYTES or wanted not in (None, size):
        transport.fail(LostPacket, f"{size} bytes were announced where {wanted} were asked for")
    data = bytearray()
    while True:
        frame = transport.receive()
        if frame.command == Command.ACK_OK:
            break
        if frame.command != Command.DATA:
            transport.fail(ProtocolViolation, f"the terminal answered {frame.command} in the middle of data")
        data += frame.data
        if len(data) > size:
            transport.fail(ProtocolViolation, f"more than the announced {size} bytes arrived")
    if len(data) != size:
        transport.fail(LostPacket, f"{len(data)} of {size} bytes arrived")
    if transport.kind == "udp" and not transport.packets.are_numbered:
        # They may have been swapped, or one lost and another doubled.
        transport.fail(LostPacket, "several datagrams arrived that nothing puts in order")
    if transport.packets.are_shuffled:  # no line does this to TCP; if firmware does, it must not go unnoticed
        transport.fail(LostPacket, "the packets arrived in another order than their numbers have")
    return bytes(data)
