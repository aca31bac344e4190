"""The outbox of one sync run: what it claims, and what came of it. Works only under the sender's lock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from zk_pipeline.crm.models import Delivery, Outcome, Verdict
from zk_pipeline.store.database import Connection, Database

MAX_ROUNDS = 8  # sync rounds that may end in `retry` before a delivery becomes a dead letter

_STATE = {Verdict.DELIVERED: "delivered", Verdict.RETRY: "retry", Verdict.FAILED: "failed", Verdict.UNSENT: "pending"}


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which deliveries a sync is about; None means no restriction."""

    first: date | None = None
    last: date | None = None
    user_id: str | None = None
    states: tuple[str, ...] = ()  # besides what is due anyway: `retry`, `failed`, `delivered`


@dataclass(frozen=True)
class ClaimedOutbox:
    """`crm.models.Outbox` over the store, for one run that holds the sender's lock."""

    database: Database
    scope: Scope
    run_id: str

    def claim(self, limit: int) -> list[Delivery]:
        with self.database.write("claim deliveries") as connection:
            deliveries = due_deliveries(connection, self.scope, run_id=self.run_id, limit=limit)
            if deliveries:
                connection.register("claimed", _keys_table(deliveries))
                connection.execute(
                    """
                    UPDATE crm_deliveries SET state = 'sending', run_id = $run_id
                    FROM claimed
                    WHERE crm_deliveries.work_date = claimed.work_date
                      AND crm_deliveries.idempotency_key = claimed.idempotency_key
                    """,
                    {"run_id": self.run_id},
                )
                connection.unregister("claimed")
        return deliveries

    def settle(self, outcomes: list[Outcome]) -> None:
        if not outcomes:
            return
        with self.database.write("settle deliveries") as connection:
            connection.register("outcomes", _outcomes_table(outcomes))
            connection.execute(_SETTLE, {"max_rounds": MAX_ROUNDS})
            connection.unregister("outcomes")


# Under the sender's lock a row still `sending` was left behind by a run that died: its outcome is unknown, so it goes
# again under its own key. A later revision waits until an earlier one is settled. Dates whose rows are not sound wait
# until they are.
DUE = """
WITH due AS (
    SELECT * FROM crm_deliveries AS delivery
    WHERE (
          state = 'pending'
          OR (run_id IS DISTINCT FROM $run_id AND (state = 'sending' OR list_contains($states, state)))
      )
      AND ($first IS NULL OR work_date >= $first)
      AND ($last IS NULL OR work_date <= $last)
      AND ($user_id IS NULL OR user_id = $user_id)
      AND work_date NOT IN (SELECT work_date FROM held_dates)
      AND NOT EXISTS (
          FROM crm_deliveries AS earlier
          WHERE earlier.site = delivery.site AND earlier.user_id = delivery.user_id
            AND earlier.work_date = delivery.work_date AND earlier.revision < delivery.revision
            AND earlier.state = 'sending'
      )
      AND NOT EXISTS (
          FROM crm_deliveries AS later
          WHERE later.site = delivery.site AND later.user_id = delivery.user_id
            AND later.work_date = delivery.work_date AND later.revision > delivery.revision
            AND delivery.state <> 'sending'
      )
    ORDER BY work_date, site, user_id, revision
    LIMIT CASE WHEN $limit < 0 THEN 9223372036854775807 ELSE $limit END
)
"""

_WITH_CONTENT = """
SELECT
    due.site, due.user_id, due.work_date, due.revision, due.idempotency_key, due.attempts,
    day.clock_in, day.clock_out, day.timezone, day.is_outlier, day.outlier_reason, day.device, due.device_ip
FROM due JOIN daily_attendance_history AS day USING (site, user_id, work_date, revision)
ORDER BY due.work_date, due.site, due.user_id, due.revision
"""

