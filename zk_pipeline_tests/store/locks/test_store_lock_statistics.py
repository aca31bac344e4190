"""Lock statistics: lock and wait times of all processes, per operation, in a file of bounded size."""

from __future__ import annotations

import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Barrier

import pytest

from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.errors import NestedHold, StoreBusy
from zk_pipeline.store.locks.lock_statistics import BUCKETS_MS, MAX_OPERATIONS, OTHER, LockStatistics, LockStats
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_load import at_once, end_all, held_by_another, start
from zk_pipeline_tests.waiting import until


def hold(at: Where) -> AbstractContextManager[object]:
    return Database(at).write("hold", "for long")


def read_ten_times(at: Where, number: int, together: Barrier) -> None:
    database = Database(at)
    together.wait(60)
    for _ in range(10):
        with database.read("look", f"as process {number}"):
            pass


@pytest.fixture
def book(tmp_path: Path) -> LockStatistics:
    return LockStatistics(tmp_path / "store.duckdb.lock-statistics")


def kind(store: Store, purpose: str) -> LockStats:
    (found,) = [one for one in store.lock_statistics().operations if one.operation == purpose]
    return found


def test_a_store_never_opened_has_no_holds(tmp_path: Path) -> None:
    holds = Store.at(tmp_path / "store.duckdb").lock_statistics()
    assert (holds.since, holds.operations) == (None, [])
    assert list(tmp_path.iterdir()) == []


def test_a_hold_is_counted_with_its_length_by_purpose_and_mode(store: Store) -> None:
    with store.database.write("look", "at Monday"):
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.05)
    with store.database.read("look"):
        pass
    read, written = sorted(
        (one for one in store.lock_statistics().operations if one.operation == "look"),
        key=lambda one: -ord(one.mode[0]),
    )
    assert (read.mode, read.lock_time.count, written.mode, written.lock_time.count) == ("shared", 1, "exclusive", 1)
    assert 50 <= written.lock_time.max_ms == pytest.approx(written.lock_time.sum_ms)
    assert written.lock_time.cumulative[BUCKETS_MS.index(25)] == 0
    assert written.longest is not None
    assert (written.longest.detail, written.longest.pid) == ("at Monday", os.getpid())
    assert 0 <= written.wait_time.max_ms < 5000


def test_a_hold_that_failed_is_counted_too(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.database.write("fail"):
        raise ZeroDivisionError
    assert kind(store, "fail").lock_time.count == 1


@pytest.mark.both_engines("matrix")
def test_waits_are_counted_and_those_in_vain_apart(store: Store) -> None:
    with held_by_another(hold, store.database.where) as holder, ThreadPoolExecutor() as pool:
        with pytest.raises(StoreBusy), Database(store.database.where, wait_seconds=0.05).write("wait"):
            pass

        def wait() -> None:
            with store.database.write("wait"):
                pass

        waiting = pool.submit(wait)
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.1)
        holder.go_on()
        waiting.result(20)
        assert holder.end() == 0
    waited = kind(store, "wait")
    assert (waited.timeouts, waited.wait_time.count, waited.lock_time.count) == (1, 2, 1)
    assert waited.wait_time.max_ms >= 50
    assert kind(store, "hold").longest is not None


def test_holds_of_several_processes_are_counted_together_and_none_is_lost(store: Store) -> None:
    together = at_once(2)
    readers = [start(read_ten_times, store.database.where, number, together) for number in range(2)]
    assert end_all(readers, seconds=60) == [0, 0]
    looked = kind(store, "look")
    assert looked.lock_time.count == looked.lock_time.cumulative[-1] == 20


def test_it_is_read_without_opening_the_database_and_while_it_is_held(store: Store) -> None:
    with store.database.write("hold"):
        assert "hold" not in [one.operation for one in store.lock_statistics().operations]
    assert "hold" in [one.operation for one in store.lock_statistics().operations]


def test_the_file_stays_small_whatever_the_number_of_purposes(book: LockStatistics) -> None:
    for number in range(MAX_OPERATIONS + 50):
        book.record("shared", f"purpose {number}" * 20, "about" * 1000, waited_ms=1, held_ms=number)
    held = book.read().operations
    assert len(held) <= MAX_OPERATIONS + 2
    (other,) = [one for one in held if one.operation == OTHER]
    assert other.lock_time.count == 50
    assert book.path.stat().st_size < 100_000


def test_buckets_count_what_is_at_most_their_bound(book: LockStatistics) -> None:
    for ms in (0.5, 1.0, 1.1, 70_000):
        book.record("shared", "look", "", waited_ms=0, held_ms=ms)
    (looked,) = book.read().operations
    assert looked.lock_time.cumulative[:3] == (2, 3, 3)
    assert (looked.lock_time.cumulative[-1], looked.lock_time.count, looked.lock_time.sum_ms) == (3, 4, 70_002.6)


def test_a_damaged_file_is_begun_anew_with_a_warning(book: LockStatistics, caplog: pytest.LogCaptureFixture) -> None:
    book.record("shared", "look", "", waited_ms=0, held_ms=1)
    book.path.write_bytes(book.path.read_bytes()[:50])
    book.record("shared", "look", "", waited_ms=0, held_ms=1)
    assert "is damaged" in caplog.text
    assert [one.lock_time.count for one in book.read().operations] == [1]
    assert json.loads(book.path.read_text())["operations"]  # a person can read it


def test_where_it_cannot_be_written_the_work_goes_on_with_a_warning(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.database.lock_statistics.path.unlink(missing_ok=True)
    store.database.lock_statistics.path.mkdir(parents=True)
    with store.database.write("look"):
        pass
    assert "a lock of the store (look) is not counted" in caplog.text


def test_a_long_hold_is_logged_with_its_purpose(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        Database(store.database.where, slow_hold_seconds=0).write("store a poll", "Gate"),
    ):
        pass
    assert "(store a poll: Gate)" in caplog.text


@pytest.mark.both_engines("matrix")
def test_holds_that_nest_are_a_defect_said_at_once(store: Store) -> None:
    with store.database.read("outer"), pytest.raises(NestedHold):
        store.devices.all()
    assert store.devices.all() == []
