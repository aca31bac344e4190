"""Wire format of the terminals: frames, checksum, time encoding, comm key. No sockets, no state.

Sources: the public protocol description zk-protocol (adrobinoga) and the maker's 2006 communication manual,
with their names.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, IntFlag

TCP_MAGIC = b"\x50\x50\x82\x7d"
TCP_HEADER_BYTES = 8
HEADER_BYTES = 8

_HEADER = struct.Struct("<4H")
_WORD_MODULUS = 0xFFFF


class Command(IntEnum):
    """Requests and replies of an emulated terminal."""

    CMD_DB_RRQ = 7
    CMD_USERTEMP_RRQ = 9
    CMD_OPTIONS_RRQ = 11
    CMD_OPTIONS_WRQ = 12
    CMD_ATTLOG_RRQ = 13
    CMD_CLEAR_ATTLOG = 15
    CMD_OPLOG_RRQ = 34
    CMD_GET_FREE_SIZES = 50
    CMD_STARTVERIFY = 60
    CMD_CANCELCAPTURE = 62
    CMD_GET_PINWIDTH = 69
    CMD_GET_TIME = 201
    CMD_SET_TIME = 202
    CMD_REG_EVENT = 500
    CMD_CONNECT = 1000
    CMD_EXIT = 1001
    CMD_ENABLEDEVICE = 1002
    CMD_DISABLEDEVICE = 1003
    CMD_REFRESHDATA = 1013
    CMD_REFRESHOPTION = 1014
    CMD_GET_VERSION = 1100
    CMD_AUTH = 1102
    CMD_PREPARE_DATA = 1500
    CMD_DATA = 1501
    CMD_FREE_DATA = 1502
    CMD_DATA_WRRQ = 1503  # "prepare buffer": take a snapshot of a table for reading
    CMD_DATA_RDY = 1504  # "read buffer": a part of that snapshot, by offset and size
    CMD_ACK_OK = 2000
    CMD_ACK_ERROR = 2001
    CMD_ACK_UNAUTH = 2005
    CMD_ACK_UNKNOWN = 0xFFFF


class Event(IntFlag):
    """Live events, registered with CMD_REG_EVENT."""

    EF_ATTLOG = 1


class FrameError(ValueError):
    """Bytes that are not a frame: too short, or with a wrong checksum."""


@dataclass(frozen=True)
class Frame:
    """One request or reply. A live event has its event code in the field of the session id."""

    command: int
    session_id: int
    reply_number: int
    data: bytes = b""

    def encode(self) -> bytes:
        """The frame as one UDP datagram."""
        head = _HEADER.pack(self.command, 0, self.session_id, self.reply_number)
        sum_ = checksum(head + self.data)
        return _HEADER.pack(self.command, sum_, self.session_id, self.reply_number) + self.data

    @classmethod
    def decode(cls, packet: bytes) -> Frame:
        """The inverse of `encode`. Raises FrameError."""
        if len(packet) < HEADER_BYTES:
            raise FrameError(f"frame of {len(packet)} bytes, at least {HEADER_BYTES} expected")
        # Ones' complement has two zeros, so both encodings of a zero checksum are valid.
        if int.from_bytes(packet, "little") % _WORD_MODULUS != 0:
            raise FrameError("the checksum does not match the frame")
        command, _, session_id, reply_number = _HEADER.unpack_from(packet)
        return cls(command, session_id, reply_number, packet[HEADER_BYTES:])


def checksum(payload: bytes) -> int:
    """Ones' complement of the ones' complement sum of little-endian 16-bit units, with 0 in the checksum field."""
    # 65536 = 1 (mod 65535): the payload as one number has the same remainder as the sum of its 16-bit units.
    return _WORD_MODULUS - (int.from_bytes(payload, "little") % _WORD_MODULUS or _WORD_MODULUS)


def tcp_header(packet: bytes) -> bytes:
    """The TCP header: eight bytes before a frame."""
    return TCP_MAGIC + struct.pack("<I", len(packet))


def encode_time(wall_clock_local: datetime) -> int:
    """The terminal's u32 time code of a naive wall clock from 2000 to 2133; months of 31 days."""
    at = wall_clock_local
    days = ((at.year - 2000) * 12 + at.month - 1) * 31 + at.day - 1
    return ((days * 24 + at.hour) * 60 + at.minute) * 60 + at.second


def decode_time(encoded: int) -> datetime:
    """The inverse of `encode_time`. Raises ValueError for an impossible date, such as 31 February."""
    rest, second = divmod(encoded, 60)
    rest, minute = divmod(rest, 60)
    rest, hour = divmod(rest, 24)
    rest, day = divmod(rest, 31)
    year, month = divmod(rest, 12)
    return datetime(2000 + year, month + 1, day + 1, hour, minute, second)  # noqa: DTZ001 - a wall clock has no zone


def scramble_comm_key(key: int, session_id: int, ticks: int = 50) -> bytes:
    """The four bytes of CMD_AUTH for a comm key below 2**32; `ticks` is a byte chosen by the client."""
    mirrored = int(f"{key:032b}"[::-1], 2)
    mixed = (mirrored + session_id & 0xFFFFFFFF) ^ int.from_bytes(b"ZKSO", "little")
    swapped = (mixed >> 16) | (mixed & 0xFFFF) << 16
    first, second, _, fourth = swapped.to_bytes(4, "little")
    return bytes((first ^ ticks, second ^ ticks, ticks, fourth ^ ticks))
