"""Protocol client that shares no code with the simulator: builds its own frames and verifies every answer."""

from __future__ import annotations

import socket
import struct
from types import TracebackType
from typing import NamedTuple

CONNECT, EXIT, ENABLE, DISABLE, REFRESH = 1000, 1001, 1002, 1003, 1013
AUTH, VERSION, OPTION, SET_OPTION, SIZES, GET_TIME, SET_TIME = 1102, 1100, 11, 12, 50, 201, 202
REGISTER_EVENT, PREPARE_BUFFER, READ_BUFFER, FREE_BUFFER = 500, 1503, 1504, 1502
CLEAR_LOG, LOG = 15, 13
PREPARE_DATA, DATA, OK, ERROR, UNAUTHORISED, UNKNOWN = 1500, 1501, 2000, 2001, 2005, 0xFFFF

ASK_LOG = bytes.fromhex("010d000000000000000000")
ASK_USERS = bytes.fromhex("0109000500000000000000")


class Reply(NamedTuple):
    command: int
    session: int
    number: int
    data: bytes


class RawClient:
    def __init__(self, port: int, *, udp: bool = False) -> None:
        self.is_udp = udp
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))
        self.session = 0
        self.number = -1

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def connect(self) -> Reply:
        reply = self.request(CONNECT)
        self.session = reply.session
        return reply

    def request(self, command: int, data: bytes = b"") -> Reply:
        """Send the next request and return its only, or its first, answer."""
        self.number += 1
        self.send(frame(command, self.session, self.number, data))
        reply = self.receive()
        assert reply.number == self.number
        return reply

    def send(self, packet: bytes) -> None:
        top = b"" if self.is_udp else b"\x50\x50\x82\x7d" + struct.pack("<I", len(packet))
        self.socket.sendall(top + packet)

    def receive(self) -> Reply:
        if self.is_udp:
            packet = self.socket.recv(65_536)
        else:
            top = self.exactly(8)
            assert top[:4] == b"\x50\x50\x82\x7d"
            packet = self.exactly(struct.unpack("<I", top[4:])[0])
        command, checksum, session, number = struct.unpack("<4H", packet[:8])
        assert checksum == ones_complement(packet[:2] + b"\0\0" + packet[4:])
        return Reply(command, session, number, packet[8:])

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError(f"end of stream after {len(data)} of {size} bytes")
            data += more
        return data

    def transfer(self, first: Reply) -> bytes:
        """The data of a PREPARE_DATA, DATA…, OK sequence that begins with `first`."""
        assert first.command == PREPARE_DATA
        size = struct.unpack("<I", first.data[:4])[0]
        data = b""
        while (reply := self.receive()).command == DATA:
            assert reply.number == self.number
            data += reply.data
        assert reply[0] == OK
        assert len(data) == size
        return data

    def read_table(self, ask: bytes, chunk: int = 0xFFC0) -> bytes:
        """A whole table through the buffered read, with its leading size verified and removed."""
        reply = self.request(PREPARE_BUFFER, ask)
        if reply.command == DATA:
            table = reply.data
        else:
            assert reply.command == OK
            size = struct.unpack("<I", reply.data[1:5])[0]
            table = b""
            while len(table) < size:
                part = struct.pack("<ii", len(table), min(chunk, size - len(table)))
                table += self.transfer(self.request(READ_BUFFER, part))
            assert self.request(FREE_BUFFER).command == OK
        assert struct.unpack("<I", table[:4])[0] == len(table) - 4
        return table[4:]

    def counters(self) -> tuple[int, ...]:
        data = self.request(SIZES).data
        return struct.unpack(f"<{len(data) // 4}I", data)


def frame(command: int, session: int, number: int, data: bytes = b"") -> bytes:
    checksum = ones_complement(struct.pack("<4H", command, 0, session, number) + data)
    return struct.pack("<4H", command, checksum, session, number) + data


def ones_complement(payload: bytes) -> int:
    padded = payload + b"\0" * (len(payload) % 2)
    total = sum(struct.unpack(f"<{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total ^ 0xFFFF)
