"""Database access: lock, open, one short transaction, close. Only this package opens the database.

Use no network and no pandas under the lock: read, close, compute, open, write, close. Lock times are recorded
(`lock_statistics`). Locks do not nest: a second lock in the same thread raises NestedHold.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.data_libraries import bindings_without_pandas
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.engine.advisory_locks import HeldAdvisoryLock, StoredByAnother
from zk_pipeline.store.engine.duckdb_file import FileEngine
from zk_pipeline.store.engine.ducklake import LakeEngine
from zk_pipeline.store.engine.engine import Engine, Mode
from zk_pipeline.store.engine.read_copy import ReadCopy
from zk_pipeline.store.engine.shared_write import Item, Result, SharedWrite
from zk_pipeline.store.errors import NotOnThisEngine, StoreBusy
from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.locks.lock_statistics import LockStatistics
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning
from zk_pipeline.store.schema.migrations_runner import newest_version, read_version, transaction

Connection = duckdb.DuckDBPyConnection
Where = Path | LakeAddress
T = TypeVar("T")
AnyLock = TypeVar("AnyLock", bound=HeldLock)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenStore:
    """The store while `Database.keep_open` has it open for one thread. `is_wanted`: another process waits for it."""

    _connection: Connection
    _held: HeldLock
    _engine: Engine

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, rolled back on any exception."""
        with transaction(self._connection, lambda: self._engine.commit(self._connection, self._held)):
            yield self._connection

    def is_wanted(self) -> bool:
        """True if another process or thread waits for the store, or if the engine cannot say so. For any thread."""
        return self._held.is_wanted()

    @property
    def open_seconds(self) -> float:
        return time.monotonic() - self._held.since


