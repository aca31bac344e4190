"""Interface of a database engine. Queries are the same on every engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

import duckdb

from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.locks.sync_lock import HasSyncLock

# `maintenance` also excludes readers. On a file it equals `exclusive`; a DuckLake is read while it is written.
Mode = Literal["shared", "exclusive", "maintenance"]
# Bytes of a store below which DuckDB gets one thread. DuckDB divides a table among threads by row groups of 122,880
# rows; 160,000 punches with their days take 12 MB. In a smaller store, a second thread costs CPU and saves no time.
ONE_THREAD_BELOW = 8_000_000


class Engine(Protocol):
    """One store on one engine. Construction is cheap and opens nothing."""

    @property
    def name(self) -> str:
        """Name of the store for messages, without secrets."""

    @property
    def side(self) -> Path:
        """Path prefix of this host's side files of the store."""

    @property
    def readers_block_writers(self) -> bool:
        """Whether a long read blocks writers."""

    @property
    def shares_instance(self) -> bool:
        """Whether all connections of this process share one DuckDB instance, and so its global settings."""

    @property
    def migrates_in_maintenance(self) -> bool:
        """Whether a writer must release the lock and take it for `maintenance` to migrate the store."""

    @property
    def opens_in_transaction(self) -> bool:
        """True if `open` begins the first transaction of the connection in the mode `exclusive`."""

    def prepare(self) -> None:
        """Create the folders that a write needs. Raises StoreUnusable if the store cannot exist there."""

    def is_missing(self) -> bool:
        """Whether the store does not exist or is empty."""

    def lock(self, mode: Mode, purpose: str, *, wait_seconds: float) -> AbstractContextManager[HeldLock]:
        """Acquire the lock; waiting processes see `purpose`. Raises StoreBusy, StoreUnusable, NestedHold."""

    def open(self, held: HeldLock, mode: Mode) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Open a connection under the lock; creates a missing store unless the mode is `shared`.

        `shared` is read-only and sees one state of the store. Raises StoreBusy, StoreUnusable.
        """

    def create(self, held: HeldLock, filled_from: str) -> None:
        """Create the store under the lock of the mode `maintenance`, unless it exists, in one commit: it rejects all
        processes until the store migration from `filled_from` is complete.
        """

    def state(self, connection: duckdb.DuckDBPyConnection) -> int | None:
        """Number of the committed state that a read sees, whose rows never change; None if the engine has none."""

    def is_old(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """True if migrations are missing. Raises StoreUnusable as `read_version` does."""

    def migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Migrate the store to the newest version. One short query if it is current. Raises StoreBusy if a process of
        an older version is connected to a shared store.
        """

    def commit(self, connection: duckdb.DuckDBPyConnection, held: HeldLock) -> None:
        """Commit if the lock is still valid; otherwise roll back and raise StoreBusy."""

    def acquire_sync_lock(self) -> AbstractContextManager[HasSyncLock]:
        """Acquire the lock of the only sync, over all hosts. Raises SyncAlreadyRunning at once."""

    def size(self) -> int:
        """Size of the store in bytes."""
