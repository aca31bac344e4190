"""pyzk as the client of one terminal: session, comm key, options, counters, clock. Tables are read in `buffered_read`.

pyzk 0.9 builds the requests and keeps their numbers; what it does wrong is replaced: its socket (see
`transport`), the ping and the probe connection before CONNECT, the comm key's overflow, decoding that assumes
good data.
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
from zk_pipeline.devices.protocol.refusals import TRANSIENT, refusal
from zk_pipeline.devices.protocol.transport import Transport

GOODBYE_SECONDS = 1.0  # nothing depends on the answer to EXIT
CLOCK_READINGS = 3
RETRY_AFTER_SECONDS = (0.2, 0.6, 1.8)  # pauses before a request that was refused is made again
SHORTEST_OPTION = 3  # letters in the name of an option: MAC
GOOD_ANSWERS = frozenset({Command.ACK_OK, Command.PREPARE_DATA, Command.DATA})

# A time that was refused is past when it is sent again; a log is not cleared on a second thought.
ASKED_ONCE = frozenset({Command.SET_TIME, Command.CLEAR_ATTLOG})

_COUNTERS = struct.Struct("<20i")


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What the terminal counts of itself. Source: zk-protocol and pyzk, `CMD_GET_FREE_SIZES`."""

    users: int
    records: int
    user_capacity: int
    record_capacity: int


@dataclass(frozen=True, kw_only=True)
class ClockReading:
    """One look at the terminal's clock."""

    clock_local: datetime | None  # naive, the terminal's wall clock; None when it shows no real date
    read_at: datetime  # aware: the middle of the round trip, by our clock
    round_trip_seconds: float


