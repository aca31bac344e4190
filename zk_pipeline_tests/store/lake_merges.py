"""Processes that merge the same keys into one lake at the same time, with the store's lock or without it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Barrier
from typing import Literal

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.store.engine import advisory_locks
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline.store.engine.ducklake_connection import lake_connection
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.locks.file_lock import HeldLock

KEYS = 1_000  # of each merge
# By how much the next merge of a process is further on: most of its keys are known, or all are new to it and added
# by the other processes at the same time. DuckLake sees a conflict in the first case only.
OVERLAPPING, NEW = 100, KEYS
MERGE = """
    MERGE INTO blocked_dates AS known
    USING (SELECT DATE '2020-01-01' + i::INTEGER AS work_date FROM range($first, $last) AS r(i)) AS touched
    ON known.work_date = touched.work_date
    WHEN MATCHED THEN UPDATE SET reason = (known.reason::INTEGER + 1)::VARCHAR
    WHEN NOT MATCHED THEN INSERT (work_date, reason, since) VALUES (touched.work_date, '1', now())
"""
FOUND = "SELECT count(*), count(DISTINCT work_date), sum(reason::INTEGER)::INTEGER FROM blocked_dates"

# `fenced`: the lock is not taken, the rest is as it is; `bare`: as DuckLake does it without the lock, with its retries.
Ways = Literal["locked", "fenced", "bare"]


def merge_on(address: LakeAddress, merges: int, step: int, way: Ways, together: Barrier) -> None:
    """Merges of keys that others merge too, one after the other, begun by all at once; tried again when refused."""
    if way != "locked":
        advisory_locks.AdvisoryLocks.lock = _no_lock  # type: ignore[method-assign]
        advisory_locks.HeldAdvisoryLock.is_still_held = _held  # type: ignore[method-assign]
    if way == "bare":
        lake_connection(address, create=False)[1].execute("SET GLOBAL ducklake_max_retry_count = 100")
    database = Database(address, wait_seconds=120)
    with database.read("get ready"):
        pass
    together.wait(60)
    for number in range(merges):
        while True:
            try:
                with database.write("merge") as connection:
                    connection.execute(MERGE, {"first": number * step, "last": number * step + KEYS})
                break
            except (StoreBusy, duckdb.Error):
                if way == "locked":
                    raise


def _held(self: advisory_locks.HeldAdvisoryLock) -> bool:  # noqa: ARG001
    return True


@contextmanager
def _no_lock(self: advisory_locks.AdvisoryLocks, *_: object, **__: object) -> Iterator[HeldLock]:  # noqa: ARG001
    yield advisory_locks.HeldAdvisoryLock(0.0, time.monotonic(), lambda _: None, None, ())


def expected(processes: int, merges: int, step: int) -> tuple[int, int, int]:
    """Rows, keys, and how often they were merged in all."""
    keys = KEYS + (merges - 1) * step
    return keys, keys, processes * merges * KEYS


def engine_of(database: Database) -> LakeEngine:
    assert isinstance(database.engine, LakeEngine)
    return database.engine
