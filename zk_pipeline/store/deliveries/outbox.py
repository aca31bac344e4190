"""Transactional outbox of one sync run: claims deliveries and settles their outcomes, under the sync lock.

States are updated in place, many rows at a time; attempts are appended to a log. A state derived from the log would
also be correct, but each claim would scan the whole log. DuckDB's issue of an index corrupted by UPDATEs (#23645) does
not apply: these tables have no index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from zk_pipeline.crm.models import MAX_ROUNDS, Delivery, DeliveryState, Outcome
from zk_pipeline.crm.responses import POSSIBLY_APPLIED, may_have_been_applied
from zk_pipeline.data_libraries import pa
from zk_pipeline.store.deliveries.due_deliveries import SyncScope, date_pages, due_dates, due_deliveries
from zk_pipeline.store.deliveries.journal import Journal
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.locks.sync_lock import HasSyncLock, SyncLockLost

_STATE = {
    DeliveryState.DELIVERED: "delivered",
    DeliveryState.RETRY: "retry",
    DeliveryState.FAILED: "failed",
    DeliveryState.WAITING: "pending",
    DeliveryState.UNSENT: "pending",
}


@dataclass(frozen=True)
class SyncOutbox:
    """`crm.models.Outbox` over the store, for one run with the sync lock.

    `encode` returns the JSON of the request; it is stored with the key until the outcome is known.
    """

    database: Database
    scope: SyncScope
    run_id: str
    clock: Callable[[], datetime]
    has_sync_lock: HasSyncLock
    encode: Callable[[Delivery], str]

    @cached_property
    def journal(self) -> Journal:
        side = self.database.engine.side
        return Journal(side.with_name(f"{side.name}.crm-sending"), self.run_id)

    def mark_sending(self, deliveries: Sequence[Delivery]) -> None:
        """Note these in the send journal before their request. Thread-safe. Raises StoreUnusable."""
        self.journal.note(delivery.idempotency_key for delivery in deliveries)

    def ensure_sync_lock(self) -> None:
        if not self.has_sync_lock():
            raise SyncLockLost(
                "the sync lock was lost with its connection to PostgreSQL; the next sync sends the deliveries in "
                "progress again, under their keys"
            )

    def settle_and_claim(self, outcomes: list[Outcome], wanted: int) -> list[Delivery]:
        """Settle and claim in one transaction: opening and closing the store costs more than either.

        Raises SyncLockLost, with nothing written, if the sync lock was lost: the run that has it now treats these
        claims as those of a dead run and sends them again.
        """
        journal = self.journal  # created before the first claim is committed: a key that is not in it was not sent
        with self.database.write("settle and claim deliveries") as connection, self._on_one_thread(connection):
            self.ensure_sync_lock()
            if outcomes:
                self._settle(connection, outcomes)
            self._account_for_left_behind(connection)
            claimed = self._claim(connection, wanted) if wanted > 0 else []
        journal.forget(outcome.delivery.idempotency_key for outcome in outcomes)
        return claimed

    @contextmanager
    def _on_one_thread(self, connection: Connection) -> Iterator[None]:
        """Use one DuckDB thread: for so few rows a second one only costs CPU. The setting is global to the instance."""
        if self.database.engine.shares_instance:
            yield
            return
        (before,) = connection.execute("SELECT current_setting('threads')").fetchall()
        connection.execute("SET threads = 1")
        yield
        connection.execute("SET threads = ?", before)  # after an exception the instance is not used again

    def _account_for_left_behind(self, connection: Connection) -> None:
        """Settle claims of dead runs: deliveries in a request keep the sent body, the others were never sent."""
        if not connection.execute(_LEFT_BEHIND, {"run_id": self.run_id}).fetchone():
            return
        noted = self.journal.left_behind
        pairs = [(run, key) for run, keys in noted.items() for key in keys]
        connection.register("noted_runs", pa.table({"run_id": pa.array(list(noted), pa.string())}))
        connection.register(
            "noted_keys",
            pa.table(
                {
                    "run_id": pa.array([run for run, _ in pairs], pa.string()),
                    "idempotency_key": pa.array([key for _, key in pairs], pa.string()),
                }
            ),
        )
        connection.execute(_NOTE_ABANDONED, {"run_id": self.run_id})
        connection.execute(_RELEASE, {"run_id": self.run_id})
        connection.unregister("noted_runs")
        connection.unregister("noted_keys")

    def _claim(self, connection: Connection, wanted: int) -> list[Delivery]:
        claimed: list[Delivery] = []
        for dates in date_pages(due_dates(connection, self.scope, run_id=self.run_id), wanted):
            claimed += due_deliveries(connection, dates, self.scope, run_id=self.run_id, limit=wanted - len(claimed))
            if len(claimed) >= wanted:
                break
        if claimed:
            connection.register("claimed", _claimed_table(claimed, self.encode))
            connection.execute(_CLAIM, {"run_id": self.run_id, "now": self.clock()})
            connection.unregister("claimed")
        return claimed

    def _settle(self, connection: Connection, outcomes: list[Outcome]) -> None:
        connection.register("outcomes", _outcomes_table(outcomes, self.encode))
        connection.execute(_SETTLE, {"max_rounds": MAX_ROUNDS})
        connection.unregister("outcomes")
        if any(outcome.tried for outcome in outcomes):
            connection.register("tried", _tried_table(outcomes, self.run_id))
            connection.execute("INSERT INTO crm_attempts BY NAME SELECT * FROM tried")
            connection.unregister("tried")


_CLAIM = """
UPDATE crm_deliveries
SET state = 'sending', run_id = $run_id, claimed_at = $now, sent_body = coalesce(crm_deliveries.sent_body, claimed.body)
FROM claimed
WHERE crm_deliveries.work_date = claimed.work_date AND crm_deliveries.idempotency_key = claimed.idempotency_key
"""

_LEFT_BEHIND = "SELECT 1 FROM crm_deliveries WHERE state = 'sending' AND run_id IS DISTINCT FROM $run_id LIMIT 1"

_NOTE_ABANDONED = """
INSERT INTO crm_attempts BY NAME
SELECT
    left_behind.* EXCLUDE (claimed_at), claimed_at AS started_at, 'abandoned' AS outcome,
    'the run ended during the request: sent or not is unknown' AS error
