"""CRM deliveries: counts by state, due deliveries, dead letters, pauses, and the outbox of a sync run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cache
from hashlib import sha256

from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import record_body
from zk_pipeline.data_libraries import pa
from zk_pipeline.store.deliveries.due_deliveries import SyncScope, date_pages, due_dates, due_deliveries
from zk_pipeline.store.deliveries.outbox import SyncOutbox
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.locks.sync_lock import HasSyncLock
from zk_pipeline.store.work_dates.staleness import keep_setting

_PAGE = 1000  # due deliveries per read
_PAUSE = "crm_pause_until"  # in store_settings: the instant, and the digest of the address that asked for it


_KEYS = cache(
    lambda: pa.schema({"site": pa.string(), "user_id": pa.string(), "work_date": pa.date32(), "revision": pa.int64()})
)


@dataclass(frozen=True)
class DeliveryKey:
    """Key of one delivery."""

    site: str
    user_id: str
    work_date: date
    revision: int


@dataclass(frozen=True)
class SyncStats:
    """Attendance days by the state of their current revision's delivery."""

    total: int
    synced: int
    unsynced: int
    failed: int


@dataclass(frozen=True)
class SyncError:
    """Last error of a delivery that a run attempted and that is not delivered."""

    user_id: str
    work_date: date
    error: str


@dataclass(frozen=True)
class OpenDelivery:
    """One open delivery with its last error. `due_since`: when its revision was created."""

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
    """Number of open deliveries, due time of the oldest, and the oldest few."""

    count: int
    oldest: datetime | None
    examples: list[OpenDelivery]