@dataclass(frozen=True)
class Database:
    """A DuckDB file or a DuckLake, created and migrated at first use.

    `wait_seconds` bounds the wait for the store lock; `foreign_wait_seconds` that for a process that opened the file
    without it, such as an analyst's shell. A lock time above `slow_hold_seconds` is logged as a warning.

    `purpose` is one of a few constant texts, because lock times are counted by it; `about` takes the details.

    With a `read_copy`, requests of the API that permit it read from a copy of the file, up to a minute old.
    """

    where: Where
    wait_seconds: float = 120.0
    foreign_wait_seconds: float = 30.0
    slow_hold_seconds: float = 5.0
    read_copy: ReadCopy | None = field(default=None, repr=False, compare=False)
    engine: Engine = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "engine", _engine_of(self.where, self.foreign_wait_seconds))

    @property
    def path(self) -> Path:
        """Path of the file. Raises NotOnThisEngine for a shared store."""
        if isinstance(self.where, LakeAddress):
            raise NotOnThisEngine(
                f"{self.engine.name} is a shared store and no file: `zk-pipeline backup FILE` copies it to one; "
                "a backup is restored to a file, and that is moved to an empty database (docs/shared-store.md)"
            )
        return self.where

    @property
    def name(self) -> str:
        """Name of the store for messages, without secrets."""
        return self.engine.name

    @property
    def lock_statistics(self) -> LockStatistics:
        """Wait and lock times of the store, over all processes of this host."""
        return LockStatistics(self.engine.side.with_name(f"{self.engine.side.name}.lock-statistics"))

    @contextmanager
    def read(self, purpose: str, about: str = "") -> Iterator[Connection]:
        """Open a read-only connection, shared with other readers, on one consistent state of the store.

        Raises StoreBusy or StoreUnusable.
        """
        if self.engine.is_missing():
            self._migrate()
        with nullcontext() if self.read_copy is None else self.read_copy.read() as copy:
            if copy is not None:
                yield copy
                return
            with self._open_current("shared", purpose, about) as (connection, _):
                yield connection

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """The result of `read`; equal reads (equal `key`) from one copy, or at the same time, share it."""
        return read() if self.read_copy is None else self.read_copy.once(key, read)

    def once_per_copy(self, key: Hashable, read: Callable[[], T]) -> T | None:
        """Inside `read`: the result of this, which may use its connection, shared by all reads of the same copy; None
        without a copy.
        """
        return None if self.read_copy is None else self.read_copy.once_per_copy(key, read)

    def state(self, connection: Connection) -> int | None:
        """Inside `read`: number of the state of a shared store, whose rows never change; None for a file."""
        return self.engine.state(connection)

    @contextmanager
    def read_current(self, purpose: str) -> Iterator[Connection | None]:
        """As `read`, but yield None instead of creating or migrating the store.

        Raises StoreBusy or StoreUnusable.
        """
        if self.engine.is_missing():
            yield None
            return
        with self._open("shared", purpose) as (connection, _):
            yield None if self._is_old(connection) else connection

    @contextmanager
    def write(self, purpose: str, about: str = "") -> Iterator[Connection]:
        """Open the writing connection in one transaction: committed at the end, rolled back on any exception.

        Raises StoreBusy or StoreUnusable.
        """
        self.engine.prepare()
        with (
            self._open_current("exclusive", purpose, about) as (connection, held),
            transaction(
                connection,
                lambda: self.engine.commit(connection, held),
                is_begun=self.engine.opens_in_transaction,
            ),
        ):
            yield connection

    def write_shared(self, purpose: str, about: str, write: SharedWrite[Item, Result]) -> Result:
        """Store the item of a write, in one transaction; on a shared store together with those of other processes that
        wait for the lock. Returns its result, after the commit.

        Raises StoreBusy, StoreUnusable, and exceptions of `write.store`.
        """
        if isinstance(self.engine, LakeEngine):
            done = self._share(self.engine, purpose, about, write)
            if done is not None:
                return done
        with self.write(purpose, about) as connection:
            return write.store(connection, [write.item])[0]

    @contextmanager
    def keep_open(self, purpose: str) -> Iterator[OpenStore]:
        """Keep the store open for writing, for several transactions that follow each other closely: opening and closing
        the file takes as long as a small transaction. The caller ends the block as soon as `is_wanted`.

        Raises StoreBusy or StoreUnusable.
        """
        self.engine.prepare()
        with self._open_current("exclusive", purpose, "") as (connection, held):
            if self.engine.opens_in_transaction:
                connection.rollback()
            yield OpenStore(connection, held, self.engine)

    @contextmanager
    def maintenance(self, purpose: str) -> Iterator[Connection]:
        """Open the only connection, outside a transaction, for statements that cannot run in one (CHECKPOINT)."""
        self.engine.prepare()
        with self._open("maintenance", purpose) as (connection, _):
            self._migrate_opened(connection)
            yield connection

    def needs_upgrade(self) -> bool:
        """True if the store exists and the next `read` or `write` upgrades it. Raises StoreBusy or StoreUnusable."""
        if self.engine.is_missing():
            return False
        with self._open("shared", "read the store version") as (connection, _):
            return self._is_old(connection)

    def _migrate(self) -> None:
        with self.maintenance("create or migrate the store"):
            pass

    @contextmanager
    def _open_current(self, mode: Mode, purpose: str, about: str) -> Iterator[tuple[Connection, HeldLock]]:
        with ExitStack() as hold:
            connection, held = hold.enter_context(self._open(mode, purpose, about))
            if mode != "shared" and not self.engine.migrates_in_maintenance:
                self._migrate_opened(connection)
            elif self._is_old(connection):
                hold.close()
                self._migrate()
                connection, held = hold.enter_context(self._open(mode, purpose, about))
            yield connection, held

    def _migrate_opened(self, connection: Connection) -> None:
        """Migrate the store; not during a sync, whose older program could not record what it has sent."""
        version = read_version(connection, self.where)
        if version == newest_version():
            return
        if not version:
            self.engine.migrate(connection)
            return
        try:
            with self.engine.acquire_sync_lock():
                self.engine.migrate(connection)
        except SyncAlreadyRunning:
            raise StoreBusy(
                f"{self.name} was not upgraded, because a sync of an older zk_pipeline is sending to the CRM: wait for "
                "it to end"
            ) from None

    def _is_old(self, connection: Connection) -> bool:
        return self.engine.is_old(connection)

    @contextmanager
    def _open(self, mode: Mode, purpose: str, about: str = "") -> Iterator[tuple[Connection, HeldLock]]:
        check_for_end()
        if mode == "exclusive":
            _import_ahead()
        with (
            bindings_without_pandas(),
            self._lock_counted(
                mode, purpose, about, partial(self.engine.lock, mode, wait_seconds=self.wait_seconds)
            ) as held,
            self.engine.open(held, mode) as connection,
        ):
            yield connection, held

    def _share(self, engine: LakeEngine, purpose: str, about: str, write: SharedWrite[Item, Result]) -> Result | None:
        """The result of the write, stored by this process or another; None, with nothing written, if the store must be
        created or migrated first.
        """
        check_for_end()
        _import_ahead()
        item = write.item

        def lock(label: str) -> AbstractContextManager[HeldAdvisoryLock | StoredByAnother]:
            return engine.lock_or_share(label, write.kind, lambda: write.encode(item), wait_seconds=self.wait_seconds)

        with bindings_without_pandas(), self._lock_counted("exclusive", purpose, about, lock) as held:
            if isinstance(held, StoredByAnother):
                return write.decode_result(held.result)
            with engine.open(held, "exclusive") as connection:
                if self._is_old(connection):
                    return None
                return engine.store_with_others(connection, held, _label(purpose, about), write)

    @contextmanager
    def _lock_counted(
        self, mode: Mode, purpose: str, about: str, lock: Callable[[str], AbstractContextManager[AnyLock]]
    ) -> Iterator[AnyLock]:
        """Acquire the lock; record its wait and lock time after the release."""
        counted = "shared" if mode == "shared" else "exclusive"
        label = _label(purpose, about)
        held: AnyLock | None = None
        is_open_elsewhere = False
        began = time.monotonic()
        try:
            with lock(label) as held:
                yield held
        except StoreBusy:
            is_open_elsewhere = held is not None
            if held is None:
                waited_ms = (time.monotonic() - began) * 1e3
                self.lock_statistics.record(counted, purpose, about, waited_ms=waited_ms, held_ms=None)
            raise
        finally:
            if held is not None:
                seconds = time.monotonic() - held.since
                stops_others = counted == "exclusive" or self.engine.readers_block_writers
                if seconds > self.slow_hold_seconds and stops_others and not is_open_elsewhere:  # the error names who
                    _log.warning("store lock held for %.1f s (%s); other processes were blocked", seconds, label)
                self.lock_statistics.record(
                    counted, purpose, about, waited_ms=held.waited_seconds * 1e3, held_ms=seconds * 1e3
                )


def _label(purpose: str, about: str) -> str:
    return f"{purpose}: {about}" if about else purpose


def _engine_of(where: Where, foreign_wait_seconds: float) -> Engine:
    return LakeEngine(where) if isinstance(where, LakeAddress) else FileEngine(where, foreign_wait_seconds)


def _import_ahead() -> None:
    """Import pandas and pyarrow before taking the exclusive lock: writes bind tables of them (0.5 s of CPU time)."""
    import pandas  # noqa: F401, PLC0415
    import pyarrow  # noqa: F401, PLC0415
