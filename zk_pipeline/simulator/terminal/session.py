"""Protocol session of one client with an emulated terminal: a request frame in, answer frames out. No sockets.

Source: zk-protocol (adrobinoga), unless a docstring says that a behaviour is not documented.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from zk_pipeline.simulator.terminal.commands import COMMANDS, ERROR, Answer, ok
from zk_pipeline.simulator.terminal.protocol import Command, Event, Frame, scramble_comm_key
from zk_pipeline.simulator.terminal.records import Punch
from zk_pipeline.simulator.terminal.tables import ReadBuffer, encoded_table
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

TCP_DATA_BYTES = 0xFFC0  # maximum data in one CMD_DATA, by transport
UDP_DATA_BYTES = 1024


@dataclass(kw_only=True)
class Session:
    """Checks order and authorisation of one client's requests and answers them from the terminal's state.

    `push` sends a frame without a request (live events).
    """

    terminal: EmulatedTerminal
    new_session_id: Callable[[], int]
    data_bytes: int
    push: Callable[[Frame], None]
    session_id: int = 0
    is_connected: bool = False
    is_authorised: bool = False
    _buffer: ReadBuffer = field(default_factory=ReadBuffer)
    _last_request: Frame | None = None
    _last_answer: list[Frame] = field(default_factory=list)
    _stop_listening: Callable[[], None] | None = None

    def handle(self, request: Frame) -> list[Frame]:
        """The frames that answer this request, all with its reply number.

        Not documented: a request that repeats the last one, as after a lost datagram, gets the same answer and is not
        executed twice; a wrong session id gets CMD_ACK_UNAUTH, an unexpected reply number CMD_ACK_ERROR.
        """
        if request.command == Command.CMD_ACK_OK:  # acknowledgement of a live event
            return []
        if request == self._last_request:
            return self._last_answer
        if request.command != Command.CMD_CONNECT:
            if not self.is_connected or request.session_id != self.session_id:
                return [_reply(request, Command.CMD_ACK_UNAUTH)]
            if not self._is_next(request):
                return [_reply(request, *ERROR)]
        self._last_request, self._last_answer = request, self._answer(request)
        return self._last_answer

    def close(self) -> None:
        """End the session: unregister live events, free the read buffer."""
        self._register_events(0)
        self._buffer.free()
        self.is_connected = self.is_authorised = False

    def _is_next(self, request: Frame) -> bool:
        assert self._last_request is not None
        following = self._last_request.reply_number + 1
        # Some clients use 65535 before the number starts again at 0, others do not.
        return request.reply_number == following & 0xFFFF or (request.reply_number == 0 and following == 0xFFFF)

    def _answer(self, request: Frame) -> list[Frame]:
        match request.command:
            case Command.CMD_CONNECT:
                return [self._connect(request)]
            case Command.CMD_AUTH:
                return [_reply(request, self._authorise(request.data))]
            case _ if not self.is_authorised:
                answer: Answer = Command.CMD_ACK_UNAUTH, b""
            case Command.CMD_EXIT:
                self.close()
                answer = ok()
            case Command.CMD_REG_EVENT:
                self._register_events(int.from_bytes(request.data[:4], "little"))
                answer = ok()
            case Command.CMD_ATTLOG_RRQ | Command.CMD_USERTEMP_RRQ:  # older than buffered reads
                table = encoded_table(self.terminal, request.command, next(iter(request.data), 0))
                return self._transfer(request, table)
            case Command.CMD_DATA_RDY:
                return self._transfer(request, self._buffer.part(request.data))
            case Command.CMD_DATA_WRRQ:
                answer = self._buffer.prepare(self.terminal, request.data)
            case Command.CMD_FREE_DATA:
                self._buffer.free()
                answer = ok()
            case command if command in COMMANDS:
                answer = COMMANDS[command](self.terminal, request.data)
            case _:
                answer = Command.CMD_ACK_UNKNOWN, b""
        return [_reply(request, *answer)]

    def _connect(self, request: Frame) -> Frame:
        """Open a session; a connected client that connects again keeps its session id."""
        if not self.is_connected:
            self.session_id = self.new_session_id()
        self.is_connected = True
        self.is_authorised = self.terminal.definition.comm_key == 0
        code = Command.CMD_ACK_OK if self.is_authorised else Command.CMD_ACK_UNAUTH
        return Frame(code, self.session_id, request.reply_number)

    def _authorise(self, scrambled: bytes) -> Command:
        key = self.terminal.definition.comm_key
        if key and (len(scrambled) != 4 or scrambled != scramble_comm_key(key, self.session_id, scrambled[2])):
            return Command.CMD_ACK_UNAUTH
        self.is_authorised = True
        return Command.CMD_ACK_OK

    def _transfer(self, request: Frame, data: bytes | None) -> list[Frame]:
        if data is None:
            return [_reply(request, *ERROR)]
        pieces = (data[at : at + self.data_bytes] for at in range(0, len(data), self.data_bytes))
        return [
            _reply(request, Command.CMD_PREPARE_DATA, struct.pack("<II", len(data), 0x1000)),
            *(_reply(request, Command.CMD_DATA, piece) for piece in pieces),
            _reply(request, Command.CMD_ACK_OK),
        ]

    def _register_events(self, flags: int) -> None:
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        if flags & Event.EF_ATTLOG:
            self._stop_listening = self.terminal.listen(lambda punch: self.push(self._event(punch)))

    def _event(self, punch: Punch) -> Frame:
        """Event of 32 bytes with a text user id (zk-protocol, realtime.md), 12 with a number, 10 with a uid (pyzk)."""
        at = punch.punched_at_local
        if self.terminal.definition.events_name_uids:
            user_id = struct.pack("<H", self.terminal.uid_of(punch.user_id))
        elif self.terminal.definition.layout == 40:
            user_id = punch.user_id.encode("ascii").ljust(24, b"\0")
        else:
            user_id = struct.pack("<I", int(punch.user_id))
        kind = bytes((punch.verify_type, punch.punch_state))
        when = bytes((at.year - 2000, at.month, at.day, at.hour, at.minute, at.second))
        return Frame(Command.CMD_REG_EVENT, Event.EF_ATTLOG, 0, user_id + kind + when)


def _reply(request: Frame, code: Command, data: bytes = b"") -> Frame:
    return Frame(code, request.session_id, request.reply_number, data)
