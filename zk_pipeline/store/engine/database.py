"""The one place that opens the database: lock, open, one short transaction, close. Engines are modules of this package.

No network and no pandas while it is held: read what is needed, close, compute, open, write, close. How long it was
held is counted (`lock_statistics`). Locks do not nest: a thread that holds the store and asks for it again gets
NestedHold.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.engine.duckdb_file import FileEngine
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline.store.engine.engine import Engine, Mode
from zk_pipeline.store.errors import NotOnThisEngine, StoreBusy
from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.locks.lock_statistics import LockStatistics
from zk_pipeline.store.schema.migrations_runner import newest_version, read_version, transaction

Connection = duckdb.DuckDBPyConnection
Where = Path | LakeAddress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Database:
    """A DuckDB file or a DuckLake, created and migrated at first use.

    `wait_seconds` bounds the wait for our own lock; `foreign_wait_seconds` the wait for a process that opened the file
    by other means, such as an analyst's shell. A hold longer than `slow_hold_seconds` is logged as a warning.

    The `purpose` of a hold is one of a few fixed texts, since holds are counted by it; what varies goes into `about`.
    """

    where: Where
    wait_seconds: float = 120.0
    foreign_wait_seconds: float = 30.0
    slow_hold_seconds: float = 5.0
    engine: Engine = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "engine", _engine_of(self.where, self.foreign_wait_seconds))

    @property
    def path(self) -> Path:
        """The file. Raises NotOnThisEngine where the store is none."""
        if isinstance(self.where, LakeAddress):
            raise NotOnThisEngine(
                f"{self.engine.name} is a shared store and no file: back up its PostgreSQL database (pg_dump) together "
                "with its data folder, or copy it to a file: `zk-pipeline migrate-store FROM TO`"
            )
        return self.where

    @property
    def name(self) -> str:
        """The store in words for people, without secrets."""
        return self.engine.name

    @property
    def holds(self) -> LockStatistics:
        """Wait times and lock times of the store, over all processes of this host."""
        return LockStatistics(self.engine.side.with_name(f"{self.engine.side.name}.lock-statistics"))

    @contextmanager
    def read(self, purpose: str, about: str = "") -> Iterator[Connection]:
        """A read-only connection, shared with other readers; one consistent state of the store.

        Raises StoreBusy or StoreUnusable.
        """
        if self.engine.is_missing():
            self._make_current()
        with self._open_current("shared", purpose, about) as (connection, _):
            yield connection

    @contextmanager
    def write(self, purpose: str, about: str = "") -> Iterator[Connection]:
        """The only connection that writes, in one transaction: committed at the end, rolled back on any exception.

        Raises StoreBusy or StoreUnusable.
        """
        self.engine.prepare()
        with (
            self._open_current("exclusive", purpose, about) as (connection, held),
            transaction(connection, lambda: self.engine.commit(connection, held)),
        ):
            yield connection

    @contextmanager
    def exclusive(self, purpose: str) -> Iterator[Connection]:
        """The only connection there is, outside a transaction, for what cannot run in one (CHECKPOINT)."""
        self.engine.prepare()
        with self._open("alone", purpose) as (connection, _):
            self.engine.migrate(connection)
            yield connection

    def _make_current(self) -> None:
        with self.exclusive("create or migrate the store"):
            pass

    @contextmanager
    def _open_current(self, mode: Mode, purpose: str, about: str) -> Iterator[tuple[Connection, HeldLock]]:
        with ExitStack() as hold:
            connection, held = hold.enter_context(self._open(mode, purpose, about))
            if mode != "shared" and not self.engine.migrates_alone:
                self.engine.migrate(connection)
            elif self._is_old(connection):
                hold.close()
                self._make_current()
                connection, held = hold.enter_context(self._open(mode, purpose, about))
            yield connection, held

    def _is_old(self, connection: Connection) -> bool:
        return read_version(connection, self.where) < newest_version()

    @contextmanager
    def _open(self, mode: Mode, purpose: str, about: str = "") -> Iterator[tuple[Connection, HeldLock]]:
        check_for_end()
        _import_ahead()
        with self._lock_counted(mode, purpose, about) as held, self.engine.open(held, mode) as connection:
            yield connection, held

    @contextmanager
    def _lock_counted(self, mode: Mode, purpose: str, about: str) -> Iterator[HeldLock]:
        """The lock; once it is free again, for how long it was held and waited for is put down."""
        counted = "shared" if mode == "shared" else "exclusive"
        words = f"{purpose}: {about}" if about else purpose
        held: HeldLock | None = None
        began = time.monotonic()
        try:
            with self.engine.hold(mode, words, wait_seconds=self.wait_seconds) as held:
                yield held
        except StoreBusy:
            if held is None:
                waited_ms = (time.monotonic() - began) * 1e3
                self.holds.record(counted, purpose, about, waited_ms=waited_ms, held_ms=None)
            raise
        finally:
            if held is not None:
                seconds = time.monotonic() - held.since
                stops_others = counted == "exclusive" or self.engine.readers_stop_writers
                if seconds > self.slow_hold_seconds and stops_others:
                    _log.warning("the store was held for %.1f s (%s), and everybody waits meanwhile", seconds, words)
                self.holds.record(counted, purpose, about, waited_ms=held.waited_seconds * 1e3, held_ms=seconds * 1e3)


def _engine_of(where: Where, foreign_wait_seconds: float) -> Engine:
    return LakeEngine(where) if isinstance(where, LakeAddress) else FileEngine(where, foreign_wait_seconds)


def _import_ahead() -> None:
    """DuckDB imports these on its first bound parameter, for seconds: not while the lock is held."""
    import pandas  # noqa: F401, PLC0415
    import pyarrow  # noqa: F401, PLC0415