@dataclass(frozen=True)
class DeliveryStore:
    database: Database
    clock: Callable[[], datetime]

    def acquire_sync_lock(self) -> AbstractContextManager[HasSyncLock]:
        """The lock for claiming and settling; yields a function that verifies it. Raises SyncAlreadyRunning."""
        return self.database.engine.acquire_sync_lock()

    def outbox(
        self, scope: SyncScope, run_id: str, has_sync_lock: HasSyncLock, encode: Callable[[Delivery], str] = record_body
    ) -> SyncOutbox:
        """The outbox of one sync run, under the sync lock and only while `has_sync_lock`.

        `encode`: JSON of a delivery as it will be sent, stored until the outcome is known.
        """
        return SyncOutbox(self.database, scope, run_id, self.clock, has_sync_lock, encode)

    def peek(self, scope: SyncScope, limit: int | None = None) -> Iterator[Delivery]:
        """The deliveries that a sync of `scope` would send first, at most `limit`, without claims; read in pages."""
        left = sys.maxsize if limit is None else limit
        for dates in date_pages(self.due_dates(scope), _PAGE):
            with self.database.read("peek at due deliveries") as connection:
                found = due_deliveries(connection, dates, scope, run_id="", limit=left)
            yield from found
            left -= len(found)
            if not left:
                break

    def due_dates(self, scope: SyncScope) -> dict[date, int]:
        """Due deliveries per work date, ascending."""
        with self.database.read("due work dates") as connection:
            return due_dates(connection, scope, run_id="")

    def paused_until(self, crm: str) -> datetime | None:
        """End of the pause that the CRM at this address requested (aware, UTC); None without an active pause.

        A pause that another address requested is ignored.
        """
        with self.database.read("look up a pause of the CRM") as connection:
            row = connection.execute("SELECT value FROM store_settings WHERE name = ?", [_PAUSE]).fetchone()
        asked, _, by = ("" if row is None else str(row[0])).partition(" ")
        if by != _digest(crm):
            return None
        until = datetime.fromisoformat(asked)
        return until if until > self.clock() else None

    def save_pause(self, until: datetime, crm: str) -> None:
        """Store the end (aware) of a pause that the CRM at this address requested, for later runs."""
        asked = until.astimezone(UTC).isoformat(timespec="seconds")
        with self.database.write("store a pause of the CRM") as connection:
            keep_setting(connection, _PAUSE, f"{asked} {_digest(crm)}")

    def lift_pause(self) -> None:
        """Remove a pause that the CRM requested."""
        with self.database.write("lift a pause of the CRM") as connection:
            connection.execute("DELETE FROM store_settings WHERE name = ?", [_PAUSE])

    def dead_letters(self, *, examples: int = 10) -> Backlog:
        """Dead letters: sent again only on an operator's request."""
        return self._backlog(["failed"], None, examples)

    def late(self, *, due_before: datetime, examples: int = 10) -> Backlog:
        """Overdue deliveries: due before an instant and not yet delivered."""
        return self._backlog(["pending", "sending", "retry"], due_before, examples)

    def _backlog(self, states: list[str], before: datetime | None, examples: int) -> Backlog:
        values = {"states": states, "before": before}
        chosen = "FROM crm_deliveries WHERE state IN $states AND ($before IS NULL OR created_at < $before)"
        with self.database.read("list undelivered records") as connection:
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

    def requeue(self, scope: SyncScope) -> int:
        """Make dead letters and deliveries in `retry` due now and reset their retry rounds; returns how many."""
        with self.database.write("requeue deliveries") as connection:
            row = connection.execute(
                """
                UPDATE crm_deliveries SET state = 'pending', retry_rounds = 0
                WHERE state IN ('retry', 'failed')
                  AND ($first IS NULL OR work_date >= $first) AND ($last IS NULL OR work_date <= $last)
                  AND ($user_id IS NULL OR user_id = $user_id)
                """,
                {"first": scope.first, "last": scope.last, "user_id": scope.user_id},
            ).fetchone()
        return row[0] if row else 0

    def requeue_chosen(self, chosen: Iterable[DeliveryKey]) -> int:
        """As `requeue`, for these deliveries; returns how many were dead letters or in `retry`."""
        keys = pa.Table.from_pylist([asdict(one) for one in chosen], _KEYS())
        with self.database.write("requeue chosen deliveries") as connection:
            connection.register("chosen", keys)
            row = connection.execute(
                """
                UPDATE crm_deliveries SET state = 'pending', retry_rounds = 0
                WHERE state IN ('retry', 'failed')
                  AND (site, user_id, work_date, revision) IN (SELECT (site, user_id, work_date, revision) FROM chosen)
                """
            ).fetchone()
            connection.unregister("chosen")
        return row[0] if row else 0

    def states(self) -> dict[str, int]:
        """Number of deliveries by state."""
        with self.database.read("count deliveries") as connection:
            rows = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY 1 ORDER BY 1").fetchall()
        return dict(rows)

    def states_by_date(self, dates: Sequence[date]) -> dict[date, dict[str, int]]:
        """Number of deliveries by date and state, without superseded ones."""
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

    def errors_by_date(self, dates: Sequence[date]) -> dict[date, str]:
        """User and error of one undelivered delivery of each date that has such an error."""
        with self.database.read("errors by date") as connection:
            rows = connection.execute(
                """
                SELECT work_date, min(user_id || ': ' || last_error) FROM crm_deliveries
                WHERE state IN ('retry', 'failed') AND last_error IS NOT NULL AND list_contains(?, work_date)
                GROUP BY work_date
                """,
                [list(dates)],
            ).fetchall()
        return dict(rows)

    def dates_of(self, run_id: str) -> list[date]:
        """Work dates of the deliveries that this run claimed last."""
        with self.database.read("work dates of a run") as connection:
            rows = connection.execute(
                "SELECT DISTINCT work_date FROM crm_deliveries WHERE run_id = ? ORDER BY 1", [run_id]
            ).fetchall()
        return [day for (day,) in rows]

    def stats(self) -> SyncStats:
        return self.database.once("sync statistics", self._read_stats)

    def _read_stats(self) -> SyncStats:
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

    def errors_of(self, run_ids: Sequence[str], *, limit: int) -> list[SyncError]:
        """Up to `limit` failed deliveries that these runs claimed last, by work date and user."""
        with self.database.read("errors of a sync") as connection:
            rows = connection.execute(
                """
                SELECT user_id, work_date, last_error FROM crm_deliveries
                WHERE list_contains($runs, run_id) AND last_error IS NOT NULL
                  AND state NOT IN ('delivered', 'superseded')
                ORDER BY work_date, user_id LIMIT $limit
                """,
                {"runs": list(run_ids), "limit": limit},
            ).fetchall()
        return [SyncError(*row) for row in rows]


def _digest(crm: str) -> str:
    """Digest of an address whose query may be a secret."""
    return sha256(crm.encode()).hexdigest()
