"""Many processes at one store: no failure, loss or starvation, and kills at any instant leave no partial writes.

With `-s` the figures are seen.
"""

from __future__ import annotations

import random
import signal
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_load import (
    READ,
    ROWS,
    WRITE,
    end_all,
    look,
    read_on,
    start,
    waits,
    write_polls,
)
from zk_pipeline_tests.waiting import until

HICCUP_MS = 5_000  # of a machine that others use too


def on_file(store: Store) -> bool:
    """A write of a lake costs some 0.3 s of CPU, five times a file's: the same test is scaled."""
    return isinstance(store.database.where, Path)


def figures(*lines: str) -> None:
    print("", *lines, sep="\n")  # noqa: T201


def acknowledged(folder: Path) -> list[int]:
    return [int(line) for path in folder.glob("writer-*") for line in path.read_text().splitlines()]


def reads(folder: Path) -> list[str]:
    return [line for path in folder.glob("reader-*") for line in path.read_text().splitlines()]


def work_together(store: Store, folder: Path, *, writers: int, writes: int, readers: int) -> None:
    path, stop = store.database.where, folder / "stop"
    reading = [start(read_on, path, folder / f"reader-{number}", stop) for number in range(readers)]
    until(lambda: len(list(folder.glob("reader-*"))) == readers, seconds=60)
    began = time.monotonic()
    writing = [
        start(write_polls, path, folder / f"writer-{number}", number, range(number * writes, (number + 1) * writes))
        for number in range(writers)
    ]
    try:
        assert end_all(writing, seconds=600) == [0] * writers
        seconds = time.monotonic() - began
    finally:
        stop.touch()
        ended = end_all(reading, seconds=60)
    assert ended == [0] * readers
    assert sorted(acknowledged(folder)) == list(range(writers * writes))
    found = look(path)
    assert found.batches == set(range(writers * writes))
    assert (found.torn, found.doubled, found.stale) == ([], 0, found.dates)
    acks = reads(folder)
    assert set(acks) == {"read"}
    written, read = waits(path, WRITE), waits(path, READ)
    figures(f"{store.database.name.partition(':')[0]}: {writers * writes / seconds:.1f} polls/s of {ROWS} punches")
    assert written.held.count == writers * writes
    ideal = written.ideal_ms(writers, read.held)
    figures(
        f"{writers} writers x {writes}: held {written.held.sum_ms / written.held.count:.0f} ms on average, longest "
        f"wait {written.waited.max_ms:.0f} ms, ideal queue {ideal:.0f} ms",
        f"{len(acks)} reads by {readers} readers, longest wait {read.waited.max_ms:.0f} ms",
    )
    assert written.waited.max_ms < 3 * ideal + HICCUP_MS
    assert read.waited.max_ms < 3 * ideal + HICCUP_MS
    assert len(acks) >= writes  # readers were not starved


def test_writers_and_readers_at_once_fail_and_lose_nothing_and_wait_their_turn(store: Store, tmp_path: Path) -> None:
    work_together(store, tmp_path, writers=4, writes=4, readers=2)


@pytest.mark.both_engines
@pytest.mark.stress
@pytest.mark.timeout(900)
@pytest.mark.parametrize("writers", [2, 8, 32])
def test_many_writers_and_readers_at_once_fail_and_lose_nothing(store: Store, tmp_path: Path, writers: int) -> None:
    writes = 50 if writers < 32 else 20
    work_together(store, tmp_path, writers=writers, writes=writes if on_file(store) else writes // 5, readers=8)


def kill_at_random(store: Store, folder: Path, *, kills: int, writers: int, readers: int, seed: int) -> None:
    path, stop, chance = store.database.where, folder / "stop", random.Random(seed)
    batches = iter(range(0, 10_000_000, 10_000))
    reading = [start(read_on, path, folder / f"reader-{number}", stop) for number in range(readers)]

    def writer() -> ForkServerProcess:
        first = next(batches)
        return start(write_polls, path, folder / f"writer-{first}", first // 10_000, range(first, first + 10_000))

    writing = {number: writer() for number in range(writers)}
    try:
        until(lambda: len(acknowledged(folder)) >= writers, seconds=60)
        for _ in range(kills):
            time.sleep(
                chance.uniform(0.0, 0.5 if on_file(store) else 4.0)
            )  # any instant: in a wait, a hold, a commit, between two
            victim = chance.randrange(writers)
            killed = writing[victim]
            killed.kill()
            killed.join()
            assert killed.exitcode == -signal.SIGKILL
            writing[victim] = writer()
        before = len(acknowledged(folder))
        until(lambda: len(acknowledged(folder)) > before + writers, seconds=60)  # the lock is free for those who live
    finally:
        for process in writing.values():
            process.kill()
        stop.touch()
        ended = end_all(reading, seconds=120)
    assert ended == [0] * readers
    assert set(reads(folder)) == {"read"}
    found = look(path)
    acks = set(acknowledged(folder))
    assert acks - found.batches == set()  # every acknowledged write is there
    assert (found.torn, found.doubled, found.stale) == ([], 0, found.dates)
    figures(f"{kills} kills: {len(acks)} acknowledged, {len(found.batches - acks)} committed but not acknowledged")
    assert len(found.batches - acks) <= kills + writers
    store.devices.all()  # and the lock is free


def test_killing_writers_under_load_tears_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    kill_at_random(store, tmp_path, kills=8, writers=3, readers=1, seed=4)


@pytest.mark.both_engines
@pytest.mark.stress
@pytest.mark.timeout(900)
def test_killing_writers_many_times_under_load_tears_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    kills, writers, readers = (200, 8, 4) if on_file(store) else (40, 4, 2)
    kill_at_random(store, tmp_path, kills=kills, writers=writers, readers=readers, seed=200)