FROM (
    SELECT site, user_id, work_date, revision, idempotency_key, run_id, claimed_at
    FROM crm_deliveries
    WHERE state = 'sending' AND run_id IS DISTINCT FROM $run_id
      AND (run_id IS NULL OR run_id NOT IN (SELECT run_id FROM noted_runs)
           OR (run_id, idempotency_key) IN (SELECT (run_id, idempotency_key) FROM noted_keys))
) AS left_behind
"""

# `crm.responses.may_have_been_applied` in SQL, and attempts of runs that were killed.
_MAY_BE_APPLIED = "(outcome = 'abandoned' OR {})".format(
    " OR ".join(
        f"(outcome = '{outcome}' AND coalesce(status, 0) BETWEEN {min(statuses)} AND {max(statuses)})"
        for outcome, statuses in POSSIBLY_APPLIED
    )
)

# A delivery per person covers all sites; a delivery per site covers that site.
_IS_LATER = """
    later.user_id = mine.user_id AND later.work_date = mine.work_date AND later.revision > mine.revision
    AND (later.site = mine.site OR 'person' IN (later.record_per, mine.record_per))
"""

_RELEASE = f"""
UPDATE crm_deliveries
SET sent_body = CASE WHEN left_behind.is_unknown THEN crm_deliveries.sent_body END,
    state = CASE
        WHEN left_behind.is_unknown THEN 'pending'
        WHEN left_behind.is_outdated THEN 'superseded'
        WHEN crm_deliveries.delivered_at IS NOT NULL THEN 'delivered'
        ELSE 'pending'
    END
FROM (
    SELECT
        mine.work_date, mine.idempotency_key,
        mine.sent_body = '' OR EXISTS (
            FROM crm_attempts AS made
            WHERE made.work_date = mine.work_date AND made.idempotency_key = mine.idempotency_key AND {_MAY_BE_APPLIED}
        ) AS is_unknown,
        EXISTS (
            FROM crm_deliveries AS later
            WHERE {_IS_LATER}
        ) AS is_outdated
    FROM crm_deliveries AS mine
    WHERE mine.state = 'sending' AND mine.run_id IS DISTINCT FROM $run_id
) AS left_behind
WHERE crm_deliveries.work_date = left_behind.work_date
  AND crm_deliveries.idempotency_key = left_behind.idempotency_key
