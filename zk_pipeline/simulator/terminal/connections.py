"""How frames get back to one client over TCP or UDP, and how that ends. What is sent is decided elsewhere."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any, Protocol

from zk_pipeline.simulator.terminal.protocol import Frame, tcp_header

Address = tuple[Any, ...]  # as the socket module has it: two parts for IPv4, four for IPv6


class Connection(Protocol):
    """The way back to one client."""

    @property
    def sent_bytes(self) -> int:
        """Bytes sent to this client so far."""
        ...

    def frame(self, frame: Frame) -> bytes:
        """A frame as this transport carries it."""
        ...

    def write(self, packets: Sequence[bytes]) -> None:
        """Send whole packets, as one piece of the stream on TCP, as a datagram each on UDP."""
        ...

    async def send(self, packets: Sequence[bytes]) -> None:
        """The same, waiting for a client that reads slowly."""
        ...

    def cut(self) -> None:
        """No more bytes: end of stream on TCP, silence on UDP."""
        ...

    def reset(self) -> None:
        """The same, as an RST on TCP."""
        ...

    def mute(self) -> None:
        """Leave the connection open and send nothing more."""
        ...


class TcpConnection:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._is_muted = False
        self.sent_bytes = 0

    def frame(self, frame: Frame) -> bytes:
        packet = frame.encode()
        return tcp_header(packet) + packet

    def write(self, packets: Sequence[bytes]) -> None:
        if self._is_muted or self._writer.is_closing():
            return
        data = b"".join(packets)
        self._writer.write(data)
        self.sent_bytes += len(data)

    async def send(self, packets: Sequence[bytes]) -> None:
        self.write(packets)
        await self._writer.drain()

    def cut(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        # Lingering for zero seconds is how a socket is told to end with an RST.
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def mute(self) -> None:
        self._is_muted = True


class UdpConnection:
    def __init__(self, transport: asyncio.DatagramTransport, address: Address) -> None:
        self._transport = transport
        self._address = address
        self._is_muted = False
        self.sent_bytes = 0

    def frame(self, frame: Frame) -> bytes:
        return frame.encode()

    def write(self, packets: Sequence[bytes]) -> None:
        if self._is_muted:
            return
        for packet in packets:
            self._transport.sendto(packet, self._address)
            self.sent_bytes += len(packet)

    async def send(self, packets: Sequence[bytes]) -> None:
        self.write(packets)

    def mute(self) -> None:
        self._is_muted = True

    cut = reset = mute
