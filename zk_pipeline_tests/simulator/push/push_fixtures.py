"""A small pushing terminal for tests: fixed users, a stopped clock, UTC+3."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import PUSH_2_2, PushProfile
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import TerminalUser, punches_frame

NOON = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
FIRST_PUNCH = datetime.fromisoformat("2026-03-02T07:59:50")


def pushing_terminal(
    url: str,
    *,
    name: str = "push-gate",
    profile: PushProfile = PUSH_2_2,
    punches: int = 0,
    record_capacity: int = 100_000,
    encoding: str = "utf-8",
    batch_lines: int = 128,
    clock: Callable[[], datetime] = lambda: NOON,
    follows_date: bool = False,
    faults: PushFaults | None = None,
    timeout_seconds: float = 10.0,
) -> PushingTerminal:
    """A terminal with three users and `punches` records, seven seconds apart."""
    users = tuple(TerminalUser(uid=11 + n, user_id=str(1001 + n), name=f"李娜 {n}") for n in range(3))
    definition = TerminalDefinition(
        name=name, timezone="Africa/Nairobi", users=users, record_capacity=record_capacity, encoding=encoding
    )
    rows = [(str(1001 + n % 3), FIRST_PUNCH + timedelta(seconds=7 * n), 1, n % 2) for n in range(punches)]
    return PushingTerminal(
        definition,
        url,
        profile=profile,
        log=punches_frame(rows) if rows else None,
        clock=clock,
        follows_date=follows_date,
        batch_lines=batch_lines,
        faults=faults,
        timeout_seconds=timeout_seconds,
    )