_SETTLE = """
UPDATE crm_deliveries
SET attempts = crm_deliveries.attempts + ended.attempts,
    rounds = crm_deliveries.rounds + CASE WHEN ended.state = 'retry' THEN 1 ELSE 0 END,
    last_attempt_at = CASE WHEN ended.attempts > 0 THEN ended.finished_at ELSE crm_deliveries.last_attempt_at END,
    delivered_at = CASE WHEN ended.state = 'delivered' THEN ended.finished_at ELSE crm_deliveries.delivered_at END,
    last_status = CASE WHEN ended.attempts > 0 THEN ended.status ELSE crm_deliveries.last_status END,
    last_error = CASE WHEN ended.attempts > 0 THEN ended.error ELSE crm_deliveries.last_error END,
    state = CASE
        WHEN ended.state = 'delivered' THEN 'delivered'
        WHEN ended.is_superseded THEN 'superseded'
        WHEN ended.state = 'pending' AND crm_deliveries.delivered_at IS NOT NULL THEN 'delivered'
        WHEN ended.state = 'retry' AND crm_deliveries.rounds + 1 >= $max_rounds THEN 'failed'
        ELSE ended.state
    END
FROM (
    SELECT outcomes.*, EXISTS (
        FROM crm_deliveries AS later
        WHERE later.site = outcomes.site AND later.user_id = outcomes.user_id
          AND later.work_date = outcomes.work_date AND later.revision > outcomes.revision
    ) AS is_superseded
    FROM outcomes
) AS ended
WHERE crm_deliveries.work_date = ended.work_date AND crm_deliveries.idempotency_key = ended.idempotency_key
"""


def due_deliveries(connection: Connection, scope: Scope, *, run_id: str, limit: int | None) -> list[Delivery]:
    """What of `scope` is due for a run, each with its content, in order of date, site, person and revision."""
    rows = connection.execute(f"{DUE} {_WITH_CONTENT}", due_values(scope, run_id=run_id, limit=limit)).fetchall()
    return [_delivery(row) for row in rows]


def due_values(scope: Scope, *, run_id: str, limit: int | None) -> dict[str, Any]:
    """The parameters of DUE."""
    return {
        "run_id": run_id,
        "states": list(scope.states) or [""],
        "first": scope.first,
        "last": scope.last,
        "user_id": scope.user_id,
        "limit": -1 if limit is None else limit,
    }


def _delivery(row: tuple[Any, ...]) -> Delivery:
    site, user_id, work_date, revision, key, attempts, clock_in, clock_out, zone, is_outlier, reason, device, ip = row
    tz = ZoneInfo(zone)
    return Delivery(
        site=site,
        user_id=user_id,
        work_date=work_date,
        revision=revision,
        idempotency_key=key,
        attempts=attempts,
        clock_in=clock_in and clock_in.astimezone(tz),
        clock_out=clock_out and clock_out.astimezone(tz),
        is_outlier=is_outlier,
        outlier_reason=reason,
        device_name=device,
        device_ip=ip,
    )


def _keys_table(deliveries: list[Delivery]) -> pa.Table:
    return pa.table(
        {
            "work_date": pa.array([d.work_date for d in deliveries], pa.date32()),
            "idempotency_key": [d.idempotency_key for d in deliveries],
        }
    )


def _outcomes_table(outcomes: list[Outcome]) -> pa.Table:
    return pa.table(
        {
            "site": [o.delivery.site for o in outcomes],
            "user_id": [o.delivery.user_id for o in outcomes],
            "work_date": pa.array([o.delivery.work_date for o in outcomes], pa.date32()),
            "revision": pa.array([o.delivery.revision for o in outcomes], pa.int32()),
            "idempotency_key": [o.delivery.idempotency_key for o in outcomes],
            "state": [_STATE[o.verdict] for o in outcomes],
            "attempts": pa.array([o.attempts for o in outcomes], pa.int32()),
            "finished_at": pa.array([o.finished_at for o in outcomes], pa.timestamp("us", "UTC")),
            "status": pa.array([o.status for o in outcomes], pa.int32()),
            "error": pa.array([o.error for o in outcomes], pa.string()),
        }
    )
