"""Emulated terminals in a separate process, so that their CPU is not counted for the client. No measurement."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing.connection import Connection

import numpy as np
import pandas as pd

from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.faults import Faults, HangAt
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.network_faults import Segments, SmallPackets
from zk_pipeline.simulator.terminal.protocol import Command
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

FIRST_PUNCH = "2026-01-05T08:00:00"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One terminal to serve. `hangs`: at its log ("silent"), or by sending byte by byte ("dripping").

    `packets`: "numbered" for packets of 1,024 bytes, as from real terminals; by default of maximum size, unnumbered.
    """

    name: str
    layout: Layout
    records: int
    users: int = 500
    hangs: str = ""
    packets: str = ""


@dataclass
class Served:
    """Terminals that can be read, until the block of `serving` ends."""

    ports: dict[str, int]
    _pipe: Connection

    def device(self, name: str, protocol: Protocol) -> Device:
        return Device(name=name, ip_address="127.0.0.1", port=self.ports[name], protocol=protocol)

    def punch(self, name: str, count: int) -> None:
        """Record so many new punches; returns once they can be read."""
        self._pipe.send((name, count))
        self._pipe.recv()


@contextmanager
def serving(wanted: list[Wanted]) -> Iterator[Served]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, wanted), daemon=True)
    process.start()
    try:
        yield Served(here.recv(), here)
    finally:
        here.send(None)
        process.join()


def _serve(pipe: Connection, wanted: list[Wanted]) -> None:
    with Fleet() as fleet:
        pipe.send({one.name: fleet.add(_terminal(one), faults=_faults(one)) for one in wanted})
        while (order := pipe.recv()) is not None:
            _punch(fleet, *order)
            pipe.send("done")


def _terminal(wanted: Wanted) -> EmulatedTerminal:
    users = tuple(TerminalUser(uid=i, user_id=str(1000 + i), name=f"Employee {i}") for i in range(1, wanted.users + 1))
    definition = TerminalDefinition(
        name=wanted.name,
        layout=wanted.layout,
        users=users,
        user_record_size=72 if wanted.layout == 40 else 28,
        serial_number=wanted.name,
        record_capacity=1_000_000,
    )
    numbers = np.arange(wanted.records)
    log = pd.DataFrame(
        {
            "user_id": np.array([user.user_id for user in users], dtype=object)[numbers % len(users)],
            "punched_at_local": np.datetime64(FIRST_PUNCH, "s") + (numbers * 7).astype("timedelta64[s]"),
            "verify_type": np.ones(len(numbers), "u1"),
            "punch_state": (numbers % 2).astype("u1"),
        }
    )
    return EmulatedTerminal(definition, log=log)


def _faults(wanted: Wanted) -> Faults | None:
    if wanted.hangs == "silent":
        return HangAt(Command.CMD_DATA_WRRQ)
    if wanted.hangs:
        return Segments(1, 0.5)
    return SmallPackets(1024, is_numbered=True) if wanted.packets else None


def _punch(fleet: Fleet, name: str, count: int) -> None:
    start = datetime.fromisoformat(FIRST_PUNCH) + timedelta(days=60)
    for number in range(count):
        fleet.punch(name, "1001", start + timedelta(seconds=number))
