"""Clients that fetch the log of a terminal: pyzk, zk_pipeline, and one that only receives the bytes. No measurement."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field

from zk import ZK

from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.buffered_read import TCP_PART_BYTES, UDP_PART_BYTES
from zk_pipeline.devices.protocol.frames import Command, build_packet, tcp_header
from zk_pipeline.devices.reading import read_terminal

TIMEOUT, DEADLINE = 10.0, 600.0


def read_with_pyzk(device: Device) -> int:
    """Read the log with `get_attendance` of pyzk, with connect and disconnect; the number of records."""
    terminal = ZK(
        device.ip_address, device.port, timeout=int(TIMEOUT), ommit_ping=True, force_udp=device.protocol == "udp"
    )
    connection = terminal.connect()
    try:
        return len(connection.get_attendance())
    finally:
        connection.disconnect()


def read_with_zk_pipeline(device: Device) -> int:
    """Read the log with `read_terminal`, with clock, counters, options and users; the number of records."""
    return len(read_terminal(device, comm_key=0, timeout=TIMEOUT, deadline=DEADLINE).punches)


def drain(device: Device) -> int:
    """Receive and discard the bytes of the log, without verification or other requests; their number. The floor."""
    with _Drain(device) as client:
        client.ask(Command.CONNECT)
        announced = client.ask(Command.DATA_WRRQ, struct.pack("<bhii", 1, Command.ATTLOG_RRQ, 0, 0))
        size = int.from_bytes(announced[9:13], "little")
        for start in range(0, size, client.part_bytes):
            client.ask(Command.DATA_RDY, struct.pack("<ii", start, min(client.part_bytes, size - start)))
            while client.command() != Command.ACK_OK:
                client.receive()
        client.ask(Command.EXIT)
        return size


@dataclass
class _Drain:
    device: Device
    session_id: int = 0
    _number: int = -1
    _length: int = 0
    _buffer: bytearray = field(default_factory=lambda: bytearray(1 << 17))

    def __enter__(self) -> _Drain:
        self.is_tcp = self.device.protocol == "tcp"
        self.part_bytes = TCP_PART_BYTES if self.is_tcp else UDP_PART_BYTES
        self._view = memoryview(self._buffer)
        self._socket = socket.socket(type=socket.SOCK_STREAM if self.is_tcp else socket.SOCK_DGRAM)
        self._socket.settimeout(TIMEOUT)
        self._socket.connect((self.device.ip_address, self.device.port))
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, command: int, data: bytes = b"") -> bytes:
        """Send a request; the first frame of the response."""
        self._number += 1
        packet = _with_data(build_packet(command, self.session_id, self._number), data)
        self._socket.sendall(tcp_header(len(packet)) + packet if self.is_tcp else packet)
        self.receive()
        if command == Command.CONNECT:
            self.session_id = int.from_bytes(self._buffer[4:6], "little")
        return bytes(self._buffer[: self._length])

    def receive(self) -> None:
        if not self.is_tcp:
            self._length = self._socket.recv_into(self._view)
            return
        self._exactly(8)
        self._length = int.from_bytes(self._buffer[4:8], "little")
        self._exactly(self._length)

    def command(self) -> int:
        """Command of the frame received last."""
        return int.from_bytes(self._buffer[:2], "little")

    def _exactly(self, size: int) -> None:
        received = 0
        while received < size:
            count = self._socket.recv_into(self._view[received:size])
            if count == 0:
                raise EOFError("the terminal closed the connection")
            received += count


def _with_data(packet: bytes, data: bytes) -> bytes:
    """A frame with data appended and a checksum of the whole."""
    whole = packet[:2] + bytes(2) + packet[4:] + data
    checksum = -int.from_bytes(whole, "little") % 0xFFFF
    return whole[:2] + checksum.to_bytes(2, "little") + whole[4:]
