"""Transport of verified frames, in place of pyzk's socket: checksum, session, reply and packet numbers, time limits.

Sockets are in `tcp` and `udp`, commands in `client`.
"""

from __future__ import annotations

import errno
import socket
from abc import ABC, abstractmethod
from collections import deque
from typing import Literal, NoReturn

from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.errors import (
    DeadlineExceeded,
    IncompleteTransfer,
    NoAnswer,
    ProtocolViolation,
    Refused,
    TerminalError,
    Unreachable,
)
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.frames import (
    HEADER_BYTES,
    TCP_HEADER_BYTES,
    Command,
    Frame,
    build_packet,
    is_checksum_valid,
    parse_frame,
)
from zk_pipeline.devices.protocol.packets import LostPacket, Packets
from zk_pipeline.runtime.processes import check_for_end

Kind = Literal["tcp", "udp"]

RECEIVE_BYTES = 1 << 18
STALE_ANSWERS = 16  # an answer to one of so many previous requests is late or duplicated, not a violation
REPLY_NUMBERS = 0xFFFF  # pyzk counts modulo this
UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})


class Transport(ABC):
    """One connection to one terminal, in place of pyzk's own socket.

    `receive` returns only complete frames that answer the last request: with a valid checksum, its reply number and the
    session id. Late and duplicated answers to earlier requests are dropped. Live events are dropped too, unless
    `is_listening`: then they are acknowledged and kept for `next_event`. Any other frame raises TerminalError, and so
    does a wait beyond `timeout` or the deadline.
    `operation` is the attempted operation in error messages.
    """

    kind: Kind

    def __init__(self, device: Device, sock: socket.socket, *, timeout: float, deadline: Deadline) -> None:
        self.device = device
        self.timeout = timeout
        self.deadline = deadline
        self.operation = "connecting"
        self.bytes_received = 0
        self.is_broken = False
        self.was_resent = False
        self.has_answered = False
        self.is_listening = False
        self.session_id: int | None = None
        self.reply_number = REPLY_NUMBERS - 1
        self.last_answer = Frame(0, 0, 0, b"")
        self._command = 0
        self._events: deque[Frame] = deque()
        self._sock = sock
        self.packets = Packets()

    # Socket methods that pyzk calls.

    def send(self, data: bytes) -> None:
        """Send one request, given with its TCP header."""
        self.sendto(data[TCP_HEADER_BYTES:], None)

    def sendto(self, packet: bytes, address: object) -> None:  # noqa: ARG002 - the socket is connected to the terminal
        """Send one request, given without a TCP header; the address is ignored."""
        request = parse_frame(packet)
        self._command, self.reply_number = request.command, request.reply_number
        self.packets = Packets()
        self.was_resent = False
        self._wait(self.timeout)
        self._send_request(packet)

    def recv(self, size: int) -> bytes:  # noqa: ARG002 - always a complete frame; pyzk's size is a guess
        """The next answer, in the form that pyzk expects from a socket."""
        packet, self.last_answer = self._receive()
        return self._as_sent(packet)

    def close(self) -> None:
        """Close the connection; safe to call twice."""
        self._sock.close()

    # Methods of `TerminalClient`.

    def receive(self) -> Frame:
        """The next frame of the answer to the last request."""
        return self._receive()[1]

    def next_event(self, seconds: float) -> Frame | None:
        """The next live event, None if none arrives within `seconds`."""
        if not self._events and self._has_data(seconds):
            frame = self._check_frame(self._read_unasked())
            # Without a pending request, any other frame is a late or duplicated answer.
            if frame.command == Command.REG_EVENT:
                self._take_event(frame)
        return self._events.popleft() if self._events else None

    def fail(self, error: type[TerminalError], problem: str) -> NoReturn:
        """Raise `error` for this device and the current operation."""
        raise error(self.device, self.operation, problem)

    def _receive(self) -> tuple[bytes, Frame]:
        while True:
            packet = self._read()
            frame = self._check_frame(packet)
            if frame.command == Command.REG_EVENT:
                self._take_event(frame)
            elif self._answers_request(frame):
                self.has_answered = True
                return packet, frame

    def _check_frame(self, packet: bytes) -> Frame:
        if len(packet) < HEADER_BYTES:
            self._raise_broken(ProtocolViolation, f"a frame of only {len(packet)} bytes arrived")
        if not is_checksum_valid(packet):
            self._raise_broken(ProtocolViolation, "a frame arrived with a wrong checksum")
        return parse_frame(packet)

    def _take_event(self, frame: Frame) -> None:
        if self.is_listening and self.session_id is not None:
            self._send(build_packet(Command.ACK_OK, self.session_id, frame.reply_number))
            self._events.append(frame)

    def _answers_request(self, frame: Frame) -> bool:
        if frame.reply_number != self.reply_number:
            if 0 < (self.reply_number - frame.reply_number) % REPLY_NUMBERS <= STALE_ANSWERS:
                return False
            problem = f"answer number {frame.reply_number} arrived for request {self.reply_number}"
            self._raise_broken(ProtocolViolation, problem)
        if self._command == Command.CONNECT:
            self.session_id = frame.session_id
        elif self.packets.is_announced:
            self.packets.note(frame)
        elif frame.session_id != self.session_id:
            if frame.command == Command.DATA:
                self.fail(LostPacket, "a data packet arrived before its announcement")
            self._raise_broken(ProtocolViolation, "an answer of another session arrived")
        if frame.command == Command.PREPARE_DATA:
            self.packets.is_announced = True
        return True

    def _raise_broken(self, error: type[TerminalError], problem: str) -> NoReturn:
        self.is_broken = True
        self.fail(error, problem)

    def _wait(self, seconds: float) -> None:
        """Set the socket's timeout, at most until the deadline."""
        check_for_end()
        remaining = self.deadline.remaining()
        if remaining <= 0:
            self._raise_broken(DeadlineExceeded, f"it did not end within {self.deadline.seconds:.3g} s")
        self._sock.settimeout(min(seconds, remaining))

    def _raise_no_answer(self) -> NoReturn:
        if self.deadline.remaining() <= 0:
            self._raise_broken(DeadlineExceeded, f"it did not end within {self.deadline.seconds:.3g} s")
        self._raise_broken(NoAnswer, f"no answer within {self.timeout:g} s over {self.kind.upper()}")

    def _raise_connection_lost(self, how: str, error: OSError | None = None) -> NoReturn:
        if self.has_answered:
            self._raise_broken(IncompleteTransfer, f"the terminal {how}")
        if error is not None and error.errno in UNREACHABLE:
            self._raise_broken(Unreachable, error_text(error))
        self._raise_broken(Refused, f"the terminal {how} before any answer")

    def _has_data(self, seconds: float) -> bool:
        """Whether data arrives within `seconds`."""
        self._wait(seconds)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except OSError as error:
            self._raise_connection_lost(f"broke the connection ({error_text(error)})", error)
        return True

    @abstractmethod
    def _send(self, packet: bytes) -> None:
        """Send one packet that needs no answer."""

    @abstractmethod
    def _send_request(self, packet: bytes) -> None:
        """Send one request, which is answered."""

    @abstractmethod
    def _read(self) -> bytes:
        """The next packet of an expected answer."""

    @abstractmethod
    def _read_unasked(self) -> bytes:
        """The next packet, part of which has arrived."""

    @abstractmethod
    def _as_sent(self, packet: bytes) -> bytes:
        """A packet as received from the socket."""


def error_text(error: OSError | UnicodeError) -> str:
    """Message of the operating system for a failed connection, without its error number."""
    if isinstance(error, (socket.gaierror, UnicodeError)):  # the latter for an invalid host name
        return "the host name is not known"
    return error.strerror or str(error)
