"""Default engine: one DuckDB file on a local disk, with one writing process or several readers at a time."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.runtime.processes import check_for_end
from zk_pipeline.store.engine.attached_file import STORAGE_VERSION, attached_file
from zk_pipeline.store.engine.engine import Mode
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.locks.file_lock import HeldLock, StoreFileLock
from zk_pipeline.store.locks.sync_lock import HasSyncLock, acquire_sync_lock
from zk_pipeline.store.schema.file_copy import wal_path
from zk_pipeline.store.schema.migrations_runner import apply_missing, migrate, newest_version, read_version

Connection = duckdb.DuckDBPyConnection

# DuckDB names the program only if /proc shows it, and reports a process of another container as PID 0.
_FOREIGN_HOLDER = re.compile(r"Conflicting lock is held in (?:(?P<program>.+?) \()?PID (?P<pid>\d+)")


@dataclass(frozen=True)
class FileEngine:
    """Engine of one file. `foreign_wait_seconds` bounds the wait for a process that is not zk_pipeline."""

    path: Path
    foreign_wait_seconds: float
    _lock: StoreFileLock = field(init=False, repr=False, compare=False)

    readers_block_writers = True
    shares_instance = False
    migrates_in_maintenance = False
    opens_in_transaction = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_lock", StoreFileLock(self.path))

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def side(self) -> Path:
        return self.path

    def lock(self, mode: Mode, purpose: str, *, wait_seconds: float) -> AbstractContextManager[HeldLock]:
        return self._lock.hold("shared" if mode == "shared" else "exclusive", purpose, wait_seconds=wait_seconds)

    @contextmanager
    def open(self, held: HeldLock, mode: Mode) -> Iterator[Connection]:
        if mode != "shared" and self.is_missing():
            self._create()
        with ExitStack() as attached:
            connection = self._attach(attached, held, read_only=mode == "shared")
            try:
                yield connection
            except duckdb.Error as error:
                if not re.search(r"No space left|Read-only file system", str(error)):
                    raise
                message = f"the store {self.path} could not be written and is unchanged: {_first_line(error)}"
                raise ZkPipelineError(message) from error

    def state(self, connection: Connection) -> None:  # noqa: ARG002 (needed elsewhere)
        return None

    def is_old(self, connection: Connection) -> bool:
        return read_version(connection, self.path) < newest_version()

    def migrate(self, connection: Connection) -> None:
        migrate(connection, self.path)

    def commit(self, connection: Connection, held: HeldLock) -> None:  # noqa: ARG002 (the kernel holds it while we live)
        connection.commit()

    def acquire_sync_lock(self) -> AbstractContextManager[HasSyncLock]:
        return acquire_sync_lock(self.path)

    def size(self) -> int:
        return sum(one.stat().st_size for one in (self.path, wal_path(self.path)) if one.exists())

    def is_missing(self) -> bool:
        """Whether the file is missing or empty; also True for a folder, which `prepare` then reports."""
        try:
            return not self.path.is_file() or self.path.stat().st_size == 0
        except OSError as error:
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: cannot read {self.path}: {error.strerror}") from error

    def create(self, held: HeldLock, filled_from: str) -> None:  # noqa: ARG002 (only the caller needs the lock)
        if self.is_missing():
            self._create(filled_from)

    def _create(self, filled_from: str | None = None) -> None:
        """Create the file under a temporary name and rename it, so that a kill leaves no incomplete store."""
        aside = self.path.with_name(f"{self.path.name}.new")
        for leftover in (aside, aside.with_name(f"{aside.name}.wal")):
            leftover.unlink(missing_ok=True)
        try:
            with duckdb.connect(
                str(aside), config={"storage_compatibility_version": STORAGE_VERSION, "threads": 1}
            ) as connection:
                apply_missing(connection, self.path, filled_from=filled_from)
            aside.chmod(0o600)  # also in a process with another umask, such as one that embeds the pipeline
            aside.replace(self.path)
        except (duckdb.IOException, OSError) as error:
            raise StoreUnusable(f"ZK_PIPELINE_DATABASE: cannot create {self.path}: {_first_line(error)}") from error

    def _attach(self, stack: ExitStack, held: HeldLock, *, read_only: bool) -> Connection:
        deadline = time.monotonic() + self.foreign_wait_seconds
        pause = 0.02
        while True:
            try:
                return stack.enter_context(attached_file(self.path, read_only=read_only))
            except duckdb.IOException as error:
                holder = _foreign_holder(error)
                if not holder:
                    raise StoreUnusable(f"cannot open the store {self.path}: {_first_line(error)}") from error
                if time.monotonic() > deadline:
                    raise StoreBusy(
                        f"the store {self.path} is open in {holder}, which is not zk_pipeline; close it, or query "
                        "a copy"
                    ) from error
                held.tell(f"waiting for {holder} to close the store, which is not zk_pipeline")
            except duckdb.Error as error:
                raise StoreUnusable(f"{self.path} cannot be used as a store: {_first_line(error)}") from error
            check_for_end()
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 (jitter, not a secret)
            pause = min(pause * 2, 1.0)

    def prepare(self) -> None:
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


def _foreign_holder(error: duckdb.Error) -> str | None:
    """Name of the other process that has the file open; None for any other error."""
    found = _FOREIGN_HOLDER.search(str(error))
    if not found:
        return None
    if found["pid"] == "0":
        return "a process outside this container or on another machine"
    return f"{found['program']} (process {found['pid']})" if found["program"] else f"process {found['pid']}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
