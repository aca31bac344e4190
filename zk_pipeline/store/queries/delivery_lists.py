"""Deliveries a page at a time, by state: what the web admin shows of the outbox, retractions included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.keyset_pagination import Key, ListQuery, PageRequest, read_page
from zk_pipeline.store.queries.lists import Rows

# What a person may ask for, and the states it takes.
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
    """Which deliveries; None takes all. `view` is one of VIEWS."""

    view: str = "open"
    user_id: str | None = None
    first: date | None = None
    last: date | None = None


@dataclass(frozen=True)
class DeliveryRow:
    """One revision of a day that the CRM is, was or is to be told of, and the last words about it.

    `held`: what is wrong with its work date, for which it waits.
    """

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
    held: str | None


@dataclass(frozen=True)
class Queue:
    """How many deliveries are in each state, since when the oldest one is due, and how many are kept back."""

    states: dict[str, int]
    oldest_due: datetime | None
    held: int


@dataclass(frozen=True)
class DeliveryLists:
    database: Database

    def queue(self) -> Queue:
        with self.database.read("the delivery queue") as connection:
            states = connection.execute("SELECT state, count(*) FROM crm_deliveries GROUP BY 1 ORDER BY 1").fetchall()
            row = connection.execute(
                """
                SELECT min(created_at), count(*) FILTER (work_date IN (SELECT work_date FROM blocked_dates))
                FROM crm_deliveries WHERE state IN ('pending', 'sending', 'retry')
                """
            ).fetchone()
        assert row is not None
        return Queue(dict(states), row[0], row[1])

    def page(self, wanted: DeliveryFilter, place: PageRequest) -> Rows[DeliveryRow]:
        """What is open the longest due first, what is settled the newest first."""
        possible: dict[str, tuple[str, object]] = {
            "user_id": ("user_id = $user_id", wanted.user_id),
            "first": ("work_date >= $first", wanted.first),
            "last": ("work_date <= $last", wanted.last),
        }
        given = {word: pair for word, pair in possible.items() if pair[1] is not None}
        listing = ListQuery(
            _DELIVERIES,
            order_of(wanted.view),
            ["state IN (SELECT unnest($states))", *(condition for condition, _ in given.values())],
            {"states": list(VIEWS[wanted.view])} | {word: value for word, (_, value) in given.items()},
        )
        with self.database.read("list deliveries") as connection:
            page = read_page(
                connection, listing, ", ".join(field.name for field in fields(DeliveryRow)), place, source=_TOLD
            )
        return Rows(page.count, [DeliveryRow(*row) for row in page.rows], page.until, page.last, page.has_more)


def order_of(view: str) -> list[Key]:
    return [Key("due_since", "instant", descending=view in ("delivered", "superseded"))]


# Rows have no number; that of their key is as good, being the same wherever the row lies.
_DELIVERIES = """
    SELECT (hash(idempotency_key) >> 2)::BIGINT AS id, created_at AS due_since, state, user_id, work_date, site,
           revision, attempts, last_attempt_at, delivered_at, last_status, last_error, run_id, merged
    FROM crm_deliveries
"""
_TOLD = f"""
    SELECT delivery.*, day.is_retracted AND merged IS NULL AS is_retracted, held.reason AS held
    FROM ({_DELIVERIES}) AS delivery
    JOIN daily_attendance_revisions AS day USING (site, user_id, work_date, revision)
    LEFT JOIN blocked_dates AS held
        ON held.work_date = delivery.work_date AND delivery.state IN ('pending', 'sending', 'retry', 'failed')
"""  # noqa: S608 (SQL of ours)
