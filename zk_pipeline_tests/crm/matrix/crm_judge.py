"""Outcome of one case of the CRM fault matrix, from the receiver's ledger and the store together."""

from __future__ import annotations

from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import rows

CRM_OUTCOME = "CRM fault matrix"  # the property of a test that holds one of these
CRM_COUNTS = "CRM counts"
ONCE = "the latest of every day, each revision once"
ALL_BUT_DEAD = "the same, but for dead letters"
CRM_WRONG = "lost, doubled or disordered"

_DELIVERIES = "SELECT user_id, work_date, revision, idempotency_key, state FROM crm_deliveries"
# The newest revision to deliver of each user's date; a day without anything to deliver has no revision.
_CURRENT = """
SELECT user_id, work_date, max(delivery.revision)
FROM daily_attendance LEFT JOIN crm_deliveries AS delivery USING (user_id, work_date) GROUP BY ALL
"""


def outcome_of(store: Store, receiver: CrmReceiver) -> str:
    """ONCE or ALL_BUT_DEAD where ledger and store agree that nothing is open any more; else what is wrong."""
    ledger = receiver.ledger
    if ledger.anomalies:
        return f"{CRM_WRONG}: {ledger.anomalies[0].kind.value}"
    deliveries = rows(store, _DELIVERIES)
    held = {(user, day): int(str(record["revision"])) for (user, day), record in ledger.latest().items()}
    for user, day, revision, _, state in deliveries:
        if (state == "delivered") != (revision in ledger.revisions(user, day)) and state != "superseded":
            return (
                f"{CRM_WRONG}: revision {revision} of {user} on {day} is {state}, the CRM has {held.get((user, day))}"
            )
    states = {(user, day, revision): state for user, day, revision, _, state in deliveries}
    dead = 0
    for user, day, revision in rows(store, _CURRENT):
        if revision is None:
            return f"{CRM_WRONG}: no record of {user} on {day} is delivered"
        if states[user, day, revision] == "failed":
            dead += 1
        elif held.get((user, day)) != revision:
            return f"{CRM_WRONG}: the CRM lacks revision {revision} of {user} on {day}"
    for (user, day), _ in held.items():
        applied = ledger.revisions(user, day)
        if applied != sorted(set(applied)):
            return f"{CRM_WRONG}: {user} on {day}: {applied}"
    return ALL_BUT_DEAD if dead else ONCE
