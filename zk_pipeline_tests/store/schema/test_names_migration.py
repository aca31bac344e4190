"""Upgrade to the names of the glossary: rows, revisions, hashes, keys and open alerts stay; nothing is sent twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time, timedelta
from pathlib import Path

import numpy as np
import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.crm.models import Attempt, DeliveryState, Outcome
from zk_pipeline.operations.alerting.channels import Alert
from zk_pipeline.operations.alerting.messages import Observation, decide
from zk_pipeline.operations.alerting.problems import FailedCheck, Links, check_problems
from zk_pipeline.operations.process import process_dates
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.quality.alerts import Decision, KnownAlert, Problem
from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.schema.former_names import ALERT_KEYS, FORMER_TABLE, FORMER_VALUE, undo_columns, undo_names
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
    MONDAY,
    copied,
    device,
    execute,
    ingest,
    process,
    reading,
    rows,
    stale,
    store_at,
)

pytestmark = pytest.mark.file_engine  # as `undo_columns`

# The store of version 18 computed these for the punches below. 1001 has paired states.
KEYS = [
    (
        "1001",
        "8b92ac8f2ee3655e6c62349f1ee7fa12ca41336e9a93d1f4df11b609a6d0b8b3",
        "342a1968-b7e1-5614-ad68-b1477da265e2",
    ),
    (
        "1002",
        "809360281507aa25cca3a58e349d49f144f555e706637b5e247593c5b9d3309e",
        "b3f31707-be2a-500c-b9dd-acab73db4528",
    ),
    (
        "1003",
        "ee1f34aeecbe62f3da321dc03b807edfb4e785b0b6af876c7610606ae7556fc9",
        "a8ccded4-bea9-5f8f-9305-9d3a45dc26af",
    ),
    (
        "2001",
        "e72b22a18d982c2283ae870f860ee4361d5a8b66e0bb0a76a2c039fcaa6c56a9",
        "4d53ad11-d64c-5caa-86f0-716b43a15e6d",
    ),
]
CONTRACT = {
    "devices": "id, name, ip_address, port, protocol, timezone, site, enabled, last_sync, created_at, updated_at",
    "device_polls": "id, device, started_at, finished_at, status, reported, fetched, stored, new, quarantined, "
    "clock_drift_seconds, run_id, error",
    "raw_punches": "device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, first_poll_id",
    "device_users": "device, user_id, uid, name, privilege, card",
    "daily_attendance": "site, device, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, "
    "punch_count, worked_minutes, is_incomplete, is_outlier, outlier_codes, outlier_reason, revision, payload_hash",
    "crm_deliveries": "site, user_id, work_date, revision, idempotency_key, state, attempts, last_attempt_at, "
    "delivered_at, last_status, last_error",
    "processed_attendance": "date, synced_to_crm, sync_attempts, last_sync_attempt",
}


def settle(store: Store, user: str, state: DeliveryState, outcome: str, status: int) -> None:
    outbox = store.deliveries.outbox(SyncScope(user_id=user), "run", lambda: True)
    (delivery,) = outbox.settle_and_claim([], 10)
    tried = Attempt(started_at=LONG_AFTER, finished_at=LONG_AFTER, outcome=outcome, status=status)
    outbox.settle_and_claim(
        [Outcome(delivery=delivery, state=state, attempts=1, finished_at=LONG_AFTER, status=status, tried=(tried,))],
        0,
    )


@pytest.fixture(scope="module")
def filled_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("filled"))
    for name in ("Gate", "Back"):
        store.devices.add(device(name))
    store.devices.update("Gate", trust_punch_states=True)
    paired = [("1001", f"2026-03-02 {at}") for at in ("08:00", "12:00", "13:00", "17:00")]
    others = [("1002", "2026-03-02 08:00"), ("1002", "2026-03-02 17:00"), ("1003", "2026-03-02 08:00")]
    read = reading([*paired, *others])
    read.punches["punch_state"] = np.array([0, 1, 0, 1, 1, 0, 0], "uint8")
    at = store.clock()
    store.punches.ingest(store.devices.get("Gate"), read, started_at=at, finished_at=at, run_id="poll")
    ingest(store, "Back", ("2001", "2026-03-02 08:00"), ("2001", "2026-03-02 16:00"))
    # By hours by which no clock-out is early: their hash is that of the versions that did not know it.
    assert process_dates(store, [MONDAY], WorkRules(end=time(16)), run_id="process run").failed == {}
    settle(store, "1001", DeliveryState.DELIVERED, "delivered", 201)
    settle(store, "1002", DeliveryState.FAILED, "rejected", 422)
    execute(store, "UPDATE device_polls SET mode = 'incremental' WHERE device = 'Back'")
    execute(store, "INSERT INTO frozen_work_date_starts VALUES ('Gate', '1001', '2026-01-05', 300)")
    execute(store, "INSERT INTO blocked_dates VALUES ('2026-01-05', 'two rows of one person', now())")
    execute(
        store,
        "INSERT INTO device_log_positions VALUES ('Gate', 'A1', '40', 3, 120, 'x'::BLOB, 1, now(), now())",
    )
    store.alerts.update(lambda known: decision_about(store, known))
    return store.database.where


@pytest.fixture
def filled(filled_file: Where, tmp_path: Path) -> Store:
    """Rows in every renamed table, and every renamed value."""
    return copied(filled_file, tmp_path)


def problems() -> list[Problem]:
    names = [key.split(":")[1:] for key in ALERT_KEYS.values()]
    failed = [FailedCheck(asset, name, "ERROR", "as before") for asset, name in names]
    return check_problems(failed, Links())


class Everything:
    """A channel that takes all problems."""

    name = "1 (test)"

    def accepts(self, _: object) -> bool:
        return True

    def send(self, alert: Alert) -> None:
        raise AssertionError(alert)


def decision_about(store: Store, known: Sequence[KnownAlert]) -> Decision:
    look = Observation(problems(), ["check"], store.clock())
    return decide(known, look, [Everything()], timedelta(0))  # type: ignore[list-item]


JUDGED = ("late_minutes", "early_leave_minutes", "attendance_status", "judged_by")  # filled by the next processing


def content(store: Store, *without: str) -> dict[str, list[str]]:
    judged = f"COLUMNS(lambda name: name NOT IN {(*JUDGED, 'notify_type', *without)})"
    with store.database.read("test") as connection:
        return {
            table: sorted(map(str, connection.execute(f"SELECT {judged} FROM {table}").fetchall()))
            for table in TABLES
            if table != "schema_migrations"
        }


def upgraded(store: Store) -> Store:
    with store.database.write("as before the migration") as connection:
        undo_columns(connection)
        undo_names(connection)
    return store_at(store.database.where)


def test_rows_days_deliveries_and_attempts_are_kept_under_the_new_names(filled: Store) -> None:
    before = content(filled)
    assert all(before[table] for table in FORMER_TABLE)
    for value in FORMER_VALUE:
        assert any(f"'{value}'" in row for held in before.values() for row in held), value
    assert content(upgraded(filled)) == before


def test_processing_again_judges_the_days_and_changes_no_revision_and_no_key(filled: Store) -> None:
    store = upgraded(filled)
    before = content(store, "payload_hash")
    keyed = "SELECT user_id, payload_hash, idempotency_key FROM daily_attendance JOIN crm_deliveries USING (user_id)"
    assert rows(store, f"{keyed} ORDER BY 1") == KEYS
    execute(store, "UPDATE work_dates SET processed_seq = 0")
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    after = content(store, "payload_hash")
    assert {table: after[table] for table in after if table != "work_dates"} == {
        table: before[table] for table in before if table != "work_dates"
    }
    judged = rows(store, f"SELECT {', '.join(JUDGED)} FROM daily_attendance ORDER BY user_id")
    by = "09:00-18:00 (settings)"
    assert judged == [(0, 60, "present", by), (0, 60, "present", by), (0, None, "present", by), (0, 120, "present", by)]
    assert rows(store, f"SELECT {', '.join(JUDGED)} FROM daily_attendance_revisions ORDER BY user_id") == judged


def test_only_what_was_due_before_is_due_afterwards(filled: Store) -> None:
    store = upgraded(filled)
    outbox = store.deliveries.outbox(SyncScope(states=("retry",)), "after", lambda: True)
    assert sorted(one.user_id for one in outbox.settle_and_claim([], 10)) == ["1003", "2001"]


def test_open_alerts_go_on_without_a_message(filled: Store) -> None:
    open_before = [one.problem.key for one in filled.alerts.known()]
    assert len(open_before) == len(problems()) > 0
    store = upgraded(filled)
    assert [one.problem.key for one in store.alerts.known()] == open_before
    assert not decision_about(store, store.alerts.known())


def test_the_columns_of_the_contract_can_be_selected(filled: Store) -> None:
    store = upgraded(filled)
    for table, columns in CONTRACT.items():
        assert rows(store, f"SELECT {columns} FROM {table}") is not None