"""  # noqa: S608 (constant SQL)

_SETTLE = f"""
UPDATE crm_deliveries
SET attempts = crm_deliveries.attempts + ended.attempts,
    retry_rounds = crm_deliveries.retry_rounds + CASE WHEN ended.state = 'retry' THEN 1 ELSE 0 END,
    last_attempt_at = CASE WHEN ended.was_tried THEN ended.finished_at ELSE crm_deliveries.last_attempt_at END,
    delivered_at = CASE WHEN ended.state = 'delivered' THEN ended.finished_at ELSE crm_deliveries.delivered_at END,
    last_status = CASE WHEN ended.was_tried THEN ended.status ELSE crm_deliveries.last_status END,
    last_error = CASE WHEN ended.was_tried THEN ended.error ELSE crm_deliveries.last_error END,
    sent_body = CASE WHEN ended.is_unknown AND NOT (ended.is_outdated AND ended.is_exhausted)
        THEN coalesce(ended.sent_body, crm_deliveries.sent_body) END,
    state = CASE
        WHEN ended.state = 'delivered' THEN 'delivered'
        WHEN ended.is_outdated AND (ended.is_exhausted OR NOT ended.is_unknown) THEN 'superseded'
        WHEN crm_deliveries.delivered_at IS NOT NULL THEN 'delivered' -- sent again by --force: the CRM has it
        WHEN ended.is_exhausted THEN 'failed'
        ELSE ended.state
    END
FROM (
    SELECT
        outcomes.*, outcomes.state = 'retry' AND mine.retry_rounds + 1 >= $max_rounds AS is_exhausted,
        EXISTS (
            FROM crm_deliveries AS later
            WHERE {_IS_LATER}
        ) AS is_outdated
    FROM outcomes JOIN crm_deliveries AS mine USING (work_date, idempotency_key)
) AS ended
WHERE crm_deliveries.work_date = ended.work_date AND crm_deliveries.idempotency_key = ended.idempotency_key
"""  # noqa: S608 (constant SQL)


def _is_unknown(outcome: Outcome) -> bool:
    """Whether the CRM may have applied the record, in this run or an earlier one, without a known outcome."""
    if outcome.state in (DeliveryState.DELIVERED, DeliveryState.FAILED):
        return False
    return outcome.delivery.sent_body is not None or any(
        may_have_been_applied(attempt.outcome, attempt.status) for attempt in outcome.tried
    )


def _claimed_table(deliveries: list[Delivery], encode: Callable[[Delivery], str]) -> pa.Table:
    return pa.table(
        {
            "work_date": pa.array([d.work_date for d in deliveries], pa.date32()),
            "idempotency_key": [d.idempotency_key for d in deliveries],
            "body": [encode(d) for d in deliveries],
        }
    )


def _sent_now(outcome: Outcome, encode: Callable[[Delivery], str]) -> str | None:
    """Body of this run's requests, unless an earlier body is stored."""
    return encode(outcome.delivery) if outcome.tried and outcome.delivery.sent_body == "" else None


def _outcomes_table(outcomes: list[Outcome], encode: Callable[[Delivery], str]) -> pa.Table:
    return pa.table(
        {
            "site": [o.delivery.site for o in outcomes],
            "user_id": [o.delivery.user_id for o in outcomes],
            "work_date": pa.array([o.delivery.work_date for o in outcomes], pa.date32()),
            "revision": pa.array([o.delivery.revision for o in outcomes], pa.int32()),
            "idempotency_key": [o.delivery.idempotency_key for o in outcomes],
            "is_unknown": [_is_unknown(o) for o in outcomes],
            "state": [_STATE[o.state] for o in outcomes],
            "attempts": pa.array([o.attempts for o in outcomes], pa.int32()),
            "was_tried": [o.attempts > 0 or o.state is DeliveryState.WAITING for o in outcomes],
            "finished_at": pa.array([o.finished_at for o in outcomes], pa.timestamp("us", "UTC")),
            "status": pa.array([o.status for o in outcomes], pa.int32()),
            "error": pa.array([o.error for o in outcomes], pa.string()),
            "sent_body": pa.array([_sent_now(o, encode) for o in outcomes], pa.string()),
        }
    )


def _tried_table(outcomes: list[Outcome], run_id: str) -> pa.Table:
    tried = [(outcome.delivery, attempt) for outcome in outcomes for attempt in outcome.tried]
    instant = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "site": [delivery.site for delivery, _ in tried],
            "user_id": [delivery.user_id for delivery, _ in tried],
            "work_date": pa.array([delivery.work_date for delivery, _ in tried], pa.date32()),
            "revision": pa.array([delivery.revision for delivery, _ in tried], pa.int32()),
            "idempotency_key": [delivery.idempotency_key for delivery, _ in tried],
            "run_id": [run_id] * len(tried),
            "started_at": pa.array([attempt.started_at for _, attempt in tried], instant),
            "finished_at": pa.array([attempt.finished_at for _, attempt in tried], instant),
            "status": pa.array([attempt.status for _, attempt in tried], pa.int32()),
            "outcome": [attempt.outcome for _, attempt in tried],
            "error": pa.array([attempt.error for _, attempt in tried], pa.string()),
        }
    )
