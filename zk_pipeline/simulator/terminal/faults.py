"""Ways in which an emulated terminal misbehaves on the wire, one class each. Answers come from `session`.

Those of the line between, such as lost datagrams, are in `network_faults`. To add one, subclass `Faults` and override
what it changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.protocol import Command, Frame


class Faults:
    """The faultless terminal."""

    def accepts(self) -> bool:
        """Whether a new connection is taken; if not, TCP is closed at once and UDP unanswered."""
        return True

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        """Send the answer to a request, or what this fault makes of it."""
        await connection.send([connection.frame(frame) for frame in answer])


class RefuseConnections(Faults):
    """Takes no connection."""

    def accepts(self) -> bool:
        return False


@dataclass
class RefuseCommand(Faults):
    """Answers one command with `code`; with `data_prefix` only where the request's data starts so.

    CMD_CONNECT or CMD_AUTH with CMD_ACK_UNAUTH refuses whoever asks, CMD_DATA_WRRQ with prefix `01 09 00` the
    user list.
    """

    command: Command
    code: int = Command.CMD_ACK_ERROR
    data_prefix: bytes = b""

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command and request.data.startswith(self.data_prefix):
            answer = [Frame(self.code, answer[0].session_id, request.reply_number)]
        await super().deliver(request, answer, connection)


@dataclass
class HangAt(Faults):
    """Never answers this command, nor anything after it."""

    command: Command

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command:
            connection.mute()
        await super().deliver(request, answer, connection)


@dataclass
class CloseAfter(Faults):
    """Ends each connection once it has carried that many bytes, in the middle of a frame if need be."""

    sent_bytes: int
    with_reset: bool = False

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        for packet in [connection.frame(frame) for frame in answer]:
            left = self.sent_bytes - connection.sent_bytes
            if len(packet) > left:
                await connection.send([packet[:left]] if left > 0 else [])
                if self.with_reset:
                    connection.reset()
                else:
                    connection.cut()
                return
            await connection.send([packet])


@dataclass
class CorruptData(Faults):
    """Flips one byte of each CMD_DATA frame long enough to have it, the checksum not following."""

    offset: int

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        packets = []
        for frame in answer:
            packet = bytearray(connection.frame(frame))
            if frame.command == Command.CMD_DATA and len(frame.data) > self.offset:
                packet[len(packet) - len(frame.data) + self.offset] ^= 0xFF
            packets.append(bytes(packet))
        await connection.send(packets)


@dataclass
class CorruptAnswer(Faults):
    """Flips one byte in the first frame that answers this command, the checksum not following.

    `offset` counts from the frame's header (2 is its checksum, 8 its first byte of data); -8 to -1 is the TCP top.
    """

    command: int
    offset: int

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        packets = [bytearray(connection.frame(frame)) for frame in answer]
        if request.command == self.command:
            place = len(packets[0]) - len(answer[0].encode()) + self.offset
            if 0 <= place < len(packets[0]):
                packets[0][place] ^= 0xFF
        await connection.send([bytes(packet) for packet in packets])


@dataclass
class ChangeAnswers(Faults):
    """Answers one command with what `change` makes of the true frames: for all that has no class of its own here.

    With `data_prefix` only where the request's data starts so; `times` limits how often.
    """

    command: int
    change: Callable[[list[Frame]], list[Frame]]
    data_prefix: bytes = b""
    times: float = math.inf

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command and request.data.startswith(self.data_prefix) and self.times > 0:
            self.times -= 1
            answer = self.change(answer)
        await super().deliver(request, answer, connection)


@dataclass
class AtFirst(Faults):
    """Another fault for the first so many connections (on UDP: clients); all later ones find a healthy terminal."""

    faults: Faults
    connections: int = 1
    _asked: int = 0
    _affected: list[Connection] = field(default_factory=list)

    def accepts(self) -> bool:
        self._asked += 1
        return self._asked > self.connections or self.faults.accepts()

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if connection not in self._affected and len(self._affected) < self.connections:
            self._affected.append(connection)
        if connection in self._affected:
            await self.faults.deliver(request, answer, connection)
        else:
            await super().deliver(request, answer, connection)
