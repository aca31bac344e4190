"""Pages of deliveries by state, retractions included, for the web admin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.keyset_pagination import Key, ListQuery, PageRequest, read_page
from zk_pipeline.store.queries.lists import Rows

# Views of the list, and the states of each.
VIEWS: Mapping[str, tuple[str, ...]] = {
    "open": ("pending", "sending", "retry", "failed"),
    "pending": ("pending",),
    "sending": ("sending",),
    "retry": ("retry",),
    "failed": ("failed",),
    "delivered": ("delivered",),
    "superseded": ("superseded",),
}


@dataclass(frozen=True, kw_only=True)
class DeliveryFilter:
    """Filter of deliveries; None takes all. `view` is one of VIEWS."""

    view: str = "open"
    user_id: str | None = None
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class DeliveryRow:
    """One delivery with the last error. `blocked_reason`: why its work date is blocked."""

    site: str
    user_id: str
    work_date: date
    revision: int
    is_retracted: bool
    state: str
    attempts: int
    due_since: datetime
    last_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None
    run_id: str | None
    blocked_reason: str | None


@dataclass(frozen=True)
class Queue:
    """Deliveries by state, due time of the oldest, and number of blocked ones."""

    states: dict[str, int]
    oldest_due: datetime | None
    blocked: int


@dataclass(frozen=True)
class DeliveryLists:
    database: Database

    def queue(self) -> Queue:
        with self.database.read("summarize deliveries") as connection:
            states = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY 1 ORDER BY 1").fetchall()
            row = connection.execute(
                """
                SELECT min(created_at), count(*) FILTER (work_date IN (SELECT work_date FROM blocked_dates))
                FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry')
                """
            ).fetchone()
        assert row is not None
        return Queue(dict(states), row[0], row[1])

    def newest_open(self, user_id: str, *, limit: int) -> tuple[int, list[DeliveryRow]]:
        """Number of open deliveries of a user, and the rows of the newest work dates."""
        with self.database.read("list open deliveries of a user") as connection:
            rows = connection.execute(
                f"""
                SELECT count(*) OVER (), {_COLUMNS} FROM ({_WITH_REASON})
                WHERE user_id = $user_id AND {_IN_VIEW["open"]} ORDER BY work_date DESC, site, revision LIMIT $limit
                """,  # noqa: S608 (constant SQL)
                {"user_id": user_id, "limit": limit},
            ).fetchall()
        return (rows[0][0] if rows else 0), [DeliveryRow(*row[1:]) for row in rows]

    def page(self, wanted: DeliveryFilter, place: PageRequest) -> Rows[DeliveryRow]:
        """A page: open deliveries by due time, settled ones from the newest."""
        possible: dict[str, tuple[str, object]] = {
            "user_id": ("user_id = $user_id", wanted.user_id),
            "first": ("work_date >= $first", wanted.first),
            "last": ("work_date <= $last", wanted.last),
        }
        given = {word: pair for word, pair in possible.items() if pair[1] is not None}
        listing = ListQuery(
            _DELIVERIES,
            order_of(wanted.view),
            [_IN_VIEW[wanted.view], *(condition for condition, _ in given.values())],
            {word: value for word, (_, value) in given.items()},
        )
        with self.database.read("list deliveries") as connection:
            page = read_page(connection, listing, _COLUMNS, place, source=_WITH_REASON)
        return Rows(page.count, [DeliveryRow(*row) for row in page.rows], page.until, page.last, page.has_more)


def order_of(view: str) -> list[Key]:
    is_settled = view in ("delivered", "superseded")
    return [Key("due_since", "instant", descending=is_settled), Key("work_date", "date", descending=is_settled)]


_COLUMNS = ", ".join(field.name for field in fields(DeliveryRow))
# Constants: DuckDB then skips the row groups and reads no other columns of settled deliveries.
_IN_VIEW = {view: f"state IN ({', '.join(map(repr, states))})" for view, states in VIEWS.items()}

# Rows have no id; a hash of their key serves as one, since it does not depend on the row's position.
_DELIVERIES = """
    SELECT (hash(idempotency_key) >> 2)::BIGINT AS id, created_at AS due_since, state, user_id, work_date, site,
           revision, attempts, last_attempt_at, delivered_at, last_status, last_error, run_id, merged
    FROM crm_deliveries
"""
_WITH_REASON = f"""
    SELECT delivery.*, day.is_retracted AND merged IS NULL AS is_retracted, blocked.reason AS blocked_reason
    FROM ({_DELIVERIES}) AS delivery
    JOIN daily_attendance_revisions AS day USING (site, user_id, work_date, revision)
    LEFT JOIN blocked_dates AS blocked
        ON blocked.work_date = delivery.work_date AND delivery.state IN ('pending', 'sending', 'retry', 'failed')
"""  # noqa: S608 (constant SQL)
