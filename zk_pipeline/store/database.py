"""The one place that opens the database: lock, open, one short transaction, close.

No network and no pandas while it is held: read what is needed, close, compute, open, write, close. How long it was
held is counted (`holds`). Holds do not nest: a thread that holds the store and asks for it again gets NestedHold.
"""

from __future__ import annotations

import logging
import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.holds import HoldBook
from zk_pipeline.store.lock import FairLock, Held, Mode
from zk_pipeline.store.migrate import migrate, newest_version, read_version

Connection = duckdb.DuckDBPyConnection

# DuckDB knows the program only where /proc shows it, and calls a process of another container number 0.
_FOREIGN_HOLDER = re.compile(r"Conflicting lock is held in (?:(?P<program>.+?) \()?PID (?P<pid>\d+)")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Database:
    """A DuckDB file, created and migrated at first use.

    `wait_seconds` bounds the wait for our own lock; `foreign_wait_seconds` the wait for a process that opened the file
    by other means, such as an analyst's shell. A hold longer than `slow_hold_seconds` is logged as a warning.

    The `purpose` of a hold is one of a few fixed texts, since holds are counted by it; what varies goes into `about`.
    """

    path: Path
    wait_seconds: float = 120.0
    foreign_wait_seconds: float = 30.0
    slow_hold_seconds: float = 5.0
    _lock: FairLock = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lock", FairLock(self.path))

    @property
    def holds(self) -> HoldBook:
        """How long the store was waited for and held, by all processes together."""
        return HoldBook(self.path.with_name(f"{self.path.name}.holds"))

    @contextmanager
    def read(self, purpose: str, about: str = "") -> Iterator[Connection]:
        """A read-only connection, shared with other readers; one consistent state of the store.

        Raises StoreBusy or StoreUnusable.
        """
        if self._is_missing():
            self._make_current()
        with ExitStack() as hold:
            connection = hold.enter_context(self._open("shared", purpose, about))
            if read_version(connection, self.path) < newest_version():
                hold.close()
                self._make_current()
                connection = hold.enter_context(self._open("shared", purpose, about))
            yield connection

    @contextmanager
    def write(self, purpose: str, about: str = "") -> Iterator[Connection]:
        """The only connection there is, in one transaction: committed at the end, rolled back on any exception.

        Raises StoreBusy or StoreUnusable.
        """
        self._make_folder()
        with self._open("exclusive", purpose, about) as connection:
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

    def _make_current(self) -> None:
        with self.write("create or migrate the store"):
            pass

    @contextmanager
    def _open(self, mode: Mode, purpose: str, about: str = "") -> Iterator[Connection]:
        _import_ahead()
        with self._lock_counted(mode, purpose, about) as held:
            if mode == "exclusive" and self._is_missing():
                self._create()
            connection = self._connect(held, read_only=mode == "shared")
            try:
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
            except duckdb.Error as error:
                if not re.search(r"No space left|Read-only file system", str(error)):
                    raise
                words = f"the store {self.path} could not be written, and is as it was: {_first_line(error)}"
                raise ZkPipelineError(words) from error
            finally:
                connection.close()

    @contextmanager
    def _lock_counted(self, mode: Mode, purpose: str, about: str) -> Iterator[Held]:
        """The lock; once it is free again, for how long it was held and waited for is put down."""
        words = f"{purpose}: {about}" if about else purpose
        held: Held | None = None
        began = time.monotonic()
        try:
            with self._lock.hold(mode, words, wait_seconds=self.wait_seconds) as held:
                yield held
        except StoreBusy:
            if held is None:
                waited_ms = (time.monotonic() - began) * 1e3
                self.holds.record(mode, purpose, about, waited_ms=waited_ms, held_ms=None)
            raise
        finally:
            if held is not None:
                seconds = time.monotonic() - held.since
                if seconds > self.slow_hold_seconds:
                    _log.warning("the store was held for %.1f s (%s), and everybody waits meanwhile", seconds, words)
                self.holds.record(mode, purpose, about, waited_ms=held.waited_seconds * 1e3, held_ms=seconds * 1e3)

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

    def _connect(self, held: Held, *, read_only: bool) -> Connection:
        deadline = time.monotonic() + self.foreign_wait_seconds
        pause = 0.02
        while True:
            try:
                return self._only_if_file(duckdb.connect(str(self.path), read_only=read_only))
            except duckdb.IOException as error:
                holder = _foreign_holder(error)
                if not holder:
                    raise StoreUnusable(f"cannot open the store {self.path}: {_first_line(error)}") from error
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        f"the store {self.path} is held open by {holder}, which is not zk_pipeline; close it, or query "
                        "a copy"
                    ) from error
                held.tell(f"waiting for {holder} to close the store, which is not zk_pipeline")
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


def _foreign_holder(error: duckdb.Error) -> str | None:
    """Who else has the file open, in words; None where that is not what is wrong."""
    found = _FOREIGN_HOLDER.search(str(error))
    if not found:
        return None
    if found["pid"] == "0":
        return "a process outside this container or on another machine"
    return f"{found['program']} (process {found['pid']})" if found["program"] else f"process {found['pid']}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
