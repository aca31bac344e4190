"""Terminals of every record layout for the fault matrix, and an independent decoder of their logs.

The decoder shares no code with zk_pipeline.devices; readings are compared with its result.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import pandas as pd

from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.protocol import Frame, decode_time
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

NAME = "Main gate"
ZONE = "Europe/Istanbul"
NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
USERS = tuple(TerminalUser(uid=7 + i, user_id=str(1000 + i), name=f"Şule {i}", card=i) for i in range(12))
UIDS = {user.uid: user.user_id for user in USERS}
FIRST_PUNCH = np.datetime64("2025-12-31T22:00:00", "s")

Row = tuple[str, datetime, int, int]  # user id, wall clock, verify type, punch state


@dataclass(frozen=True)
class Shape:
    """One format of a transferred log, derived from a layout of the simulator."""

    name: str
    size: int
    base: Layout
    time_offset: int  # of the time code in a record of the base layout
    encode: Callable[[bytes], bytes] = lambda log: log

    @property
    def inline(self) -> int:
        """Number of records that are sent at once."""
        return 20

    @property
    def in_parts(self) -> int:
        """Number of records that need several requests, on TCP too."""
        return 70_000 // self.size + 1


def _as_ma300(log: bytes) -> bytes:
    """State and two bits of the verification in the third byte, 0 in the fourth."""
    usual = np.frombuffer(log, "u1").reshape(-1, 8)
    ma300 = np.zeros_like(usual)
    ma300[:, [0, 1, 4, 5, 6, 7]] = usual[:, [0, 1, 3, 4, 5, 6]]
    ma300[:, 2] = usual[:, 7] & 7 | (usual[:, 2] & 3) << 3 | 1 << 5
    return ma300.tobytes()


def _with_nine_more_bytes(log: bytes) -> bytes:
    return b"".join(log[start : start + 40] + bytes(9) for start in range(0, len(log), 40))


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("8", 8, 8, 3),
        Shape("8-MA300", 8, 8, 3, _as_ma300),
        Shape("16", 16, 16, 4),
        Shape("40", 40, 40, 27),
        Shape("49", 49, 40, 27, _with_nine_more_bytes),
    )
}


class MatrixTerminal(EmulatedTerminal):
    """A terminal of any shape that records every true log that was requested: `served`.

    `alter` changes the log that is sent, after that.
    """

    def __init__(self, shape: Shape, records: int, *, alter: Callable[[bytes], bytes] = bytes, **changes: int) -> None:
        definition = TerminalDefinition(
            name=NAME,
            layout=shape.base,
            users=USERS,
            user_record_size=28 if shape.base == 8 else 72,
            timezone=ZONE,
        )
        super().__init__(replace(definition, **changes), log=_log(records), clock=lambda: NOW)  # type: ignore[arg-type]
        self.shape = shape
        self.alter = alter
        self.served: list[bytes] = []

    def encoded_log(self) -> bytes:
        self.served.append(self.log_on_the_wire())
        return self.alter(self.served[-1])

    def log_on_the_wire(self) -> bytes:
        """The current true log."""
        return self.shape.encode(self.log_of_base())

    def log_of_base(self) -> bytes:
        """The same, in the base layout."""
        return super().encoded_log()

    def append_impossible_date(self) -> None:
        """A record of 31 February."""
        record = bytearray(self.log_of_base()[: self.shape.base])
        code = (((26 * 12 + 1) * 31 + 30) * 24 + 8) * 3600
        record[self.shape.time_offset : self.shape.time_offset + 4] = code.to_bytes(4, "little")
        self.append_raw(bytes(record))

    def punches_on(self, count: int) -> None:
        """Append `count` punches, each a minute after the last."""
        moment = datetime(2026, 6, 1, 8, 0)  # noqa: DTZ001 - a wall clock has no zone
        for number in range(count):
            self.punch(USERS[number % len(USERS)].user_id, moment + timedelta(minutes=self.record_count))


def terminal_of(shape: str, *, is_inline: bool) -> MatrixTerminal:
    """A terminal whose log is sent at once, or in several parts."""
    return MatrixTerminal(SHAPES[shape], SHAPES[shape].inline if is_inline else SHAPES[shape].in_parts)


@dataclass
class EventBeforeAnswer(Faults):
    """Runs `event` at the terminal between computing its n-th answer and sending it."""

    number: int
    event: Callable[[], None]
    _answers: int = 0

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if self._answers == self.number:
            self.event()
        self._answers += 1
        await super().deliver(request, answer, connection)


@lru_cache
def _log(records: int) -> pd.DataFrame:
    """Several punches in the same second, every verify type and state."""
    numbers = np.arange(records)
    log: pd.DataFrame = pd.DataFrame(
        {
            "user_id": [USERS[number % len(USERS)].user_id for number in range(records)],
            "punched_at_local": FIRST_PUNCH + (numbers // 3 * 977).astype("timedelta64[s]"),
            "verify_type": (numbers % 5).astype("u1"),
            "punch_state": (numbers % 6).astype("u1"),
        }
    )
    return log


@lru_cache
def rows_of(log: bytes, shape: Shape) -> tuple[Row | None, ...]:
    """The decoded records, None for one that cannot be a punch."""
    records = (log[start : start + shape.size] for start in range(0, len(log), shape.size))
    return tuple(_row(record, shape) for record in records)


def _row(record: bytes, shape: Shape) -> Row | None:
    user_id: str | None
    if shape.name == "8":
        uid, verify_type, code, state = struct.unpack("<HBIB", record)
        user_id = UIDS.get(uid)
    elif shape.name == "8-MA300":
        uid, bits, code = struct.unpack("<HBxI", record)
        verify_type, state = bits >> 3 & 3, bits & 7
        user_id = UIDS.get(uid)
    elif shape.name == "16":
        number, code, state, verify_type = struct.unpack_from("<IIBB", record)
        user_id = str(number) if number else None
    else:
        text, verify_type, code, state = struct.unpack_from("<2x24sBIB", record)
        user_id = None
        with suppress(UnicodeDecodeError):
            user_id = text.split(b"\0")[0].decode()
    if not user_id:
        return None
    with suppress(ValueError):
        at_local = decode_time(code)
        return (user_id, at_local, verify_type, state) if at_local.year < 2100 else None
    return None
