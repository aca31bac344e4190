"""Counters of polls: they never fall, whatever retention deletes and a restore brings back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.store.maintenance import retention
from zk_pipeline.store.maintenance.poll_totals import add_to_totals
from zk_pipeline.store.queries.metrics import PollCounters, PollHistory, read_poll_counters
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, StoppedClock, device, execute, ingest, on, rows

FAILED = """
    INSERT INTO device_polls (id, device, started_at, finished_at, status, mode)
    SELECT max(id) + 1, 'Gate', now(), now(), $status, $mode FROM device_polls
"""
DURATIONS = """
    UPDATE device_polls SET started_at = finished_at - to_microseconds(333333 * id)
"""


@pytest.fixture
def polled(store: Store, clock: StoppedClock) -> Store:
    """Four successful polls a day apart, of which the first has two new punches; one failed; one of live capture."""
    store.devices.add(device())
    for _ in range(4):
        ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
        clock.go(days=1)
    execute(store, FAILED.replace("$status", "'failed'").replace("$mode", "NULL"))
    execute(store, FAILED.replace("$status", "'success'").replace("$mode", "'live'"))
    execute(store, DURATIONS)
    clock.go(days=100)
    return store


def counters(store: Store) -> list[PollCounters]:
    with store.database.read("test") as connection:
        return read_poll_counters(connection)


@pytest.mark.both_engines("matrix")
def test_counters_of_polls_do_not_change_when_retention_deletes_their_rows(
    polled: Store, clock: StoppedClock, engine: str
) -> None:
    before = counters(polled)
    assert [(one.status, one.polls, one.new_punches) for one in before] == [("failed", 1, 0), ("success", 4, 2)]
    assert polled.retention.clean(retention_days=0, poll_days=102).polls == 1
    assert counters(polled) == before
    ingest(polled, "Gate", *on(MONDAY, "18:00"))
    grown = counters(polled)
    assert [(one.polls, one.new_punches) for one in grown] == [(1, 0), (5, 3)]
    for _ in range(2 if engine == "file" else 1):  # a clean-up of a lake takes a second
        clock.go(days=100)
        polled.retention.clean(retention_days=0, poll_days=1)
        assert counters(polled) == grown
    assert rows(polled, "SELECT status, polls FROM device_poll_totals") == [("success", 3)]


def test_a_clean_up_that_fails_deletes_no_poll_and_counts_none(polled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = counters(polled)

    def add_and_fail(*arguments: Any) -> None:
        add_to_totals(*arguments)
        raise ZeroDivisionError

    monkeypatch.setattr(retention, "add_to_totals", add_and_fail)
    with pytest.raises(ZeroDivisionError):
        polled.retention.clean(retention_days=0, poll_days=1)
    assert rows(polled, "SELECT count(*) FROM device_poll_totals") == [(0,)]
    assert counters(polled) == before


@pytest.mark.file_engine
def test_polls_that_a_restore_brings_back_are_not_counted_twice(
    polled: Store, clock: StoppedClock, tmp_path: Path
) -> None:
    polled.retention.clean(retention_days=0, poll_days=102)
    backup = polled.backups.make(tmp_path / "before.duckdb").file
    clock.go(days=1)
    ingest(polled, "Gate", *on(MONDAY, "19:00"))
    clock.go(days=100)
    polled.retention.clean(retention_days=0, poll_days=1)
    before, few = counters(polled), rows(polled, "SELECT count(*) FROM device_polls")
    polled.restore.run(backup)
    assert rows(polled, "SELECT count(*) FROM device_polls") > few
    assert counters(polled) == before
    polled.retention.clean(retention_days=0, poll_days=1)
    assert counters(polled) == before


def test_counters_that_are_continued_are_those_of_a_complete_count(polled: Store, clock: StoppedClock) -> None:
    history = PollHistory()

    def continued() -> list[PollCounters]:
        with polled.database.read("test") as connection:
            counted, newest = history.read(connection)
            assert newest == PollHistory().read(connection)[1]
        return counted

    assert continued() == counters(polled)
    ingest(polled, "Gate", *on(MONDAY, "18:00"))
    execute(polled, FAILED.replace("$status", "'failed'").replace("$mode", "NULL"))
    assert continued() == counters(polled)
    clock.go(days=100)
    ingest(polled, "Gate", *on(MONDAY, "19:00"))
    assert polled.retention.clean(retention_days=0, poll_days=1).polls > 0
    assert continued() == counters(polled)


def test_polls_of_another_store_that_was_restored_are_counted_completely(polled: Store) -> None:
    history = PollHistory()
    with polled.database.read("test") as connection:
        assert history.read(connection)[0] == read_poll_counters(connection)
    execute(polled, "DELETE FROM device_polls WHERE id > 2")
    execute(polled, "UPDATE device_polls SET id = id + 100, started_at = started_at - INTERVAL 1 HOUR")
    with polled.database.read("test") as connection:
        assert history.read(connection)[0] == read_poll_counters(connection)
