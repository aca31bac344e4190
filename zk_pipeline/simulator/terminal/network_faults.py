"""Injected network faults: slow or late answers, fragmented, lost, duplicated and reordered packets.

Faults of the terminal itself are in `faults`.
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
    """Delays answers by `seconds`: to one `command`, or to all if None; `times` is the maximum number of delays."""

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
    """A slow network: segments of `segment_bytes`, regardless of frame boundaries, with a pause before each.

    A datagram is never split, and is delayed like one segment.
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
    """Splits transfers into CMD_DATA packets of `data_bytes`, delivered by the faults in `then`.

    Real terminals send 1,008 bytes, and number the packets from 0 in the field of the session id (captures in
    pyzk's tests); others send the session id there.
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
    """Delivery of one packet by the network."""

    ARRIVES = "arrives"
    LOST = "is lost"
    DOUBLED = "arrives twice"
    OVERTAKEN = "arrives after the next packet, possibly of a later answer"


@dataclass
class BadLine(Faults):
    """Loses, duplicates or reorders whole packets, like a network with datagrams, or firmware on TCP.

    `fate` is called with the number of each packet, from 0 over all connections.
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
    """Random fates, reproducible for the same seed; each share from 0 to 1."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    fates = [Fate.LOST, Fate.DOUBLED, Fate.OVERTAKEN, Fate.ARRIVES]
    shares = [lost, doubled, overtaken, 1 - lost - doubled - overtaken]
    return lambda _: chance.choices(fates, shares)[0]
