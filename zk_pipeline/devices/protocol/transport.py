"""Sockets as pyzk is handed them: whole, verified frames in and out.

Here: checksum, session, reply and packet numbers, time limits. Not here: how bytes travel (`tcp`, `udp`),
what commands mean (`client`).
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
    checksum_fits,
    parse_frame,
)
from zk_pipeline.devices.protocol.packets import LostPacket, Packets
from zk_pipeline.runtime.processes import check_for_end

Kind = Literal["tcp", "udp"]

RECEIVE_BYTES = 1 << 18
STALE_ANSWERS = 16  # how far behind a late or doubled answer may be and still be recognised as one
REPLY_NUMBERS = 0xFFFF  # pyzk counts modulo this
UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})


class Transport(ABC):
    """One connection to one terminal, in the place of the socket that pyzk would make itself.

    `receive` returns only frames that answer the last request: whole, with a fitting checksum, its reply
    number and the session's id. Late and doubled answers to earlier requests are dropped, and live events too
    unless `is_listening`, which keeps them, acknowledged, for `next_event`. Everything else raises TerminalError,
    and so does any wait beyond `timeout` (silence) or the deadline.
    `doing` is what messages say was attempted.
    """

    kind: Kind

    def __init__(self, device: Device, sock: socket.socket, *, timeout: float, deadline: Deadline) -> None:
        self.device = device
        self.timeout = timeout
        self.deadline = deadline
        self.doing = "connecting"
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

    # What pyzk calls.

    def send(self, data: bytes) -> None:
        """Send one request, with its TCP top."""
        self.sendto(data[TCP_HEADER_BYTES:], None)

    def sendto(self, packet: bytes, address: object) -> None:  # noqa: ARG002 - the socket is connected to the terminal
        """Send one request; the address is the connected one."""
        request = parse_frame(packet)
        self._command, self.reply_number = request.command, request.reply_number
        self.packets = Packets()
        self.was_resent = False
        self._wait(self.timeout)
        self._send_request(packet)

    def recv(self, size: int) -> bytes:  # noqa: ARG002 - frames come whole, whatever size pyzk guesses
        """The next answer as pyzk expects it from a socket."""
        packet, self.last_answer = self._receive()
        return self._as_sent(packet)

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        self._sock.close()

    # What our own client calls.

    def receive(self) -> Frame:
        """The next frame of the answer to the last request."""
        return self._receive()[1]

    def next_event(self, seconds: float) -> Frame | None:
        """The next live event, None when none comes within so many seconds of waiting."""
        if not self._events and self._has_data(seconds):
            frame = self._verified(self._read_unasked())
            # Nothing was asked: what is no event is a late or doubled answer.
            if frame.command == Command.REG_EVENT:
                self._take_event(frame)
        return self._events.popleft() if self._events else None

    def fail(self, error: type[TerminalError], problem: str) -> NoReturn:
        """Raise `error`, worded for this device and what was being done."""
        raise error(self.device, self.doing, problem)

    def _receive(self) -> tuple[bytes, Frame]:
        while True:
            packet = self._read()
            frame = self._verified(packet)
            if frame.command == Command.REG_EVENT:
                self._take_event(frame)
            elif self._answers_request(frame):
                self.has_answered = True
                return packet, frame

    def _verified(self, packet: bytes) -> Frame:
        if len(packet) < HEADER_BYTES:
            self._break(ProtocolViolation, f"a frame of only {len(packet)} bytes arrived")
        if not checksum_fits(packet):
            self._break(ProtocolViolation, "a frame arrived whose checksum does not fit")
        return parse_frame(packet)

    def _take_event(self, frame: Frame) -> None:
        if self.is_listening and self.session_id is not None:
            self._send(build_packet(Command.ACK_OK, self.session_id, frame.reply_number))
            self._events.append(frame)

    def _answers_request(self, frame: Frame) -> bool:
        if frame.reply_number != self.reply_number:
            if 0 < (self.reply_number - frame.reply_number) % REPLY_NUMBERS <= STALE_ANSWERS:
                return False
            self._break(ProtocolViolation, f"answer number {frame.reply_number} came to request {self.reply_number}")
        if self._command == Command.CONNECT:
            self.session_id = frame.session_id
        elif self.packets.is_announced:
            self.packets.note(frame)
        elif frame.session_id != self.session_id:
            if frame.command == Command.DATA:
                self.fail(LostPacket, "a data packet came before it was announced")
            self._break(ProtocolViolation, "an answer of another session arrived")
        if frame.command == Command.PREPARE_DATA:
            self.packets.is_announced = True
        return True

    def _break(self, error: type[TerminalError], problem: str) -> NoReturn:
        self.is_broken = True
        self.fail(error, problem)

    def _wait(self, seconds: float) -> None:
        """Let the socket wait that long, at most until the deadline."""
        check_for_end()
        remaining = self.deadline.remaining()
        if remaining <= 0:
            self._break(DeadlineExceeded, f"it was not done after {self.deadline.seconds:.3g} s")
        self._sock.settimeout(min(seconds, remaining))

    def _silence(self) -> NoReturn:
        if self.deadline.remaining() <= 0:
            self._break(DeadlineExceeded, f"it was not done after {self.deadline.seconds:.3g} s")
        self._break(NoAnswer, f"no answer within {self.timeout:g} s over {self.kind.upper()}")

    def _lost(self, how: str, error: OSError | None = None) -> NoReturn:
        if self.has_answered:
            self._break(IncompleteTransfer, f"the terminal {how}")
        if error is not None and error.errno in UNREACHABLE:
            self._break(Unreachable, error_text(error))
        self._break(Refused, f"the terminal {how} before it said anything")

    def _has_data(self, seconds: float) -> bool:
        """Whether something to read comes within so many seconds."""
        self._wait(seconds)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except OSError as error:
            self._lost(f"broke the connection ({error_text(error)})", error)
        return True

    @abstractmethod
    def _send(self, packet: bytes) -> None:
        """Put one packet on its way."""

    @abstractmethod
    def _send_request(self, packet: bytes) -> None:
        """The same, for one that has to be answered."""

    @abstractmethod
    def _read(self) -> bytes:
        """The next packet, of which one is due."""

    @abstractmethod
    def _read_unasked(self) -> bytes:
        """The next packet, which has begun to arrive."""

    @abstractmethod
    def _as_sent(self, packet: bytes) -> bytes:
        """A packet as it came from the socket."""


def error_text(error: OSError | UnicodeError) -> str:
    """What the operating system says of a failed connection, in a person's words."""
    if isinstance(error, (socket.gaierror, UnicodeError)):  # the latter: no host name at all
        return "the host name is not known"
    return error.strerror or str(error)
