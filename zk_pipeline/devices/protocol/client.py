"""Client of one terminal, based on pyzk: session, comm key, options, counters, clock. Tables: see `buffered_read`.

pyzk 0.9 builds the requests and counts reply numbers. Replaced are its socket (see `transport`), the ping and the probe
connection before CONNECT, the comm key algorithm (overflow), and decoding, which assumes valid data.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from zk import ZK
from zk.exception import ZKError

from zk_pipeline.devices.errors import ProtocolViolation, TerminalError, WrongCommKey
from zk_pipeline.devices.protocol.frames import Command, Frame, scramble_comm_key
from zk_pipeline.devices.protocol.record_layouts import decode_time, encode_time
from zk_pipeline.devices.protocol.refusals import TRANSIENT_ANSWERS, refusal_error
from zk_pipeline.devices.protocol.transport import Transport

EXIT_TIMEOUT_SECONDS = 1.0  # short: the answer to EXIT is not needed
MAX_CLOCK_READINGS = 3
RETRY_PAUSES_SECONDS = (0.2, 0.6, 1.8)  # pauses before the retries of a refused request
MIN_OPTION_LETTERS = 3  # the shortest option name: MAC
SUCCESS_ANSWERS = frozenset({Command.ACK_OK, Command.PREPARE_DATA, Command.DATA})

# A retried SET_TIME would set a time in the past; CLEAR_ATTLOG is never repeated without new checks.
NOT_RETRIED = frozenset({Command.SET_TIME, Command.CLEAR_ATTLOG})

_COUNTERS = struct.Struct("<20i")


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The terminal's counters and capacities. Source: zk-protocol and pyzk, `CMD_GET_FREE_SIZES`."""

    users: int
    records: int
    user_capacity: int
    record_capacity: int


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """One reading of the terminal's clock."""

    clock_local: datetime | None  # naive, the terminal's wall clock; None for an impossible date
    read_at: datetime  # aware: the middle of the round trip, by this computer's clock
    round_trip_seconds: float


