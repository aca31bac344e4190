"""The clean-up: what may go and what never does."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)

THURSDAY = MONDAY + timedelta(days=3)
LOG = [*on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00", "17:00"), *on(THURSDAY, "08:00", "17:00")]
KEPT = "SELECT punched_at_local::DATE, count(*) FROM raw_punches GROUP BY 1 ORDER BY 1"


NIGHT = datetime(2026, 3, 6, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def three_delivered_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("delivered"), StoppedClock(NIGHT))
    store.devices.add(device())
    ingest(store, "Gate", *LOG)
    process(store, MONDAY, TUESDAY, THURSDAY)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered'")
    return store.database.where


@pytest.fixture
def store(three_delivered_days: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    clock.now = NIGHT
    return copied(three_delivered_days, tmp_path, clock)


def test_retention_deletes_the_punches_of_settled_dates_and_keeps_their_days(store: Store) -> None:
    before = rows(store, "SELECT * FROM daily_attendance ORDER BY work_date")
    done = store.retention.clean(retention_days=3)
    assert (done.before, done.punches, done.work_dates, done.kept_unprocessed) == (TUESDAY, 2, 1, 0)
    assert rows(store, KEPT) == [(TUESDAY, 2), (THURSDAY, 2)]
    assert rows(store, "SELECT * FROM daily_attendance ORDER BY work_date") == before
    assert rows(store, "SELECT count(*) FROM daily_attendance_revisions") == [(3,)]
    assert store.retention.clean(retention_days=3).punches == 0


def test_a_dry_run_says_what_would_go_and_deletes_nothing(store: Store) -> None:
    done = store.retention.clean(retention_days=1, dry_run=True)
    assert (done.dry_run, done.punches, done.work_dates) == (True, 4, 2)
    assert rows(store, KEPT) == [(MONDAY, 2), (TUESDAY, 2), (THURSDAY, 2)]
    assert rows(store, "SELECT count(*) FROM work_dates WHERE raw_purged_at IS NOT NULL") == [(0,)]


def test_without_retention_everything_is_kept(store: Store) -> None:
    done = store.retention.clean(retention_days=0)
    assert (done.before, done.punches) == (None, 0)
    assert store.punches.total() == 6
    assert done.bytes_after > 0


@pytest.mark.parametrize("state", ["pending", "sending", "retry", "failed"])
def test_a_date_that_the_crm_does_not_have_yet_is_kept(state: str, store: Store) -> None:
    execute(store, "UPDATE crm_deliveries SET state = ? WHERE work_date = ?", [state, MONDAY])
    done = store.retention.clean(retention_days=1)
    assert (done.punches, done.kept_unprocessed) == (2, 1)
    assert rows(store, KEPT) == [(MONDAY, 2), (THURSDAY, 2)]


def test_a_date_with_punches_that_are_not_in_its_rows_is_kept(store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "18:00"))
    assert store.retention.clean(retention_days=1).kept_unprocessed == 1
    assert rows(store, KEPT) == [(MONDAY, 3), (THURSDAY, 2)]


def test_a_date_that_was_judged_before_it_was_over_is_kept(store: Store, clock: StoppedClock) -> None:
    ingest(store, "Gate", *on(MONDAY, "08:00", user_id="1002"))
    clock.now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    process(store, MONDAY)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered'")
    clock.now = NIGHT
    assert store.retention.clean(retention_days=1).kept_unprocessed == 1
    process(store, MONDAY)
    assert rows(store, "SELECT outlier_codes FROM daily_attendance WHERE user_id = '1002'") == [
        (["MISSING_CLOCK_OUT"],)
    ]


def test_the_rows_of_a_date_whose_punches_were_deleted_are_final(store: Store) -> None:
    store.retention.clean(retention_days=3)
    before = rows(store, "SELECT * FROM daily_attendance ORDER BY work_date")
    done = process(store, MONDAY, TUESDAY)
    assert done.failed == {MONDAY: "its punches were deleted by RAW_RETENTION_DAYS, so its rows cannot change"}
    assert [item.work_date for item in done.written] == [TUESDAY]
    store.devices.update("Gate", site="Elsewhere")
    assert stale(store) == [TUESDAY, THURSDAY]
    assert rows(store, "SELECT * FROM daily_attendance ORDER BY work_date") == before


def test_a_run_that_is_still_at_a_date_when_its_punches_are_deleted_changes_nothing(store: Store) -> None:
    held = store.days.summarize([MONDAY, TUESDAY], workday_starts_at=time(0), debounce_seconds=60)
    store.retention.clean(retention_days=3)
    no_days = evaluate_days(held.frame.iloc[:0], WorkRules(), store.clock()).days
    written = store.days.write(no_days, seq=held.seq, reprocess_after={}, run_id=None)
    assert [item.work_date for item in written] == [TUESDAY]
    assert rows(store, "SELECT work_date FROM daily_attendance ORDER BY 1") == [(MONDAY,), (THURSDAY,)]


def test_the_terminals_next_full_log_does_not_bring_deleted_punches_back(store: Store) -> None:
    store.retention.clean(retention_days=3)
    again = ingest(store, "Gate", *LOG)
    assert (again.fetched, again.stored, again.new, again.touched) == (6, 4, 0, {})
    assert rows(store, KEPT) == [(TUESDAY, 2), (THURSDAY, 2)]
    assert stale(store) == []


def test_an_old_date_that_was_never_there_is_stored_and_processed_all_the_same(store: Store) -> None:
    store.retention.clean(retention_days=3)
    old = date(2025, 1, 6)
    assert ingest(store, "Gate", *on(old, "08:00")).touched == {old: 1}
    assert stale(store) == [old]


def test_quarantined_records_go_after_their_own_time_and_never_by_default(store: Store, clock: StoppedClock) -> None:
    ingest(store, "Gate", rejected=[b"old"])
    clock.go(days=10)
    ingest(store, "Gate", rejected=[b"new"])
    assert store.retention.clean(retention_days=1).quarantined == 0
    assert store.retention.clean(retention_days=0, quarantine_days=5, dry_run=True).quarantined == 1
    assert rows(store, "SELECT count(*) FROM quarantined_records") == [(2,)]
    assert store.retention.clean(retention_days=0, quarantine_days=5).quarantined == 1
    assert rows(store, "SELECT raw FROM quarantined_records") == [(b"new",)]


def test_old_polls_go_unless_something_came_by_them_or_they_are_the_last_of_their_kind(
    store: Store, clock: StoppedClock
) -> None:
    by_them = rows(store, "SELECT DISTINCT first_poll_id FROM raw_punches")
    for _ in range(3):
        clock.go(days=1)
        ingest(store, "Gate", *LOG)
    last = rows(store, "SELECT max(id) FROM device_polls")
    clock.go(days=100)
    assert store.retention.clean(retention_days=0, poll_days=0).polls == 0
    assert store.retention.clean(retention_days=0, poll_days=90, dry_run=True).polls == 2
    assert store.retention.clean(retention_days=0, poll_days=90).polls == 2
    assert rows(store, "SELECT id FROM device_polls ORDER BY 1") == [*by_them, *last]
    assert ingest(store, "Gate", *LOG).poll_id == last[0][0] + 1, "numbers of polls are not given again"
