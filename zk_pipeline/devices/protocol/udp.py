"""Frames over UDP, with retransmission of requests. Frames are verified in `transport`."""

from __future__ import annotations

import socket

from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.errors import Unreachable
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.frames import Command
from zk_pipeline.devices.protocol.transport import RECEIVE_BYTES, Kind, Transport, error_text

MAX_SENDS = 3
# Never resent: a second CONNECT would open a second session, SET_TIME would set a time in the past, CLEAR_ATTLOG would
# delete records that arrived in between, EXIT is optional.
NOT_RESENT = frozenset({Command.CONNECT, Command.SET_TIME, Command.CLEAR_ATTLOG, Command.EXIT})


class UdpTransport(Transport):
    """Frames in datagrams.

    A request without an answer for a third of the timeout is resent, unchanged.
    """

    kind: Kind = "udp"

    def __init__(self, device: Device, sock: socket.socket, *, timeout: float, deadline: Deadline) -> None:
        super().__init__(device, sock, timeout=timeout, deadline=deadline)
        self._request = b""
        self._sends = 0
        self._seen: set[bytes] = set()

    def _send_request(self, packet: bytes) -> None:
        self._request, self._sends = packet, 1
        self._seen.clear()
        self._send(packet)

    def _send(self, packet: bytes) -> None:
        try:
            self._sock.send(packet)
        except OSError as error:
            self._raise_connection_lost(f"rejected a datagram ({error_text(error)})", error)

    def _read(self) -> bytes:
        while True:
            self._wait(self.timeout if self._command in NOT_RESENT else self.timeout / MAX_SENDS)
            try:
                datagram = self._receive_datagram()
            except TimeoutError:
                self._send_again()
                continue
            if datagram not in self._seen:
                self._seen.add(datagram)
                return datagram

    def _read_unasked(self) -> bytes:
        try:
            return self._receive_datagram()  # duplicates included: a duplicated event is acknowledged again
        except TimeoutError:
            self._raise_no_answer()

    def _receive_datagram(self) -> bytes:
        try:
            datagram = self._sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise
        except OSError as error:
            self._raise_connection_lost(f"rejected a datagram ({error_text(error)})", error)
        self.bytes_received += len(datagram)
        return datagram

    def _send_again(self) -> None:
        if self._command in NOT_RESENT or self._sends >= MAX_SENDS:
            self._raise_no_answer()
        self._sends += 1
        self.was_resent = True
        self._wait(self.timeout)
        self._send(self._request)

    def _as_sent(self, packet: bytes) -> bytes:
        return packet


def connect_udp(device: Device, *, timeout: float, deadline: Deadline) -> UdpTransport:
    """A UDP socket connected to the terminal's address; a missing terminal shows only at the first request.

    Raises Unreachable.
    """
    try:
        found = socket.getaddrinfo(device.ip_address, device.port, type=socket.SOCK_DGRAM)
        family, _, _, _, address = found[0]
        sock = socket.socket(family, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(device, "connecting over UDP", error_text(error)) from None
    try:
        sock.connect(address)
    except OSError as error:
        sock.close()
        raise Unreachable(device, "connecting over UDP", error_text(error)) from None
    return UdpTransport(device, sock, timeout=timeout, deadline=deadline)
