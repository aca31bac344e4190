"""The one place that opens the database: lock, open, one short transaction, close.

No network and no pandas while it is held: read what is needed, close, compute, open, write, close.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.lock import FairLock, Mode
from zk_pipeline.store.migrate import migrate, newest_version, read_version

Connection = duckdb.DuckDBPyConnection

_FOREIGN_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.+?) \(PID (?P<pid>\d+)\)")


@dataclass(frozen=True)
class Database:
    """A DuckDB file, created and migrated at first use.

    `wait_seconds` bounds the wait for our own lock; `foreign_wait_seconds` the wait for a process that opened the file
    by other means, such as an analyst's shell.
    """

    path: Path
    wait_seconds: float = 120.0
    foreign_wait_seconds: float = 30.0
    on_release: Callable[[str, float, float], None] | None = None  # purpose, waited_ms, held_ms
    _lock: FairLock = field(init=False, repr=False, compare=False)
    _seen_current: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lock", FairLock(self.path))

    @contextmanager
    def read(self, purpose: str) -> Iterator[Connection]:
        """A read-only connection, shared with other readers; one consistent state of the store.

        Raises StoreBusy or StoreUnusable.
        """
        if not self._is_current(purpose):
            with self.write("create or migrate the store"):
                pass
        with self._open("shared", purpose) as connection:
            yield connection

    @contextmanager
    def write(self, purpose: str) -> Iterator[Connection]:
        """The only connection there is, in one transaction: committed at the end, rolled back on any exception.

        Raises StoreBusy or StoreUnusable.
        """
        self._make_folder()
        with self._open("exclusive", purpose) as connection:
            migrate(connection, self.path)
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def exclusive(self, purpose: str) -> Iterator[Connection]:
        """The only connection there is, outside a transaction, for what cannot run in one (CHECKPOINT)."""
        self._make_folder()
        with self._open("exclusive", purpose) as connection:
            migrate(connection, self.path)
            yield connection

    @contextmanager
    def _open(self, mode: Mode, purpose: str) -> Iterator[Connection]:
        _import_ahead()
        with self._lock.hold(mode, purpose, wait_seconds=self.wait_seconds) as held:
            if mode == "exclusive" and self._is_missing():
                self._create()
            connection = self._connect(read_only=mode == "shared")
            try:
                connection.execute("SET TimeZone = 'UTC'")
                if mode == "shared":
                    read_version(connection, self.path)
                yield connection
            finally:
                connection.close()
                if self.on_release:
                    self.on_release(purpose, held.waited_seconds * 1e3, (time.monotonic() - held.since) * 1e3)

    def _is_current(self, purpose: str) -> bool:
        if self._is_missing():
            return False
        if self._seen_current:
            return True
        with self._open("shared", purpose) as connection:
            current = read_version(connection, self.path) == newest_version()
        object.__setattr__(self, "_seen_current", current)
        return current

    def _is_missing(self) -> bool:
        """Nothing there yet, or nothing in it; a folder counts, so that `_make_folder` gets to say so."""
        try:
            return not self.path.is_file() or self.path.stat().st_size == 0
        except OSError as error:
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: cannot look at {self.path}: {error.strerror}") from error

    def _create(self) -> None:
        """Made aside and renamed, so that a kill leaves no half-made file under the store's name."""
        aside = self.path.with_name(f"{self.path.name}.new")
        for leftover in (aside, aside.with_name(f"{aside.name}.wal")):
            leftover.unlink(missing_ok=True)
        try:
            with duckdb.connect(str(aside)) as connection:
                migrate(connection, self.path)
            aside.replace(self.path)
        except (duckdb.IOException, OSError) as error:
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: cannot create {self.path}: {_first_line(error)}") from error

    def _connect(self, *, read_only: bool) -> Connection:
        deadline = time.monotonic() + self.foreign_wait_seconds
        pause = 0.02
        while True:
            try:
                return self._only_if_file(duckdb.connect(str(self.path), read_only=read_only))
            except duckdb.IOException as error:
                foreign = _FOREIGN_HOLDER.search(str(error))
                if not foreign:
                    raise StoreUnusable(f"cannot open the store {self.path}: {_first_line(error)}") from error
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        f"the store {self.path} is held open by {foreign['program']} (process {foreign['pid']}), "
                        "which is not zk_pipeline; close it, or query a copy"
                    ) from error
            except duckdb.Error as error:
                raise StoreUnusable(f"{self.path} cannot be used as a store: {_first_line(error)}") from error
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, not a secret)
            pause = min(pause * 2, 1.0)

    def _only_if_file(self, connection: Connection) -> Connection:
        """DuckDB takes a CSV or Parquet file for a view in an empty database in memory: a store that keeps nothing."""
        row = connection.execute("SELECT count(path) FROM duckdb_databases() WHERE NOT internal").fetchone()
        if row != (1,):
            connection.close()
            raise StoreUnusable(f"{self.path} is not a valid DuckDB database file")
        return connection

    def _make_folder(self) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: cannot create the folder {folder}: {error.strerror}") from error
        if self.path.is_dir():
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: {self.path} is a folder, not a file")
        target = self.path if self.path.exists() else folder
        if not os.access(target, os.W_OK):
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: no permission to write {target}")


def _import_ahead() -> None:
    """DuckDB imports these on its first bound parameter, for seconds: not while the lock is held."""
    import pandas  # noqa: F401, PLC0415
    import pyarrow  # noqa: F401, PLC0415


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
