"""Frames over TCP. Frames are verified in `transport`."""

from __future__ import annotations

import socket

from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.errors import DeadlineExceeded, ProtocolViolation, Refused, Unreachable
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.frames import TCP_HEADER_BYTES, frame_length, tcp_header
from zk_pipeline.devices.protocol.transport import RECEIVE_BYTES, Kind, Transport, error_text

MAX_FRAME_BYTES = 8 << 20  # more than any terminal stores; bounds the memory for a corrupt length


class TcpTransport(Transport):
    """Frames from a byte stream."""

    kind: Kind = "tcp"

    def __init__(self, device: Device, sock: socket.socket, *, timeout: float, deadline: Deadline) -> None:
        super().__init__(device, sock, timeout=timeout, deadline=deadline)
        self._buffer = bytearray()

    def _send(self, packet: bytes) -> None:
        try:
            self._sock.sendall(tcp_header(len(packet)) + packet)
        except TimeoutError:
            self._raise_no_answer()
        except OSError as error:
            self._raise_connection_lost(f"broke the connection ({error_text(error)})", error)

    _send_request = _send

    def _has_data(self, seconds: float) -> bool:
        return bool(self._buffer) or super()._has_data(seconds)

    def _read_unasked(self) -> bytes:
        return self._read()

    def _read(self) -> bytes:
        self._fill(TCP_HEADER_BYTES)
        length = frame_length(self._buffer)
        if length is None:
            self._raise_broken(ProtocolViolation, "bytes arrived that are not a frame")
        if length > MAX_FRAME_BYTES:
            self._raise_broken(ProtocolViolation, f"a frame of {length} bytes was announced")
        end = TCP_HEADER_BYTES + length
        self._fill(end)
        packet = bytes(memoryview(self._buffer)[TCP_HEADER_BYTES:end])
        del self._buffer[:end]
        return packet

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size:
            self._wait(self.timeout)
            try:
                received = self._sock.recv(RECEIVE_BYTES)
            except TimeoutError:
                self._raise_no_answer()
            except OSError as error:
                self._raise_connection_lost(f"broke the connection ({error_text(error)})", error)
            if not received:
                self._raise_connection_lost("closed the connection")
            self.bytes_received += len(received)
            self._buffer += received

    def _as_sent(self, packet: bytes) -> bytes:
        return tcp_header(len(packet)) + packet


def connect_tcp(device: Device, *, timeout: float, deadline: Deadline) -> TcpTransport:
    """Connect over TCP. Raises Refused, Unreachable or DeadlineExceeded."""
    wait = min(timeout, deadline.remaining())
    if wait <= 0:
        raise DeadlineExceeded(device, "connecting over TCP", f"it did not end within {deadline.seconds:.3g} s")
    try:
        sock = socket.create_connection((device.ip_address, device.port), timeout=wait)
    except ConnectionRefusedError:
        raise Refused(device, "connecting over TCP", "no program listens on that port") from None
    except TimeoutError:
        raise Unreachable(device, "connecting over TCP", f"no connection within {wait:.3g} s") from None
    except (OSError, UnicodeError) as error:
        raise Unreachable(device, "connecting over TCP", error_text(error)) from None
    return TcpTransport(device, sock, timeout=timeout, deadline=deadline)
