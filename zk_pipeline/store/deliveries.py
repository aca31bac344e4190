"""Deliveries as seen from outside: what is due, in which state, and the outbox of one run (`turns`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import record_text
from zk_pipeline.store.database import Database
from zk_pipeline.store.outbox import Scope, due_dates, due_deliveries, pages
from zk_pipeline.store.sender import IsSender
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
class OpenDelivery:
    """One delivery that has not arrived, and the last words about it. `due_since` is when its revision was made."""

    site: str
    user_id: str
    work_date: date
    revision: int
    state: str
    attempts: int
    due_since: datetime
    last_attempt_at: datetime | None
    last_status: int | None
    last_error: str | None


@dataclass(frozen=True)
class Backlog:
    """How many deliveries there are, since when the oldest is due, and the oldest few of them."""

    count: int
    oldest: datetime | None
    examples: list[OpenDelivery]


@dataclass(frozen=True)
class DeliveryStore:
    database: Database
    clock: Callable[[], datetime]

    def only_sender(self) -> AbstractContextManager[IsSender]:
        """To be held around claiming and settling; what it gives tells whether it still is. Raises SenderBusy."""
        return self.database.engine.only_sender()

    def outbox(
        self, scope: Scope, run_id: str, is_sender: IsSender, encode: Callable[[Delivery], str] = record_text
    ) -> ClaimedOutbox:
        """The outbox that one run works off, under the sender's lock and only while `is_sender`.

        `encode`: a delivery as the JSON that will be sent of it, kept until its outcome is known.
        """
        return ClaimedOutbox(self.database, scope, run_id, self.clock, is_sender, encode)

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

    def dead_letters(self, *, examples: int = 10) -> Backlog:
        """What no sync sends any more until a person asks for it."""
        return self._backlog(["failed"], None, examples)

    def late(self, *, due_before: datetime, examples: int = 10) -> Backlog:
        """What became due before an instant and still waits for its turn or for the CRM."""
        return self._backlog(["pending", "sending", "retry"], due_before, examples)

    def _backlog(self, states: list[str], before: datetime | None, examples: int) -> Backlog:
        values = {"states": states, "before": before}
        chosen = "FROM crm_deliveries WHERE state IN $states AND ($before IS NULL OR created_at < $before)"
        with self.database.read("deliveries that have not arrived") as connection:
            count, oldest = connection.execute(f"SELECT count(*), min(created_at) {chosen}", values).fetchall()[0]
            rows = connection.execute(
                f"""
                SELECT site, user_id, work_date, revision, state, attempts, created_at, last_attempt_at, last_status,
                       last_error
                {chosen} ORDER BY created_at, work_date, user_id, site LIMIT {int(examples)}
                """,
                values,
            ).fetchall()
        return Backlog(count, oldest, [OpenDelivery(*row) for row in rows])

    def requeue(self, scope: Scope) -> int:
        """Make dead letters and what waits for its next round due at once, with all its rounds again; how many."""
        with self.database.write("requeue deliveries") as connection:
            row = connection.execute(
                """
                UPDATE crm_deliveries SET state = 'pending', rounds = 0
                WHERE state IN ('retry', 'failed')
                  AND ($first IS NULL OR work_date >= $first) AND ($last IS NULL OR work_date <= $last)
                  AND ($user_id IS NULL OR user_id = $user_id)
                """,
                {"first": scope.first, "last": scope.last, "user_id": scope.user_id},
            ).fetchone()
        return row[0] if row else 0

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
