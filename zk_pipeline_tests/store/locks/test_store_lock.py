"""Fair lock of a store file, between threads and between processes."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from zk_pipeline.runtime.file_lock import LockMode
from zk_pipeline.store.errors import NestedHold, StoreBusy, StoreUnusable
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline_tests.store.store_load import Holder, held_by_another
from zk_pipeline_tests.waiting import until

pytestmark = pytest.mark.file_engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def hold(path: Path, mode: LockMode) -> AbstractContextManager[object]:
    return StoreFileLock(path).hold(mode, "write 3 work dates", wait_seconds=20)


def held_elsewhere(path: Path, mode: LockMode) -> AbstractContextManager[Holder]:
    return held_by_another(hold, path, mode)


def is_taken(path: Path, mode: LockMode = "exclusive") -> bool:
    """Whether the lock cannot be had at once. Leaves no trace in the queue."""
    return _cannot_lock(path.with_name(f"{path.name}.lock"), fcntl.LOCK_EX if mode == "exclusive" else fcntl.LOCK_SH)


def somebody_waits(path: Path) -> bool:
    return _cannot_lock(path.with_name(f"{path.name}.turnstile"), fcntl.LOCK_EX)


def _cannot_lock(path: Path, flag: int) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, flag | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def try_to_hold(path: Path, mode: LockMode, wait_seconds: float = 0.05) -> None:
    with StoreFileLock(path).hold(mode, "trying", wait_seconds=wait_seconds):
        pass


@pytest.mark.parametrize(
    ("held", "wanted"), [("exclusive", "exclusive"), ("exclusive", "shared"), ("shared", "exclusive")]
)
def test_an_exclusive_holder_excludes_everybody_and_readers_exclude_writers(
    held: LockMode, wanted: LockMode, path: Path
) -> None:
    with held_elsewhere(path, held), pytest.raises(StoreBusy):
        try_to_hold(path, wanted)


def test_readers_share(path: Path) -> None:
    with held_elsewhere(path, "shared"), held_elsewhere(path, "shared"):
        try_to_hold(path, "shared")


def test_the_lock_is_free_after_use_also_when_the_user_failed(path: Path) -> None:
    for mode in ("exclusive", "shared"):
        with pytest.raises(ZeroDivisionError), StoreFileLock(path).hold(mode, "failing", wait_seconds=1):
            raise ZeroDivisionError
        assert not is_taken(path)


def test_a_waiting_writer_is_not_overtaken_by_readers_that_come_later(path: Path) -> None:
    order: list[str] = []

    def work(mode: LockMode, name: str) -> None:
        with StoreFileLock(path).hold(mode, name, wait_seconds=20):
            order.append(name)

    with ThreadPoolExecutor() as pool, held_elsewhere(path, "shared") as reader:
        writer = pool.submit(work, "exclusive", "writer")
        until(lambda: somebody_waits(path))
        with pytest.raises(StoreBusy):
            try_to_hold(path, "shared")  # though a reader alone holds it
        later = pool.submit(work, "shared", "later reader")
        reader.go_on()
        writer.result(20)
        later.result(20)
    assert order == ["writer", "later reader"]


def test_who_waits_in_vain_is_told_the_process_and_the_purpose_of_the_holder(path: Path) -> None:
    with held_elsewhere(path, "exclusive") as holder:
        for mode in ("shared", "exclusive"):
            with pytest.raises(
                StoreBusy, match=rf"process {holder.pid} \(write 3 work dates, for \d+ s\) still holds it"
            ):
                try_to_hold(path, mode)


def test_readers_are_named_too_the_longest_first(path: Path) -> None:
    with held_elsewhere(path, "shared") as first, held_elsewhere(path, "shared") as second:
        words = rf"process {first.pid} \(write .+\) and process {second.pid} \(write .+\) still hold it"
        with pytest.raises(StoreBusy, match=words):
            try_to_hold(path, "exclusive")


def test_of_many_readers_three_are_named_and_the_others_counted(path: Path) -> None:
    with ExitStack() as readers:
        for _ in range(5):
            readers.enter_context(held_elsewhere(path, "shared"))
        with pytest.raises(StoreBusy, match=r"(process \d+ \([^)]+\) and ){3}2 more still hold it"):
            try_to_hold(path, "exclusive")


def test_who_waits_behind_somebody_that_waits_is_told_of_the_one_that_holds(path: Path) -> None:
    with held_elsewhere(path, "shared") as reader, ThreadPoolExecutor() as pool:
        waiting = pool.submit(try_to_hold, path, "exclusive", 20)
        until(lambda: somebody_waits(path))
        with pytest.raises(StoreBusy, match=rf"process {reader.pid} \(write 3 work dates"):
            try_to_hold(path, "shared")
        reader.go_on()
        waiting.result(20)


def test_waiting_takes_as_long_as_allowed_and_hardly_longer(path: Path) -> None:
    with held_elsewhere(path, "exclusive"):
        began = time.monotonic()
        with pytest.raises(StoreBusy):
            try_to_hold(path, "exclusive", 0.3)
        assert 0.3 <= time.monotonic() - began < 3


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_killed_holder_leaves_the_lock_free_at_once(mode: LockMode, path: Path) -> None:
    with held_elsewhere(path, mode) as holder:
        holder.kill()
        try_to_hold(path, "exclusive", 0)


def test_a_killed_holder_is_not_named_and_its_signature_goes_with_the_next_who_is_alone(path: Path) -> None:
    signatures = path.with_name(f"{path.name}.holders")
    with held_elsewhere(path, "exclusive") as killed:
        killed.kill()
    assert [one.name.split("-")[0] for one in signatures.iterdir()] == [str(killed.pid)]
    with held_elsewhere(path, "shared") as reader:
        with pytest.raises(StoreBusy, match=rf"store: process {reader.pid} \([^)]+\) still holds it"):
            try_to_hold(path, "exclusive")
        reader.go_on()
        assert reader.end() == 0
    try_to_hold(path, "exclusive", 20)
    assert list(signatures.iterdir()) == []


@pytest.mark.parametrize("inner", ["shared", "exclusive"])
@pytest.mark.parametrize("outer", ["shared", "exclusive"])
def test_a_hold_within_a_hold_of_the_same_thread_is_refused_at_once(
    outer: LockMode, inner: LockMode, path: Path
) -> None:
    with StoreFileLock(path).hold(outer, "store a poll", wait_seconds=60):
        words = r'nested lock: this thread already holds the store for "store a poll" \(requested for "count"\)'
        with pytest.raises(NestedHold, match=words), StoreFileLock(path).hold(inner, "count", wait_seconds=60):
            pass
        assert is_taken(path)  # the refusal took nothing away
    try_to_hold(path, "exclusive")


def test_a_thread_may_hold_another_store_meanwhile(path: Path, tmp_path: Path) -> None:
    with StoreFileLock(path).hold("exclusive", "one", wait_seconds=1):
        try_to_hold(tmp_path / "other.duckdb", "exclusive")


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_an_abandoned_wait_leaves_no_lock_behind(mode: LockMode, path: Path) -> None:
    with held_elsewhere(path, "exclusive") as holder:
        with pytest.raises(StoreBusy):
            try_to_hold(path, mode)
        assert [t.name for t in threading.enumerate()].count("file-lock-wait") == 1
        holder.go_on()
        until(lambda: "file-lock-wait" not in [t.name for t in threading.enumerate()])
        assert not is_taken(path)
        assert not somebody_waits(path)
        try_to_hold(path, "exclusive", 0)


def test_threads_of_one_process_exclude_each_other(path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with StoreFileLock(path).hold("exclusive", "count", wait_seconds=30):
                inside.append(number)
                os.sched_yield()
                most.append(len(inside))
                inside.remove(number)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most == [1] * 80


def test_how_long_it_was_waited_for_is_told(path: Path) -> None:
    with held_elsewhere(path, "exclusive") as holder, ThreadPoolExecutor() as pool:

        def wait() -> float:
            with StoreFileLock(path).hold("shared", "waiting", wait_seconds=20) as held:
                return held.waited_seconds

        waiting = pool.submit(wait)
        until(lambda: somebody_waits(path))
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 0.1)
        holder.go_on()
        assert 0.1 < waiting.result(20) < 20
    with StoreFileLock(path).hold("shared", "free", wait_seconds=1) as held:
        assert held.waited_seconds < 1


def test_side_files_that_cannot_be_made_are_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match="cannot open the lock file"):
        try_to_hold(tmp_path / "missing" / "store.duckdb", "shared")
