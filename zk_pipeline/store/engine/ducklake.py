"""Engine of a shared store: DuckLake, with its catalog in PostgreSQL and its rows in Parquet files on shared disk or
object storage.

DuckLake enforces no keys and no write order: one advisory lock serializes all writes and maintenance. If that lock is
lost with its connection, PostgreSQL's unique key of snapshots still lets only one of two commits succeed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.store.engine.advisory_locks import (
    AdvisoryLocks,
    HeldAdvisoryLock,
    StoredByAnother,
    forget_sessions,
    waiting_writes,
)
from zk_pipeline.store.engine.ducklake_connection import (
    CATALOG,
    forget_instance,
    is_attached,
    is_known_as_current,
    lake_connection,
    note_current,
    size_of_files,
    snapshot_of,
    unusable,
)
from zk_pipeline.store.engine.ducklake_layout import set_layout
from zk_pipeline.store.engine.engine import Mode
from zk_pipeline.store.engine.shared_write import Item, Result, SharedWrite
from zk_pipeline.store.engine.waiting_writes import note_results
from zk_pipeline.store.errors import StoreBusy, StoreUnusable, is_store_failure
from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.locks.sync_lock import HasSyncLock
from zk_pipeline.store.schema.migrations_runner import (
    apply_missing,
    is_empty,
    newest_version,
    read_version,
    transaction,
)

Connection = duckdb.DuckDBPyConnection

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LakeEngine:
    address: LakeAddress

    readers_block_writers = False
    shares_instance = True
    migrates_in_maintenance = True
    opens_in_transaction = True  # each transaction costs six round trips to PostgreSQL, apart from its content

    @property
    def name(self) -> str:
        return str(self.address)

    @property
    def side(self) -> Path:
        return self.address.side

    @property
    def _locks(self) -> AdvisoryLocks:
        return AdvisoryLocks(self.address)

    def prepare(self) -> None:
        self._make_folder(self.side.parent)
        if not self.address.is_remote:
            self._make_folder(Path(self.address.data))

    def is_missing(self) -> bool:
        if is_attached(self.address):
            return False
        return bool(self._locks.ask("SELECT to_regclass('ducklake_snapshot') IS NULL"))

    def lock(self, mode: Mode, purpose: str, *, wait_seconds: float) -> AbstractContextManager[HeldLock]:
        with suppress(OSError):  # contains only lock statistics
            self.side.parent.mkdir(parents=True, exist_ok=True)
        return self._locks.lock(mode, purpose, wait_seconds=wait_seconds)

    def lock_or_share(
        self, purpose: str, kind: str, item: Callable[[], bytes], *, wait_seconds: float
    ) -> AbstractContextManager[HeldAdvisoryLock | StoredByAnother]:
        """See `AdvisoryLocks.lock_or_share`."""
        return self._locks.lock_or_share(purpose, kind, item, wait_seconds=wait_seconds)

    @contextmanager
    def open(self, held: HeldLock, mode: Mode) -> Iterator[Connection]:  # noqa: ARG002 (not needed here)
        connection = self._begun(mode)
        try:
            yield connection
        except duckdb.Error as error:
            if self.address.password and self.address.password in str(error):
                raise unusable(self.address, error) from None
            raise
        finally:
            connection.close()

    def create(self, held: HeldLock, filled_from: str) -> None:
        with self.open(held, "maintenance") as connection:
            if is_empty(connection, self.address):
                self._apply_missing(connection, filled_from)

    def state(self, connection: Connection) -> int:
        return snapshot_of(connection)

    def is_old(self, connection: Connection) -> bool:
        """Asks the store once for each of its states: five round trips to PostgreSQL."""
        state = snapshot_of(connection), newest_version()
        if is_known_as_current(self.address, state):
            return False
        is_old = read_version(connection, self.address) < newest_version()
        if not is_old:
            note_current(self.address, state)
        return is_old

    def migrate(self, connection: Connection) -> None:
        version = read_version(connection, self.address)
        if version < newest_version():
            if version:
                self._refuse_under_older_users()
            self._apply_missing(connection)

    def _refuse_under_older_users(self) -> None:
        users = self._locks.older_users(newest_version())
        if users:
            raise StoreBusy(
                f"{self.name} was not upgraded, because an older zk_pipeline uses it: end {' and '.join(users)}, then "
                "try again"
            )

    def _apply_missing(self, connection: Connection, filled_from: str | None = None) -> None:
        """Without comments on columns of views, which DuckLake does not support."""
        apply_missing(connection, self.address, comment_on_columns_of_views=False, filled_from=filled_from)
        set_layout(connection, CATALOG)

    def commit(self, connection: Connection, held: HeldLock) -> None:
        """Commit if the lock is still held. The lock may be lost in the milliseconds between check and commit; if
        another writer commits first, this commit fails, because both use the same snapshot number and no commit is
        retried.
        """
        assert isinstance(held, HeldAdvisoryLock)
        if not held.is_still_held():
            connection.rollback()
            raise StoreBusy("the lock of the store was lost with its connection; nothing was written: try again")
        try:
            connection.commit()
        except duckdb.Error as error:
            if "Failed to commit" not in str(error):
                raise
            raise StoreBusy(
                "another process wrote to the store without its lock; nothing was written: try again"
            ) from error

    def store_with_others(
        self, connection: Connection, held: HeldAdvisoryLock, purpose: str, write: SharedWrite[Item, Result]
    ) -> Result:
        """Store the item of a write and those of waiting processes in one transaction, and notify the processes.

        If that fails for an item, only the own one is stored. Raises StoreBusy, and exceptions of `write.store`.
        """
        waiting = waiting_writes(held.session)
        others = waiting.others(write.kind, purpose)
        try:
            with transaction(connection, lambda: self.commit(connection, held), is_begun=True):
                own, *results = write.store(connection, [write.item, *map(write.decode, others.values())])
                if others:
                    encoded = map(write.encode_result, results)
                    note_results(connection, CATALOG, dict(zip(others, encoded, strict=True)))
        except Exception as error:
            if not others or is_store_failure(error):
                raise
            _log.warning("stored without the %d writes of waiting processes: %s", len(others), error)
            waiting.withdraw(list(others))
            with transaction(connection, lambda: self.commit(connection, held)):
                (own,) = write.store(connection, [write.item])
            return own
        if others:
            waiting.wake(list(others))
        return own

    def acquire_sync_lock(self) -> AbstractContextManager[HasSyncLock]:
        return self._locks.acquire_sync_lock()

    def size(self) -> int:
        held = self._begun("shared")
        try:
            return size_of_files(held)
        finally:
            held.close()

    def forget(self) -> None:
        """Close the cached connections of this process."""
        forget_instance(self.address)
        forget_sessions(self.address)

    def _begun(self, mode: Mode) -> Connection:
        """Open a working connection; cached ones fail after a restart of the server."""
        for is_last in (False, True):
            instance, connection = lake_connection(self.address, create=mode != "shared")
            try:
                if mode != "maintenance":
                    connection.execute(f"BEGIN TRANSACTION {'READ ONLY' if mode == 'shared' else ''}")
                connection.execute(f"USE {CATALOG}")
                connection.execute("SET TimeZone = 'UTC'")
                snapshot_of(connection)
            except duckdb.Error as error:
                connection.close()
                forget_instance(self.address, failed=instance)
                if is_last:
                    raise unusable(self.address, error) from None
            else:
                return connection
        raise AssertionError("unreachable")

    def _make_folder(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: cannot create the folder {folder}: {error.strerror}") from error
