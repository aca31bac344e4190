"""Ways in which the line to an emulated terminal is bad: slow, late, in small pieces, losing and reordering packets.

What a terminal itself does wrong is in `faults`.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from zk_pipeline.simulator.terminal.connections import Connection, TcpConnection
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.protocol import Command, Frame


@dataclass
class LateAnswers(Faults):
    """Sends answers so many seconds late: to one command or, without, to all; `times` limits how often."""

    seconds: float
    command: int | None = None
    times: float = math.inf

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if self.command in (None, request.command) and self.times > 0:
            self.times -= 1
            await asyncio.sleep(self.seconds)
        await super().deliver(request, answer, connection)


@dataclass
class Segments(Faults):
    """A slow line: so many bytes at a time wherever that cuts a frame, and a pause before each piece.

    A datagram is never cut, and waits as long as one piece.
    """

    segment_bytes: int = 1
    pause_seconds: float = 0.02

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        pieces = [connection.frame(frame) for frame in answer]
        if isinstance(connection, TcpConnection):
            stream = b"".join(pieces)
            pieces = [stream[at : at + self.segment_bytes] for at in range(0, len(stream), self.segment_bytes)]
        for piece in pieces:
            await asyncio.sleep(self.pause_seconds)
            await connection.send([piece])


@dataclass
class SmallPackets(Faults):
    """Cuts transfers into CMD_DATA packets of `data_bytes`, sent as `then` does it.

    Real terminals send 1,008 bytes, and number the packets from 0 in the place of the session id (captures in
    pyzk's tests); others leave the session id there.
    """

    data_bytes: int = 1008
    is_numbered: bool = True
    then: Faults = field(default_factory=Faults)

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if answer[0].command == Command.CMD_PREPARE_DATA:
            first, *packets, last = answer
            data = b"".join(packet.data for packet in packets)
            pieces = [data[at : at + self.data_bytes] for at in range(0, len(data), self.data_bytes)]
            numbers = range(len(pieces)) if self.is_numbered else [first.session_id] * len(pieces)
            numbered = zip(numbers, pieces, strict=True)
            frames = [Frame(Command.CMD_DATA, number, request.reply_number, piece) for number, piece in numbered]
            answer = [first, *frames, last]
        await self.then.deliver(request, answer, connection)


class Fate(Enum):
    """What becomes of one packet on its way."""

    ARRIVES = "arrives"
    LOST = "is lost"
    DOUBLED = "arrives twice"
    OVERTAKEN = "arrives after the next one, be that of a later answer"


@dataclass
class BadLine(Faults):
    """Loses, doubles or reorders whole packets, as datagrams fare and as firmware may do on TCP.

    `fate` is asked with the number of each packet, from 0 over all connections.
    """

    fate: Callable[[int], Fate]
    _number: int = 0
    _overtaken: list[tuple[Connection, bytes]] = field(default_factory=list)

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:  # noqa: ARG002
        packets: list[bytes] = []
        for frame in answer:
            fate, packet = self.fate(self._number), connection.frame(frame)
            self._number += 1
            if fate is Fate.OVERTAKEN:
                self._overtaken.append((connection, packet))
            elif fate is not Fate.LOST:
                packets += [packet] * (2 if fate is Fate.DOUBLED else 1)
                packets += [late for owner, late in self._overtaken if owner is connection]
                self._overtaken = [late for late in self._overtaken if late[0] is not connection]
        await connection.send(packets)


def random_fates(
    seed: int, *, lost: float = 0.0, doubled: float = 0.0, overtaken: float = 0.0
) -> Callable[[int], Fate]:
    """Fates by chance, the same for the same seed; each share from 0 to 1."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    fates = [Fate.LOST, Fate.DOUBLED, Fate.OVERTAKEN, Fate.ARRIVES]
    shares = [lost, doubled, overtaken, 1 - lost - doubled - overtaken]
    return lambda _: chance.choices(fates, shares)[0]
