"""Details of one terminal that pushes, and its events, for the CLI, the API and the web admin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.devices.push.event_texts import event_text
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.push.commands import QueuedCommand, commands_of
from zk_pipeline.store.push.terminals import PushTerminal, read_terminals

NEWEST_COMMANDS = 20
NEWEST_DATES = 7
MAX_EVENTS = 1000


@dataclass(frozen=True)
class UploadsOfDate:
    """Uploads received on one date in the device's zone, as summed counts of `push_batches`."""

    date: date
    uploads: int
    lines: int
    stored: int
    duplicates: int
    quarantined: int
    other: int


@dataclass(frozen=True)
class SavedStamp:
    """A row of `push_stamps`."""

    table_name: str
    stamp: str
    updated_at: datetime


@dataclass(frozen=True)
class PushDetails:
    """A terminal with its stamps by table, the latest dates with uploads, and its newest commands; newest first."""

    terminal: PushTerminal
    stamps: list[SavedStamp]
    uploads: list[UploadsOfDate]
    commands: list[QueuedCommand]

    @property
    def open_commands(self) -> list[QueuedCommand]:
        """Commands of these that the terminal has not confirmed."""
        return [one for one in self.commands if one.finished_at is None]


@dataclass(frozen=True)
class TerminalEvent:
    """A row of `device_events`."""

    occurred_at_local: datetime
    code: int
    is_operation: bool
    user_id: str
    detail: str
    received_at: datetime
    description: str


def read_details(connection: Connection, device: str, timezone: str) -> PushDetails | None:
    """Details of the terminal that was adopted as this device; None without one."""
    terminal = next((one for one in read_terminals(connection) if one.device == device), None)
    if terminal is None:
        return None
    stamps = connection.execute(
        "SELECT table_name, stamp, updated_at FROM push_stamps WHERE serial_number = ? ORDER BY table_name",
        [terminal.serial_number],
    ).fetchall()
    uploads = connection.execute(_UPLOADS, {"device": device, "zone": timezone, "dates": NEWEST_DATES}).fetchall()
    return PushDetails(
        terminal,
        [SavedStamp(*row) for row in stamps],
        [UploadsOfDate(*row) for row in uploads],
        commands_of(connection, terminal.serial_number, NEWEST_COMMANDS),
    )


def read_events(
    connection: Connection, device: str, first: date | None, last: date | None, limit: int
) -> list[TerminalEvent]:
    """The newest events of a device on dates of its wall clock, newest first."""
    rows = connection.execute(
        """
        SELECT occurred_at_local, code, is_operation, user_id, detail, received_at FROM device_events
        WHERE device = $device AND ($first IS NULL OR occurred_at_local >= $first::DATE)
          AND ($last IS NULL OR occurred_at_local < $last::DATE + 1)
        ORDER BY occurred_at_local DESC, received_at DESC, code, user_id, detail LIMIT $limit
        """,
        {"device": device, "first": first, "last": last, "limit": limit},
    ).fetchall()
    return [TerminalEvent(*(*row, event_text(row[1], is_operation=row[2]))) for row in rows]


_UPLOADS = """
SELECT (received_at AT TIME ZONE $zone)::DATE AS day, count(*), sum(lines)::BIGINT, sum(stored)::BIGINT,
       sum(duplicates)::BIGINT, sum(quarantined)::BIGINT, sum(other)::BIGINT
FROM push_batches WHERE device = $device GROUP BY day ORDER BY day DESC LIMIT $dates
"""
