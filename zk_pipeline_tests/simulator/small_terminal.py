"""A small emulated terminal with fixed users and punches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser, punches_frame
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
FIRST_PUNCH = datetime.fromisoformat("2026-03-01T23:59:50")


def small_terminal(
    *,
    name: str = "gate",
    layout: Layout = 40,
    user_count: int = 3,
    punches: int = 5,
    comm_key: int = 0,
    clock_offset_seconds: int = 0,
    record_capacity: int = 100_000,
    serial_number: str = "",
) -> EmulatedTerminal:
    """A terminal at UTC+3 with a stopped clock at 15:00; uids count from 11, user ids from 1001."""
    users = tuple(TerminalUser(uid=11 + n, user_id=str(1001 + n), name=f"Zoë {n}") for n in range(user_count))
    definition = TerminalDefinition(
        name=name,
        timezone="Africa/Nairobi",
        layout=layout,
        user_record_size=72 if layout == 40 else 28,
        users=users,
        comm_key=comm_key,
        clock_offset_seconds=clock_offset_seconds,
        record_capacity=record_capacity,
        serial_number=serial_number,
    )
    rows = [(str(1001 + n % user_count), FIRST_PUNCH + timedelta(seconds=7 * n), 1, n % 2) for n in range(punches)]
    return EmulatedTerminal(definition, log=punches_frame(rows), clock=lambda: NOON)