class TerminalClient(ZK):  # type: ignore[misc] # pyzk has no types
    """The session with one terminal over one transport. Raises TerminalError only."""

    _ZK__sock: Any

    def __init__(self, transport: Transport) -> None:
        # The encoding is not passed on: pyzk keeps it in a class attribute that all threads share.
        super().__init__(
            transport.device.ip_address,
            transport.device.port,
            force_udp=transport.kind == "udp",
            ommit_ping=True,
        )
        self._ZK__sock.close()  # pyzk opens one right away
        self._ZK__sock = transport
        self.transport = transport

    def open_session(self, comm_key: int) -> None:
        """CONNECT, and AUTH where the terminal asks for it.

        Raises WrongCommKey, TerminalBusy or RefusesProtocol when it says no.
        """
        self.transport.doing = "opening the session"
        answer = self._ask_patiently(Command.CONNECT)
        self._ZK__session_id = answer.session_id
        if answer.command == Command.ACK_UNAUTH:
            answer = self._ask_patiently(Command.AUTH, scramble_comm_key(comm_key, answer.session_id))
            if answer.command == Command.ACK_UNAUTH:
                self.transport.fail(WrongCommKey, "the terminal does not accept the comm key")
        self._expect_good(Command.CONNECT, answer)
        self.is_connect = True

    def close_session(self) -> None:
        """Say goodbye, if there is anybody to say it to, and let go of the connection. Raises nothing."""
        try:
            if self.is_connect and not self.transport.is_broken:
                self.transport.timeout = min(self.transport.timeout, GOODBYE_SECONDS)
                self.ask(Command.EXIT)
        except TerminalError:
            # All that was asked for has been verified by now: a terminal that hangs up first does no harm.
            return
        finally:
            self.is_connect = False
            self.transport.close()

    def ask(self, command: int, data: bytes = b"") -> Frame:
        """Send a request and return the first frame of its answer, whatever that says.

        Raises SessionLost when the terminal no longer knows the session.
        """
        # pyzk counts on from the last answer, so after a request without one it would use a number twice.
        self._ZK__reply_id = self.transport.reply_number
        try:
            self._ZK__send_command(command, data)
        except ZKError as error:
            # pyzk wraps whatever the socket raises and keeps only its text.
            if isinstance(error.__context__, TerminalError):
                raise error.__context__ from None
            self.transport.fail(ProtocolViolation, str(error))
        answer = self.transport.last_answer
        if answer.command == Command.ACK_UNAUTH and self.is_connect:
            raise refusal(self.transport, command, answer.command)
        return answer

    def ask_for(self, command: int, data: bytes = b"") -> Frame:
        """Like `ask`, again after a pause where the refusal may be a passing one.

        Raises RefusesProtocol or TerminalBusy unless the terminal complies.
        """
        answer = self._ask_patiently(command, data)
        self._expect_good(command, answer)
        return answer

    def pauses(self) -> Iterator[None]:
        """Yields after each pause that a request is worth repeating after, as far as the deadline allows."""
        deadline = self.transport.deadline
        for seconds in RETRY_AFTER_SECONDS:
            if deadline.remaining() <= seconds:
                return
            deadline.clock.sleep(seconds)
            yield

    def _ask_patiently(self, command: int, data: bytes = b"") -> Frame:
        answer = self.ask(command, data)
        if answer.command in TRANSIENT and command not in ASKED_ONCE:
            for _ in self.pauses():
                answer = self.ask(command, data)
                if answer.command not in TRANSIENT:
                    break
        return answer

    def _expect_good(self, command: int, answer: Frame) -> None:
        if answer.command not in GOOD_ANSWERS:
            raise refusal(self.transport, command, answer.command)

    def option(self, name: str) -> str:
        """An option of the terminal such as `~SerialNumber`, "" where it does not have it.

        Asked by name, answered as name=value; pyzk knows terminals that double the sign or leave the name out, and
        X628-C answers `SerialNumber=` where `~SerialNumber` was asked for. Raises ProtocolViolation for the answer to
        another option, such as one that comes late.
        """
        self.transport.doing = f"reading the option {name}"
        answer = self.ask(Command.OPTIONS_RRQ, name.encode() + b"\0")
        if answer.command not in GOOD_ANSWERS:
            return ""
        key, separator, value = answer.data.partition(b"=")
        if not separator:
            return self._text(key)
        if not _is_spelling_of(name, self._text(key)):
            self.transport.fail(ProtocolViolation, f"another option was answered than {name}")
        return self._text(value.lstrip(b"="))

    def firmware_version(self) -> str:
        """The firmware's version, "" where the terminal does not say."""
        self.transport.doing = "reading the firmware version"
        answer = self.ask(Command.GET_VERSION)
        return self._text(answer.data) if answer.command in GOOD_ANSWERS else ""

    def _text(self, data: bytes) -> str:
        return data.split(b"\0", 1)[0].decode(self.transport.device.encoding, errors="replace").strip()

    def counters(self) -> Counters:
        """The terminal's counters and capacities as of now."""
        self.transport.doing = "reading the counters"
        data = self.ask_for(Command.GET_FREE_SIZES).data
        if len(data) < _COUNTERS.size:
            problem = f"{len(data)} bytes of counters arrived where {_COUNTERS.size} were due"
            self.transport.fail(ProtocolViolation, problem)
        fields = _COUNTERS.unpack_from(data)
        counters = Counters(users=fields[4], records=fields[8], user_capacity=fields[15], record_capacity=fields[16])
        if min(counters.users, counters.records) < 0:
            self.transport.fail(ProtocolViolation, "the terminal counts less than nothing")
        return counters

    def read_clock(self) -> ClockReading:
        """The terminal's wall clock and the moment it was read."""
        self.transport.doing = "reading the clock"
        clock = self.transport.deadline.clock
        for _ in range(CLOCK_READINGS):  # over UDP a request that was lost on its way spoils the round trip
            started_at, started = clock.now(), clock.monotonic()
            answer = self.ask_for(Command.GET_TIME)
            round_trip = clock.monotonic() - started
            if not self.transport.was_resent:
                break
        data = answer.data
        if answer.command != Command.ACK_OK:  # what announces a table holds no clock
            self.transport.fail(ProtocolViolation, f"the clock was due and {answer.command} came")
        if len(data) < 4:
            self.transport.fail(ProtocolViolation, f"{len(data)} bytes of clock arrived where 4 were due")
        return ClockReading(
            clock_local=decode_time(int.from_bytes(data[:4], "little")),
            read_at=started_at + timedelta(seconds=round_trip / 2),
            round_trip_seconds=round_trip,
        )

    def write_clock(self, clock_local: datetime) -> None:
        """Set the terminal's wall clock to a naive local time, to the second."""
        self.transport.doing = "setting the clock"
        self.ask_for(Command.SET_TIME, encode_time(clock_local).to_bytes(4, "little"))

    def disable(self) -> None:
        """Lock the terminal: its reader and keys take nothing until `enable`."""
        self.transport.doing = "locking the terminal"
        self.ask_for(Command.DISABLEDEVICE)

    def enable(self) -> None:
        """Unlock the terminal."""
        self.transport.doing = "unlocking the terminal"
        self.ask_for(Command.ENABLEDEVICE)

    def clear_log(self) -> None:
        """Delete the attendance log, for good."""
        self.transport.doing = "clearing the log"
        self.ask_for(Command.CLEAR_ATTLOG)


def _is_spelling_of(name: str, key: str) -> bool:
    """Whether an answer's key means the option `name`: it is empty, has the same letters and digits, or those of one
    are part of the other (`Serial`, `MACAddress`), whatever the case and signs.
    """
    asked, answered = (re.sub(r"[\W_]", "", text).lower() for text in (name, key))
    if 0 < len(answered) < SHORTEST_OPTION:
        return False
    return asked in answered or answered in asked
