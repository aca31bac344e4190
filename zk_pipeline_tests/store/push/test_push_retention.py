"""Retention of uploads, commands, checks and events of terminals that push; counters never fall."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.store.push.commands import Confirmation
from zk_pipeline.store.queries.metrics import PushMetrics, read_push_metrics
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import SERIAL, StoppedClock, execute, rows


def counters(store: Store) -> list[PushMetrics]:
    with store.database.read("test") as connection:
        return read_push_metrics(connection)


@pytest.fixture
def pushed(store: Store, clock: StoppedClock) -> Store:
    """Three uploads of Gate a day apart, two with new punches, and one with a rejected line; a silent Yard."""
    adopt(store)
    adopt(store, "Yard", "YARD1")
    for times in (("08:00", "09:00"), ("10:00",), ("10:00",)):
        push(store, *(("1", f"2026-03-02 {at}") for at in times))
        clock.go(days=1)
    push(store, rejected=[b"x"])
    contact(store)
    clock.go(days=100)
    return store


@pytest.mark.both_engines("matrix")
def test_counters_of_uploads_do_not_change_when_retention_deletes_their_rows(
    pushed: Store, clock: StoppedClock
) -> None:
    seen, before = clock.now - timedelta(days=100), counters(pushed)
    assert before == [
        PushMetrics("Gate", 4, 3, 1, 1, 0, seen),
        PushMetrics("Yard", 0, 0, 0, 0, 0, seen - timedelta(days=3)),
    ]
    assert pushed.retention.clean(retention_days=0, poll_days=1, dry_run=True).uploads == 2
    assert pushed.retention.clean(retention_days=0, poll_days=1).uploads == 2
    assert counters(pushed) == before
    assert rows(pushed, "SELECT id FROM push_batches ORDER BY 1") == [(2,), (4,)], "newest with punches, and newest"
    push(pushed, ("1", "2026-03-02 11:00"))
    clock.go(days=100)
    pushed.retention.clean(retention_days=0, poll_days=1)
    assert [(one.uploads, one.stored) for one in counters(pushed)] == [(5, 4), (0, 0)]
    assert rows(pushed, "SELECT id FROM push_batches") == [(5,)]


@pytest.mark.file_engine
def test_uploads_that_a_restore_brings_back_are_not_counted_twice(
    pushed: Store, clock: StoppedClock, tmp_path: Path
) -> None:
    backup = pushed.backups.make(tmp_path / "before.duckdb").file
    push(pushed, ("1", "2026-03-02 11:00"))
    clock.go(days=100)
    pushed.retention.clean(retention_days=0, poll_days=1)
    before = counters(pushed)
    pushed.restore.run(backup)
    assert rows(pushed, "SELECT count(*) FROM push_batches") == [(5,)]
    assert counters(pushed) == before


def test_open_and_newest_commands_and_unexplained_differences_stay(pushed: Store, clock: StoppedClock) -> None:
    for kind in ("info", "upload", "hello"):
        pushed.push.queue(SERIAL, PushCommand(kind=kind), by="test")
    pushed.push.confirm(SERIAL, [Confirmation(number, True, 0) for number in (1, 3)])
    checks = (
        "('2026-03-01', '2026-03-01', 'equal', 5, 5, NULL, NULL)",
        "('2026-03-02', '2026-03-02', 'differs', 5, 4, 3, NULL)",
        "('2026-03-03', '2026-03-03', 'asked', NULL, NULL, NULL, 2)",
        "('2026-03-04', '2026-03-04', 'unanswered', NULL, NULL, NULL, NULL)",
    )
    for one in checks:
        execute(pushed, f"INSERT INTO push_checks SELECT 'S', * , now() - INTERVAL 999 DAY FROM (VALUES {one})")
    clock.go(days=9)
    cleaned = pushed.retention.clean(retention_days=0, poll_days=1)
    assert (cleaned.push_commands, cleaned.push_checks) == (1, 2)
    assert rows(pushed, "SELECT id FROM push_commands ORDER BY 1") == [(2,), (3,)]
    assert rows(pushed, "SELECT state FROM push_checks ORDER BY 1") == [("asked",), ("differs",)]


def test_events_of_terminals_are_kept_as_long_as_punches(pushed: Store) -> None:
    for day in ("2026-01-01", "2026-09-01"):
        execute(pushed, f"INSERT INTO device_events VALUES ('Gate', '{day} 08:00', 4, true, '', '', now())")
    assert pushed.retention.clean(retention_days=0, poll_days=1).device_events == 0
    assert pushed.retention.clean(retention_days=60, poll_days=1).device_events == 1
