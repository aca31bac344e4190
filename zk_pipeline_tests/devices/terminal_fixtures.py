"""Emulated terminals with a few users and punches, as devices to read, and faults used only by tests."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from zk_pipeline.devices.clock import Clock
from zk_pipeline.devices.gateway import TerminalGateway
from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

NAME = "Main gate"
USERS = tuple(TerminalUser(uid=7 + i, user_id=str(1000 + i), name=f"Şule {i}", card=i) for i in range(40))


def log(records: int) -> pd.DataFrame:
    """A log with `records` punches, several of them in the same second."""
    numbers = np.arange(records)
    start = np.datetime64("2025-12-31T22:00:00", "s")
    punches: pd.DataFrame = pd.DataFrame(
        {
            "user_id": [USERS[i % len(USERS)].user_id for i in range(records)],
            "punched_at_local": start + (numbers // 3 * 977).astype("timedelta64[s]"),
            "verify_type": (numbers % 5).astype("u1"),
            "punch_state": (numbers % 6).astype("u1"),
        }
    )
    return punches


def terminal(
    layout: Layout = 40,
    *,
    records: int = 60,
    comm_key: int = 0,
    clock_offset_seconds: int = 0,
    is_ma300: bool = False,
    encoding: str = "utf-8",
) -> EmulatedTerminal:
    definition = TerminalDefinition(
        name=NAME,
        layout=layout,
        users=USERS,
        user_record_size=28 if layout == 8 else 72,
        comm_key=comm_key,
        clock_offset_seconds=clock_offset_seconds,
        timezone="Europe/Istanbul",
        is_ma300=is_ma300,
        encoding=encoding,
    )
    punches = log(records)
    if is_ma300:  # two bits for the verification
        punches["verify_type"] %= 4
    return EmulatedTerminal(definition, log=punches)


@contextmanager
def serving(
    emulated: EmulatedTerminal, faults: Faults | None = None, *, protocol: Protocol = "tcp"
) -> Iterator[Device]:
    """Serve the terminal while the block runs; yields its device."""
    with Fleet.serve([emulated], faults={NAME: faults} if faults else None) as fleet:
        yield device(fleet.port_of(NAME), protocol)


def device(port: int, protocol: Protocol = "tcp") -> Device:
    return Device(name=NAME, ip_address="127.0.0.1", port=port, protocol=protocol, timezone="Europe/Istanbul")


HASTY = Clock(sleep=lambda _: None)  # retries without pauses


def gateway(
    *,
    timeout: float = 5.0,
    deadline: float = 20.0,
    comm_key: int = 0,
    locks: Path | None = None,
    clock: Clock = HASTY,
) -> TerminalGateway:
    return TerminalGateway(timeout=timeout, deadline=deadline, comm_keys=lambda _: comm_key, locks=locks, clock=clock)


USER_ID_OF_UID = {user.uid: user.user_id for user in USERS}


def same_punches(read: pd.DataFrame, truth: pd.DataFrame) -> bool:
    """Whether the reading has exactly these punches, in this order; slots are those of USERS."""
    columns = ["user_id", "punched_at_local", "verify_type", "punch_state"]
    read = read.assign(user_id=read["user_id"].where(read["uid"].isna(), read["uid"].map(USER_ID_OF_UID)))
    return [tuple(row) for row in read[columns].to_numpy()] == [tuple(row) for row in truth[columns].to_numpy()]


@dataclass
class Watched(Faults):
    """Records the requests of a terminal and the number of bytes sent; answers are delivered by `faults`."""

    faults: Faults = field(default_factory=Faults)
    requests: list[Frame] = field(default_factory=list)
    sent_bytes: int = 0

    def count(self, command: Command, data_prefix: bytes = b"") -> int:
        """Number of requests with this command."""
        return sum(one.command == command and one.data.startswith(data_prefix) for one in self.requests)

    def forget(self) -> None:
        self.requests.clear()
        self.sent_bytes = 0

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        before = connection.sent_bytes
        await self.faults.deliver(request, answer, connection)
        self.sent_bytes += connection.sent_bytes - before
        self.requests.append(request)


@dataclass
class CutAt(Faults):
    """Closes the connection instead of answering one command, `times` times."""

    command: Command
    times: int = 1_000_000

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command and self.times > 0:
            self.times -= 1
            connection.cut()
            return
        await super().deliver(request, answer, connection)


@dataclass
class Rewrite(Faults):
    """Changes the frames of the answers to one command, at most `times` times."""

    command: Command
    change: Callable[[list[Frame]], list[Frame]]
    times: int = 1_000_000

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == self.command and self.times > 0:
            self.times -= 1
            answer = self.change(answer)
        await super().deliver(request, answer, connection)


def data_packets(size: int, *, numbered: bool) -> Callable[[list[Frame]], list[Frame]]:
    """A change that splits data into packets of `size`, numbered (as by real terminals) or not."""

    def change(answer: list[Frame]) -> list[Frame]:
        if answer[0].command != Command.CMD_PREPARE_DATA:
            return answer
        data = b"".join(frame.data for frame in answer if frame.command == Command.CMD_DATA)
        sample = next(frame for frame in answer if frame.command == Command.CMD_DATA)
        packets = [data[start : start + size] for start in range(0, len(data), size)]
        frames = [
            replace(sample, data=packet, session_id=number if numbered else sample.session_id)
            for number, packet in enumerate(packets)
        ]
        return [answer[0], *frames, answer[-1]]

    return change


def table(records: bytes) -> bytes:
    """A table as transferred: its size, then its records."""
    return len(records).to_bytes(4, "little") + records


@contextmanager
def udp_only(port: int) -> Iterator[int]:
    """A port that forwards datagrams to another one and refuses TCP."""
    outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    waker, woken = socket.socketpair()
    outside.bind(("127.0.0.1", 0))
    inside.connect(("127.0.0.1", port))

    def relay() -> None:
        client = None
        while True:
            ready, _, _ = select.select([outside, inside, woken], [], [])
            if woken in ready:
                return
            if outside in ready:
                datagram, client = outside.recvfrom(65535)
                inside.send(datagram)
            if inside in ready and client is not None:
                outside.sendto(inside.recv(65535), client)

    thread = threading.Thread(target=relay)
    thread.start()
    try:
        yield int(outside.getsockname()[1])
    finally:
        waker.close()
        thread.join()
        for end in (outside, inside, woken):
            end.close()
