"""The shared engine: DuckLake, its catalog in PostgreSQL, its rows in Parquet files on shared disk or object storage.

Keys and conflicts are our business: every write and all maintenance is under one advisory lock. Should that lock be
lost with its connection, PostgreSQL's own key of the lake's states still lets only one of two commits through.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.store.engine.advisory_locks import AdvisoryLocks, HeldAdvisoryLock, forget_sessions
from zk_pipeline.store.engine.ducklake_connection import (
    CATALOG,
    forget_instance,
    is_attached,
    lake_connection,
    unusable,
)
from zk_pipeline.store.engine.engine import Mode
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.locks.file_lock import HeldLock
from zk_pipeline.store.locks.sync_lock import HasSyncLock
from zk_pipeline.store.schema.migrations_runner import apply_missing, newest_version, read_version

Connection = duckdb.DuckDBPyConnection


@dataclass(frozen=True)
class LakeEngine:
    address: LakeAddress

    readers_stop_writers = False
    shares_instance = True
    migrates_alone = True

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

    def hold(self, mode: Mode, words: str, *, wait_seconds: float) -> AbstractContextManager[HeldLock]:
        with suppress(OSError):  # only counts of holds are kept there
            self.side.parent.mkdir(parents=True, exist_ok=True)
        return self._locks.hold(mode, words, wait_seconds=wait_seconds)

    @contextmanager
    def open(self, held: HeldLock, mode: Mode) -> Iterator[Connection]:  # noqa: ARG002 (the lock needs not be told)
        connection = self._begun(mode)
        try:
            yield connection
        except duckdb.Error as error:
            if self.address.password and self.address.password in str(error):
                raise unusable(self.address, error) from None
            raise
        finally:
            connection.close()

    def migrate(self, connection: Connection) -> None:
        if read_version(connection, self.address) < newest_version():
            apply_missing(connection, self.address, comment_on_columns_of_views=False)  # which DuckLake does not take

    def commit(self, connection: Connection, held: HeldLock) -> None:
        """Between the question and the commit the lock may still be lost, for milliseconds. Whoever takes it then and
        commits first makes this commit fail: both number the same next state, and no commit is tried twice.
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
                "somebody wrote to the store meanwhile without its lock; nothing was written: try again"
            ) from error

    def only_sender(self) -> AbstractContextManager[HasSyncLock]:
        return self._locks.only_sender()

    def size(self) -> int:
        held = self._begun("shared")
        try:
            row = held.execute(
                "SELECT coalesce(sum(file_size_bytes + delete_file_size_bytes), 0) FROM ducklake_table_info(?)",
                [CATALOG],
            ).fetchone()
            assert row is not None
            return int(row[0])
        finally:
            held.close()

    def forget(self) -> None:
        """Close what this process keeps open for the next use."""
        forget_instance(self.address)
        forget_sessions(self.address)

    def _begun(self, mode: Mode) -> Connection:
        """A connection that answers; connections kept since before a restart of the server do not."""
        for is_last in (False, True):
            instance, connection = lake_connection(self.address, create=mode != "shared")
            try:
                connection.execute(f"USE {CATALOG}")
                connection.execute("SET TimeZone = 'UTC'")
                if mode == "shared":
                    connection.execute("BEGIN TRANSACTION READ ONLY")
                connection.execute(f"FROM ducklake_current_snapshot('{CATALOG}')").fetchall()
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