class TerminalClient(ZK):  # type: ignore[misc] # pyzk has no types
    """The session with one terminal over one transport. Raises TerminalError only."""

    _ZK__sock: Any

    def __init__(self, transport: Transport) -> None:
        # The encoding is not passed on: pyzk stores it in a class attribute, which all threads share.
        super().__init__(
            transport.device.ip_address,
            transport.device.port,
            force_udp=transport.kind == "udp",
            ommit_ping=True,
        )
        self._ZK__sock.close()  # pyzk opens a socket in its constructor
        self._ZK__sock = transport
        self.transport = transport

    def open_session(self, comm_key: int) -> None:
        """CONNECT, and AUTH if the terminal requires it.

        Raises WrongCommKey, TerminalBusy or UnsupportedCommand if the terminal refuses.
        """
        self.transport.operation = "opening the session"
        answer = self._request_with_retries(Command.CONNECT)
        self._ZK__session_id = answer.session_id
        if answer.command == Command.ACK_UNAUTH:
            answer = self._request_with_retries(Command.AUTH, scramble_comm_key(comm_key, answer.session_id))
            if answer.command == Command.ACK_UNAUTH:
                self.transport.fail(WrongCommKey, "the terminal does not accept the comm key")
        self._require_success(Command.CONNECT, answer)
        self.is_connect = True

    def close_session(self) -> None:
        """Send EXIT unless the connection is broken, and close the connection. Raises nothing."""
        try:
            if self.is_connect and not self.transport.is_broken:
                self.transport.timeout = min(self.transport.timeout, EXIT_TIMEOUT_SECONDS)
                self.request(Command.EXIT)
        except TerminalError:
            # All data has been verified by now: a terminal that closes the connection first causes no error.
            return
        finally:
            self.is_connect = False
            self.transport.close()

    def request(self, command: int, data: bytes = b"") -> Frame:
        """Send a request and return the first frame of its answer, which may be a refusal.

        Raises SessionLost if the terminal no longer knows the session.
        """
        # pyzk counts from the last answer, so after a request without an answer it would use a number twice.
        self._ZK__reply_id = self.transport.reply_number
        try:
            self._ZK__send_command(command, data)
        except ZKError as error:
            # pyzk wraps any exception of the socket in a ZKError with only its text.
            if isinstance(error.__context__, TerminalError):
                raise error.__context__ from None
            self.transport.fail(ProtocolViolation, str(error))
        answer = self.transport.last_answer
        if answer.command == Command.ACK_UNAUTH and self.is_connect:
            raise refusal_error(self.transport, command, answer.command)
        return answer

    def require(self, command: int, data: bytes = b"") -> Frame:
        """Like `request`, with retries after a transient refusal.

        Raises UnsupportedCommand or TerminalBusy if the terminal still refuses.
        """
        answer = self._request_with_retries(command, data)
        self._require_success(command, answer)
        return answer

    def retry_pauses(self) -> Iterator[None]:
        """Yield after each pause before a retry, as long as the deadline allows."""
        deadline = self.transport.deadline
        for seconds in RETRY_PAUSES_SECONDS:
            if deadline.remaining() <= seconds:
                return
            deadline.clock.sleep(seconds)
            yield

    def _request_with_retries(self, command: int, data: bytes = b"") -> Frame:
        answer = self.request(command, data)
        if answer.command in TRANSIENT_ANSWERS and command not in NOT_RETRIED:
            for _ in self.retry_pauses():
                answer = self.request(command, data)
                if answer.command not in TRANSIENT_ANSWERS:
                    break
        return answer

    def _require_success(self, command: int, answer: Frame) -> None:
        if answer.command not in SUCCESS_ANSWERS:
            raise refusal_error(self.transport, command, answer.command)

    def option(self, name: str) -> str:
        """An option of the terminal such as `~SerialNumber`, "" if the terminal does not have it.

        The answer is name=value; pyzk knows terminals that double the sign or omit the name, and X628-C answers
        `SerialNumber=` to a request for `~SerialNumber`. Raises ProtocolViolation for the answer to another option,
        such as a late one.
        """
        self.transport.operation = f"reading the option {name}"
        answer = self.request(Command.OPTIONS_RRQ, name.encode() + b"\0")
        if answer.command not in SUCCESS_ANSWERS:
            return ""
        key, separator, value = answer.data.partition(b"=")
        if not separator:
            return self._text(key)
        if not _is_same_option(name, self._text(key)):
            self.transport.fail(ProtocolViolation, f"the answer is for another option than {name}")
        return self._text(value.lstrip(b"="))

    def firmware_version(self) -> str:
        """The firmware version, "" if the terminal reports none."""
        self.transport.operation = "reading the firmware version"
        answer = self.request(Command.GET_VERSION)
        return self._text(answer.data) if answer.command in SUCCESS_ANSWERS else ""

    def _text(self, data: bytes) -> str:
        return data.split(b"\0", 1)[0].decode(self.transport.device.encoding, errors="replace").strip()

    def counters(self) -> Counters:
        """The terminal's current counters and capacities."""
        self.transport.operation = "reading the counters"
        data = self.require(Command.GET_FREE_SIZES).data
        if len(data) < _COUNTERS.size:
            problem = f"{len(data)} bytes of counters arrived where {_COUNTERS.size} were expected"
            self.transport.fail(ProtocolViolation, problem)
        fields = _COUNTERS.unpack_from(data)
        counters = Counters(users=fields[4], records=fields[8], user_capacity=fields[15], record_capacity=fields[16])
        if min(counters.users, counters.records) < 0:
            self.transport.fail(ProtocolViolation, "the terminal reports a negative counter")
        return counters

    def read_clock(self) -> ClockReading:
        """The terminal's wall clock and the instant of the reading."""
        self.transport.operation = "reading the clock"
        clock = self.transport.deadline.clock
        for _ in range(MAX_CLOCK_READINGS):  # over UDP a resent request distorts the round trip
            started_at, started = clock.now(), clock.monotonic()
            answer = self.require(Command.GET_TIME)
            round_trip = clock.monotonic() - started
            if not self.transport.was_resent:
                break
        data = answer.data
        if answer.command != Command.ACK_OK:  # such as the announcement of a table
            self.transport.fail(ProtocolViolation, f"the clock was expected and answer {answer.command} arrived")
        if len(data) < 4:
            self.transport.fail(ProtocolViolation, f"{len(data)} bytes of clock arrived where 4 were expected")
        return ClockReading(
            clock_local=decode_time(int.from_bytes(data[:4], "little")),
            read_at=started_at + timedelta(seconds=round_trip / 2),
            round_trip_seconds=round_trip,
        )

    def write_clock(self, clock_local: datetime) -> None:
        """Set the terminal's wall clock to a naive local time, to the second."""
        self.transport.operation = "setting the clock"
        self.require(Command.SET_TIME, encode_time(clock_local).to_bytes(4, "little"))

    def disable(self) -> None:
        """Lock the terminal: keypad and sensor accept no punches until `enable`."""
        self.transport.operation = "locking the terminal"
        self.require(Command.DISABLEDEVICE)

    def enable(self) -> None:
        """Unlock the terminal."""
        self.transport.operation = "unlocking the terminal"
        self.require(Command.ENABLEDEVICE)

    def clear_log(self) -> None:
        """Delete the attendance log permanently."""
        self.transport.operation = "clearing the log"
        self.require(Command.CLEAR_ATTLOG)


def _is_same_option(name: str, key: str) -> bool:
    """Whether an answer's key means the option `name`: it is empty, or one of both contains the other (`Serial`,
    `MACAddress`), compared by letters and digits, without case.
    """
    requested, answered = (re.sub(r"[\W_]", "", text).lower() for text in (name, key))
    if 0 < len(answered) < MIN_OPTION_LETTERS:
        return False
    return requested in answered or answered in requested
