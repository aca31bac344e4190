"""Writes that wait for the lock of a shared store, in a table of its PostgreSQL database: the process that takes the
lock next stores them in its own transaction, which costs hardly more than for its own write.

The results are part of the commit: `commit_extra_info` of the snapshot names each stored write by its ticket. A waiting
process is notified only after the commit. If the storing process dies before, the others are next for the lock and
store their writes themselves; if it dies after, they find their results in the snapshot.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from uuid import uuid4

import duckdb

_log = logging.getLogger(__name__)

# Bounds of one transaction, because other processes wait for its end; a write above the first one is not shared.
MAX_BYTES_SHARED, MAX_BYTES_TOGETHER, MAX_WRITES_TOGETHER = 1_000_000, 8_000_000, 64

# Not logged: a restart of PostgreSQL ends the waiting connections as well.
_CREATE = """
    CREATE UNLOGGED TABLE IF NOT EXISTS zk_pipeline_waiting_writes (
        ticket TEXT PRIMARY KEY, kind TEXT NOT NULL, item BYTEA NOT NULL, pid INTEGER NOT NULL,
        connected_at TIMESTAMPTZ NOT NULL, submitted_at TIMESTAMPTZ NOT NULL
    )
"""
_SUBMIT = """
    INSERT INTO zk_pipeline_waiting_writes
    SELECT %s, %s, %s, pid, backend_start, clock_timestamp() FROM pg_stat_activity WHERE pid = pg_backend_pid()
    RETURNING (SELECT max(snapshot_id) FROM ducklake_snapshot)
"""
_WITHDRAW = "DELETE FROM zk_pipeline_waiting_writes WHERE ticket = ANY(%s)"
_RESULT = """
    WITH withdrawn AS (DELETE FROM zk_pipeline_waiting_writes WHERE ticket = %(ticket)s)
    SELECT commit_extra_info FROM ducklake_snapshot_changes
    WHERE snapshot_id > %(snapshot)s AND strpos(commit_extra_info, %(ticket)s) > 0
"""
# Process ids of PostgreSQL are used again: a row belongs to the connection that has its id and its start.
_IS_CONNECTED = (
    "(pid, connected_at) IN (SELECT pid, backend_start FROM pg_stat_activity WHERE backend_start IS NOT NULL)"
)
_DELETE_ABANDONED = f"DELETE FROM zk_pipeline_waiting_writes WHERE NOT {_IS_CONNECTED}"  # noqa: S608 (constant SQL)
_WAITS = """
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND NOT granted AND classid = %(class)s AND objid = %(number)s
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_OTHERS = f"""
    SELECT %(purpose)s AS held_for, ticket, item FROM (
        SELECT ticket, item, submitted_at, sum(length(item)) OVER (ORDER BY submitted_at, ticket) AS total
        FROM zk_pipeline_waiting_writes WHERE kind = %(kind)s AND {_IS_CONNECTED} AND pid IN ({_WAITS})
    ) AS waiting
    WHERE total <= %(bytes)s ORDER BY submitted_at, ticket LIMIT %(writes)s
"""  # noqa: S608 (constant SQL)
_WAKE = f"""
    SELECT count(pg_cancel_backend(pid)) FROM zk_pipeline_waiting_writes
    WHERE ticket = ANY(%(tickets)s) AND pid IN ({_WAITS})
"""  # noqa: S608 (constant SQL)


@dataclass(frozen=True)
class Ticket:
    """A submitted write, and the newest snapshot at its submission."""

    id: str
    snapshot: int


@dataclass(frozen=True)
class WaitingWrites:
    """Waiting writes as one session of PostgreSQL sees them. `class_id` and `number` identify the lock."""

    session: Any
    driver: ModuleType
    class_id: int
    number: int

    def submit(self, kind: str, item: bytes) -> Ticket:
        """Offer a write to the process that takes the lock next, before waiting for the lock with the same session."""
        ticket = uuid4().hex
        values = [ticket, kind, item]
        try:
            found = self._execute(_SUBMIT, values)
        except self.driver.errors.UndefinedTable:
            self._create()
            found = self._execute(_SUBMIT, values)
        return Ticket(ticket, int(found[0][0]))

    def take_result(self, ticket: Ticket) -> str | None:
        """The result of a write that another process has stored, or None; either way it is no longer offered."""
        found = self._execute(_RESULT, {"ticket": ticket.id, "snapshot": ticket.snapshot})
        return json.loads(found[0][0])[ticket.id] if found else None

    def others(self, kind: str, purpose: str) -> dict[str, bytes]:
        """Writes of that kind whose processes wait for the lock now, by ticket. They see `purpose` as that of the
        lock.
        """
        limits = {"bytes": MAX_BYTES_TOGETHER, "writes": MAX_WRITES_TOGETHER}
        values = {"kind": kind, "purpose": purpose} | limits | self._lock
        try:
            return {ticket: bytes(item) for _, ticket, item in self._execute(_OTHERS, values)}
        except self.driver.errors.UndefinedTable:
            return {}

    def withdraw(self, tickets: Sequence[str]) -> None:
        """Offer these writes no longer: their processes store them when they have the lock."""
        self._execute(_WITHDRAW, [list(tickets)])

    def wake(self, tickets: Sequence[str]) -> None:
        """Interrupt the wait for the lock of the processes whose writes are stored. Call it with the lock, after the
        commit.
        """
        try:
            self._execute(_WAKE, {"tickets": list(tickets)} | self._lock)
            self._execute(_DELETE_ABANDONED)
        except self.driver.Error as error:  # without the signal, they find their results once they have the lock
            _log.warning("waiting processes were not notified of their stored writes: %s", error)

    @property
    def _lock(self) -> dict[str, int]:
        return {"class": self.class_id, "number": self.number}

    def _create(self) -> None:
        with suppress(self.driver.errors.UniqueViolation):  # two processes at the same time
            self._execute(_CREATE)

    def _execute(self, sql: str, values: object = None) -> list[tuple[Any, ...]]:
        with self.session.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


def note_results(connection: duckdb.DuckDBPyConnection, catalog: str, results: Mapping[str, str]) -> None:
    """Make the results, by ticket, part of the commit of the current DuckLake transaction."""
    connection.execute(
        "CALL ducklake_set_commit_message($catalog, NULL, 'several processes', extra_info => $results)",
        {"catalog": catalog, "results": json.dumps(results)},
    )
