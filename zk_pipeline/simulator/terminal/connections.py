"""Connections of an emulated terminal to one client over TCP or UDP: send frames, close, reset, mute."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import Any, Protocol

from zk_pipeline.simulator.terminal.protocol import Frame, tcp_header

Address = tuple[Any, ...]  # of the socket module: two elements for IPv4, four for IPv6


class Connection(Protocol):
    """Connection to one client."""

    @property
    def sent_bytes(self) -> int:
        """Number of bytes sent to this client."""
        ...

    def frame(self, frame: Frame) -> bytes:
        """A frame, encoded for this transport."""
        ...

    def write(self, packets: Sequence[bytes]) -> None:
        """Send packets, as one write on TCP, as one datagram each on UDP."""
        ...

    async def send(self, packets: Sequence[bytes]) -> None:
        """The same, and wait while the client reads slowly."""
        ...

    def cut(self) -> None:
        """Send no more bytes: end of stream on TCP, no further datagrams on UDP."""
        ...

    def reset(self) -> None:
        """The same, with an RST on TCP."""
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
        # SO_LINGER with zero seconds makes the close send an RST.
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
