"""Frames of the terminal protocol: header, checksum, TCP header, comm key. No sockets.

Source: zk-protocol (adrobinoga) and captures of real terminals in pyzk's tests and issues.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

TCP_MAGIC = b"\x50\x50\x82\x7d"
TCP_HEADER_BYTES = 8
HEADER_BYTES = 8
NUMPY_CHECKSUM_BYTES = 2048  # from this packet size on numpy computes the checksum faster

_HEADER = struct.Struct("<4H")
_TCP_HEADER = struct.Struct("<4sI")


class Command(IntEnum):
    """Request and answer codes, with the names of the protocol description."""

    USERTEMP_RRQ = 9
    OPTIONS_RRQ = 11
    ATTLOG_RRQ = 13
    CLEAR_ATTLOG = 15
    GET_FREE_SIZES = 50
    GET_TIME = 201
    SET_TIME = 202
    REG_EVENT = 500
    CONNECT = 1000
    EXIT = 1001
    ENABLEDEVICE = 1002
    DISABLEDEVICE = 1003
    GET_VERSION = 1100
    AUTH = 1102
    PREPARE_DATA = 1500
    DATA = 1501
    FREE_DATA = 1502
    DATA_WRRQ = 1503  # take a snapshot of a table for reading
    DATA_RDY = 1504  # read a part of the snapshot
    ACK_OK = 2000
    ACK_ERROR = 2001  # not done
    ACK_RETRY = 2003  # firmware of the ZEM family: the request arrived incomplete, repeat it
    ACK_REPEAT = 2004  # likewise; no firmware is known to send it
    ACK_UNAUTH = 2005
    ACK_ERROR_DATA = 0xFFFB
    ACK_ERROR_INIT = 0xFFFC
    ACK_ERROR_CMD = 0xFFFD
    ACK_UNKNOWN = 0xFFFF


@dataclass(frozen=True)
class Frame:
    """One verified request or answer."""

    command: int
    session_id: int  # in data packets, real terminals send the packet number in this field
    reply_number: int
    data: bytes


def is_checksum_valid(packet: bytes | bytearray | memoryview) -> bool:
    """Whether the checksum of a frame matches its header and data.

    The checksum is the ones' complement of the ones' complement sum of all other 16-bit units, so the sum of all units
    is a multiple of 65535; and since 65536 = 1 (mod 65535), so is the packet as one number. One division checks a small
    packet; numpy sums a large one ten times faster.
    """
    if len(packet) < NUMPY_CHECKSUM_BYTES:
        return int.from_bytes(packet, "little") % 0xFFFF == 0
    units = np.frombuffer(packet, "<u2", len(packet) // 2)
    last = packet[-1] if len(packet) % 2 else 0
    return (int(units.sum(dtype=np.uint64)) + last) % 0xFFFF == 0


def build_packet(command: int, session_id: int, reply_number: int) -> bytes:
    """A frame without data and without the TCP header."""
    checksum = -(command + session_id + reply_number) % 0xFFFF
    return _HEADER.pack(command, checksum, session_id, reply_number)


def parse_frame(packet: bytes) -> Frame:
    """The frame in `packet` (without the TCP header), whose length and checksum the caller has verified."""
    command, _, session_id, reply_number = _HEADER.unpack_from(packet)
    return Frame(command, session_id, reply_number, packet[HEADER_BYTES:])


def tcp_header(length: int) -> bytes:
    """The TCP header: eight bytes before a frame of `length` bytes."""
    return _TCP_HEADER.pack(TCP_MAGIC, length)


def frame_length(header: bytes | bytearray) -> int | None:
    """The frame length in a TCP header, None if the eight bytes are no TCP header."""
    magic, length = _TCP_HEADER.unpack_from(header)
    return int(length) if magic == TCP_MAGIC else None


def scramble_comm_key(comm_key: int, session_id: int, ticks: int = 50) -> bytes:
    """The four bytes of AUTH for a comm key of 0 to 2**32 - 1.

    pyzk's own function overflows for keys like 131071 in some sessions; the terminal adds in 32 bits. Source:
    `MakeKey` of the maker's commpro.c as cited by pyzk; the tests verify it with captures of accepted keys.
    """
    mirrored = int(f"{comm_key:032b}"[::-1], 2)
    low, high = struct.unpack("<HH", struct.pack("<I", (mirrored + session_id) & 0xFFFFFFFF))
    zk, so = struct.unpack("<HH", b"ZKSO")
    first, second, _, fourth = struct.pack("<HH", high ^ so, low ^ zk)
    return bytes((first ^ ticks, second ^ ticks, ticks, fourth ^ ticks))
