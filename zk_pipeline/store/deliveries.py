"""Deliveries as seen from outside: what is due, in which state, and the outbox of one run (`outbox`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.crm.models import Delivery
from zk_pipeline.store.database import Database
from zk_pipeline.store.outbox import DUE, ClaimedOutbox, Scope, due_deliveries, due_values
from zk_pipeline.store.sender import only_sender


@dataclass(frozen=True)
class SyncStats:
    """Days by the state of their current revision's delivery."""

    total: int
    synced: int
    unsynced: int
    failed: int


@dataclass(frozen=True)
class DeliveryStore:
    database: Database
    clock: Callable[[], datetime]

    def only_sender(self) -> AbstractContextManager[None]:
        """To be held around claiming and settling. Raises SenderBusy."""
        return only_sender(self.database.path)

    def outbox(self, scope: Scope, run_id: str) -> ClaimedOutbox:
        """The outbox that one run works off, under the sender's lock."""
        return ClaimedOutbox(self.database, scope, run_id)

    def peek(self, scope: Scope, limit: int | None) -> list[Delivery]:
        """What a sync of `scope` would send first, without claiming it."""
        with self.database.read("peek at due deliveries") as connection:
            return due_deliveries(connection, scope, run_id="", limit=limit)

    def due_dates(self, scope: Scope) -> dict[date, int]:
        """Work dates with due deliveries and how many, in order."""
        with self.database.read("due work dates") as connection:
            rows = connection.execute(
                f"{DUE} SELECT work_date, count(*) FROM due GROUP BY 1 ORDER BY 1",  # noqa: S608 (SQL of ours)
                due_values(scope, run_id="", limit=None),
            ).fetchall()
        return dict(rows)

    def states(self) -> dict[str, int]:
        """How many deliveries are in each state."""
        with self.database.read("count deliveries") as connection:
            rows = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY 1 ORDER BY 1").fetchall()
        return dict(rows)

    def states_by_date(self, dates: Sequence[date]) -> dict[date, dict[str, int]]:
        """How many deliveries of each of `dates` are in each state; superseded ones left out."""
        with self.database.read("count deliveries by date") as connection:
            rows = connection.execute(
                """
                SELECT work_date, state, count(*) FROM crm_deliveries
                WHERE state <> 'superseded' AND list_contains(?, work_date) GROUP BY ALL
                """,
                [list(dates)],
            ).fetchall()
        counts: dict[date, dict[str, int]] = {}
        for day, state, count in rows:
            counts.setdefault(day, {})[state] = count
        return counts

    def stats(self) -> SyncStats:
        with self.database.read("sync statistics") as connection:
            row = connection.execute(
                """
                SELECT count(*), count(*) FILTER (synced_to_crm), count(*) FILTER (NOT synced_to_crm),
                       count(*) FILTER (sync_state = 'failed')
                FROM processed_attendance
                """
            ).fetchone()
        assert row is not None
        return SyncStats(*row)
