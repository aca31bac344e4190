"""What the store needs of the engine that keeps it. Queries are the same on each and know nothing of this."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

import duckdb

from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.locks.sync_lock import HasSyncLock

# `alone`: no readers either. A file knows no difference to `exclusive`; a lake is read while it is written.
Mode = Literal["shared", "exclusive", "alone"]


class Engine(Protocol):
    """One store on one engine. Cheap to make; opens nothing until asked."""

    @property
    def name(self) -> str:
        """The store in words for people; never holds a secret."""

    @property
    def side(self) -> Path:
        """How this host's own files about the store begin."""

    @property
    def readers_stop_writers(self) -> bool:
        """Whether a long read is everybody's wait."""

    @property
    def shares_instance(self) -> bool:
        """Whether all connections of this process share one DuckDB instance, and so its global settings."""

    @property
    def migrates_alone(self) -> bool:
        """Whether a writer must let go and come back `alone` to bring the store to the newest version."""

    def prepare(self) -> None:
        """Before a write: make what must be there. Raises StoreUnusable where there can be no store."""

    def is_missing(self) -> bool:
        """Nothing there yet, or nothing in it."""

    def hold(self, mode: Mode, words: str, *, wait_seconds: float) -> AbstractContextManager[HeldLock]:
        """The lock; `words` tell those who wait. Raises StoreBusy, StoreUnusable, NestedHold."""

    def open(self, held: HeldLock, mode: Mode) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection under the lock, made if it is missing and the mode is not `shared`.

        `shared` is read-only and sees one state of the store. Raises StoreBusy, StoreUnusable.
        """

    def migrate(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Bring the store to the newest version. Nothing to do costs one short query."""

    def commit(self, connection: duckdb.DuckDBPyConnection, held: HeldLock) -> None:
        """Commit if the lock is still held; else roll back and raise StoreBusy."""

    def only_sender(self) -> AbstractContextManager[HasSyncLock]:
        """One sender of deliveries at a time, wherever it runs. Raises SenderBusy at once."""

    def size(self) -> int:
        """Bytes that the rows take."""
