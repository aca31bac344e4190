"""Queue of commands for terminals that push. A terminal asks for commands and confirms those that it carried out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.store.engine.database import Connection

# Some firmware never confirms. A reboot is sent once: an unconfirmed one would be repeated.
MAX_SENDS = 5
SENT_ONCE = ("reboot",)


@dataclass(frozen=True, kw_only=True)
class QueuedCommand:
    """A row of `push_commands`."""

    id: int
    serial_number: str
    command: PushCommand
    requested_by: str
    requested_at: datetime
    state: str
    sent_at: datetime | None
    times_sent: int
    finished_at: datetime | None
    return_code: int | None
    result: str | None


@dataclass(frozen=True)
class Confirmation:
    """Result of a command, as the terminal reports it; `is_done`: success by the codes of its family."""

    command_id: int
    is_done: bool
    return_code: int
    result: str | None = None


def queue_command(connection: Connection, serial: str, command: PushCommand, *, by: str, now: datetime) -> int:
    """Queue a command; returns its id, or that of the same command if it is still open."""
    values = {
        "serial": serial,
        "kind": command.kind,
        "start": command.start_local,
        "end": command.end_local,
        "user": command.user_id,
    }
    known = connection.execute(
        """
        SELECT id FROM push_commands
        WHERE serial_number = $serial AND kind = $kind AND start_local IS NOT DISTINCT FROM $start
          AND end_local IS NOT DISTINCT FROM $end AND user_id IS NOT DISTINCT FROM $user
          AND state IN ('queued', 'sent')
        """,
        values,
    ).fetchone()
    if known is not None:
        return int(known[0])
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM push_commands").fetchone()
    assert newest is not None
    number = int(newest[0]) + 1
    connection.execute(
        """
        INSERT INTO push_commands (id, serial_number, kind, start_local, end_local, user_id, requested_by, requested_at,
                                   state, times_sent)
        VALUES ($id, $serial, $kind, $start, $end, $user, $by, $now, 'queued', 0)
        """,
        {**values, "id": number, "by": by, "now": now},
    )
    return number


def open_commands(connection: Connection) -> list[QueuedCommand]:
    """Commands that no terminal has confirmed, oldest first."""
    return _read(connection, "state IN ('queued', 'sent') ORDER BY id", [])


def commands_of(connection: Connection, serial: str, limit: int) -> list[QueuedCommand]:
    """The newest commands of a terminal, newest first."""
    return _read(connection, "serial_number = ? ORDER BY id DESC LIMIT ?", [serial, limit])


def commands_of_device(connection: Connection, device: str, limit: int) -> list[QueuedCommand]:
    """The newest commands of the terminal that was adopted as this device, newest first."""
    serial = "serial_number IN (SELECT serial_number FROM push_terminals WHERE device = ?)"
    return _read(connection, f"{serial} ORDER BY id DESC LIMIT ?", [device, limit])


def command_of(connection: Connection, number: int) -> QueuedCommand:
    """The command with this id."""
    (command,) = _read(connection, "id = ?", [number])
    return command


def record_sent(connection: Connection, ids: Collection[int], now: datetime) -> None:
    """Count that these commands were sent. One that was sent MAX_SENDS times without a confirmation expires."""
    connection.execute(
        """
        UPDATE push_commands SET state = 'sent', sent_at = $now, times_sent = times_sent + 1
        WHERE list_contains($ids, id) AND state IN ('queued', 'sent')
        """,
        {"ids": list(ids), "now": now},
    )


def expire_commands(connection: Connection, *, sent_before: datetime, now: datetime) -> list[QueuedCommand]:
    """End commands that were sent as often as allowed, the last time before `sent_before`, without a confirmation."""
    values = {"before": sent_before, "max": MAX_SENDS, "once": list(SENT_ONCE)}
    condition = "state = 'sent' AND sent_at < $before AND (times_sent >= $max OR list_contains($once, kind))"
    ended = _read(connection, condition, values)
    if ended:
        connection.execute(
            f"UPDATE push_commands SET state = 'expired', finished_at = $now WHERE {condition}",  # noqa: S608 (constant SQL)
            {**values, "now": now},
        )
    return ended


def record_confirmations(
    connection: Connection, serial: str, confirmations: Sequence[Confirmation], now: datetime
) -> list[QueuedCommand]:
    """End the confirmed commands of this terminal; returns them. A late or repeated confirmation changes nothing."""
    waiting = {one.id for one in _read(connection, "serial_number = ? AND state IN ('queued', 'sent')", [serial])}
    confirmed = {one.command_id: one for one in confirmations if one.command_id in waiting}
    for one in confirmed.values():
        connection.execute(
            """
            UPDATE push_commands SET state = $state, finished_at = $now, return_code = $code, result = $result,
                sent_at = coalesce(sent_at, $now), times_sent = greatest(times_sent, 1)
            WHERE id = $id
            """,
            {
                "state": "done" if one.is_done else "failed",
                "now": now,
                "code": one.return_code,
                "result": one.result,
                "id": one.command_id,
            },
        )
    return _read(connection, "list_contains(?, id) ORDER BY id", [list(confirmed)])


_FIELDS = (
    "id, serial_number, kind, start_local, end_local, user_id, requested_by, requested_at, state, sent_at, times_sent, "
    "finished_at, return_code, result"
)


def _read(connection: Connection, condition: str, values: Sequence[object] | dict[str, object]) -> list[QueuedCommand]:
    rows = connection.execute(f"SELECT {_FIELDS} FROM push_commands WHERE {condition}", values).fetchall()  # noqa: S608
    return [
        QueuedCommand(
            id=row[0],
            serial_number=row[1],
            command=PushCommand(kind=row[2], start_local=row[3], end_local=row[4], user_id=row[5]),
            requested_by=row[6],
            requested_at=row[7],
            state=row[8],
            sent_at=row[9],
            times_sent=row[10],
            finished_at=row[11],
            return_code=row[12],
            result=row[13],
        )
        for row in rows
    ]
