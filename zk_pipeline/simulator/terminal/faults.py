"""Injected faults of an emulated terminal, one class each. Answers come from `session`.

Faults of the network, such as lost datagrams, are in `network_faults`. To add a fault, subclass `Faults` and override a
method.
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
        """Whether a new connection is accepted; if not, TCP is closed at once and UDP is not answered."""
        return True

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        """Send the answer to a request, as changed by this fault."""
        await connection.send([connection.frame(frame) for frame in answer])


class RefuseConnections(Faults):
    """Accepts no connection."""

    def accepts(self) -> bool:
        return False


@dataclass
class RefuseCommand(Faults):
    """Answers one command with `code`; with `data_prefix` only requests whose data starts with it.

    CMD_CONNECT or CMD_AUTH with CMD_ACK_UNAUTH refuses every client, CMD_DATA_WRRQ with prefix `01 09 00` the user
    list.
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
    """Never answers this command or any later one."""

    command: Command

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command:
            connection.mute()
        await super().deliver(request, answer, connection)


@dataclass
class CloseAfter(Faults):
    """Closes each connection after so many sent bytes, also within a frame."""

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
    """Flips the byte at `offset` of the data of each CMD_DATA frame, without a new checksum."""

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
    """Flips one byte in the first frame that answers this command, without a new checksum.

    `offset` counts from the frame header (2 is its checksum, 8 its first byte of data); -8 to -1 is the TCP header.
    """

    command: int
    offset: int

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        packets = [bytearray(connection.frame(frame)) for frame in answer]
        if request.command == self.command:
            position = len(packets[0]) - len(answer[0].encode()) + self.offset
            if 0 <= position < len(packets[0]):
                packets[0][position] ^= 0xFF
        await connection.send([bytes(packet) for packet in packets])


@dataclass
class ChangeAnswers(Faults):
    """Replaces the frames that answer one command by `change(frames)`: for faults without a class of their own.

    With `data_prefix` only for requests whose data starts with it; `times` is the maximum number of changes.
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
    """Another fault for the first `connections` connections (on UDP: clients); later ones are served without faults."""

    faults: Faults
    connections: int = 1
    _opened: int = 0
    _affected: list[Connection] = field(default_factory=list)

    def accepts(self) -> bool:
        self._opened += 1
        return self._opened > self.connections or self.faults.accepts()

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if connection not in self._affected and len(self._affected) < self.connections:
            self._affected.append(connection)
        if connection in self._affected:
            await self.faults.deliver(request, answer, connection)
        else:
            await super().deliver(request, answer, connection)
