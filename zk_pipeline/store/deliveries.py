"""Deliveries as seen from outside: what is due, in which state, and the outbox of one run (`turns`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.crm.models import Delivery
from zk_pipeline.store.database import Database
from zk_pipeline.store.outbox import Scope, due_dates, due_deliveries, pages
from zk_pipeline.store.sender import only_sender
from zk_pipeline.store.turns import ClaimedOutbox

_PAGE = 1000  # due deliveries looked at in one hold of the store


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
        return ClaimedOutbox(self.database, scope, run_id, self.clock)

    def peek(self, scope: Scope, limit: int | None = None) -> Iterator[Delivery]:
        """What a sync of `scope` would send first, at most `limit`, without claiming it; read page by page."""
        left = sys.maxsize if limit is None else limit
        for dates in pages(self.due_dates(scope), _PAGE):
            with self.database.read("peek at due deliveries") as connection:
                found = due_deliveries(connection, dates, scope, run_id="", limit=left)
            yield from found
            left -= len(found)
            if not left:
                break

    def due_dates(self, scope: Scope) -> dict[date, int]:
        """Work dates with due deliveries and how many, in order."""
        with self.database.read("due work dates") as connection:
            return due_dates(connection, scope, run_id="")

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
