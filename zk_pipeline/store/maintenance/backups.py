"""Backups: verified complete copies of the store, made while runs continue, with rotation. See `restore`.

The backup of a shared store is a DuckDB file, too, with the rows of one of its snapshots.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.runtime.private_files import mode_by_folder
from zk_pipeline.store.engine.attached_file import attached_file
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.maintenance.checksums import MOVED, is_empty, own_rows
from zk_pipeline.store.maintenance.verify import verify
from zk_pipeline.store.schema.file_copy import copy_file, fsync_file, temporary_name
from zk_pipeline.store.schema.migrations_runner import column_types, migrate, transaction

_PURPOSE = "back up"


@dataclass(frozen=True)
class Backup:
    """Result of a backup. `held_ms`: time for which writers were blocked, 0 for a shared store; readers never are."""

    file: Path
    bytes: int
    version: int
    rows: dict[str, int]
    held_ms: float
    removed: list[Path]


@dataclass(frozen=True)
class Backups:
    database: Database
    clock: Callable[[], datetime]

    def make(self, target: Path, *, keep: int | None = None) -> Backup:
        """Write one consistent state of the store to `target`: a file, or a folder, which gets a timestamped file.

        With `keep`, only that many of the newest backups of this store stay in the folder, once the new one is
        verified. Raises UsageError for an invalid target, StoreBusy, ZkPipelineError if it cannot be written.
        """
        with self.database.read(_PURPOSE):
            pass  # creates a missing store; an unusable one raises its own error
        file = self._named(target, keep=keep)
        try:
            with temporary_name(file) as part:
                self._check_space(file)
                held = self._copy(part)
                verified = verify(part, "the new backup")
                fsync_file(part)
                part.replace(file)
                fsync_file(file)
        except (OSError, duckdb.IOException) as error:
            raise ZkPipelineError(f"the backup {file} could not be written: {_reason(error)}") from error
        removed = self._rotate(file.parent, keep) if keep else []
        return Backup(file, file.stat().st_size, verified.version, verified.rows, held * 1e3, removed)

    def publish(self, file: Path) -> float:
        """Publish a copy of the store under `file`, by one rename; returns the milliseconds for which writers waited.

        Users who may read its folder may read it. Processes that have the earlier copy open continue to read it.
        Raises StoreBusy, ZkPipelineError.
        """
        with self.database.read("publish"):
            pass
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with temporary_name(file) as part:
                self._check_space(file)
                held = self._copy(part)
                with attached_file(part, read_only=False) as connection:
                    connection.execute("CHECKPOINT")  # applies the WAL of a killed process, which a reader cannot do
                part.chmod(mode_by_folder(file.parent))
                part.replace(file)
        except (OSError, duckdb.IOException) as error:
            raise ZkPipelineError(f"the snapshot {file} could not be written: {_reason(error)}") from error
        return held * 1e3

    def _copy(self, part: Path) -> float:
        """Copy one state of the store; returns the time in seconds for which writers were blocked."""
        if isinstance(self.database.where, LakeAddress):
            self._copy_rows(part)
            return 0.0
        lock = StoreFileLock(self.database.path)
        with lock.hold("shared", _PURPOSE, wait_seconds=self.database.wait_seconds):
            since = time.monotonic()
            copy_file(self.database.path, part)
            return time.monotonic() - since

    def _copy_rows(self, part: Path) -> None:
        with self.database.read(_PURPOSE) as source, attached_file(part, read_only=False) as copy:
            migrate(copy, part, keep_copy=False)
            with transaction(copy):
                for table in MOVED:
                    copy.execute(f"DELETE FROM {table}")  # noqa: S608 (what a new store begins with)
                    if is_empty(source, table):
                        continue
                    columns = ", ".join(f'"{name}"' for name in column_types(table))
                    rows = source.execute(f"SELECT {columns} FROM {table} WHERE {own_rows(table)}").to_arrow_reader()  # noqa: S608 (constant names)
                    copy.register("copied", rows)
                    copy.execute(f"INSERT INTO {table} ({columns}) FROM copied")
                    copy.unregister("copied")

    @property
    def _stem(self) -> str:
        return self.database.engine.side.stem

    def _named(self, target: Path, *, keep: int | None) -> Path:
        folder = target.is_dir() or not target.suffix
        try:
            if folder:
                target.mkdir(parents=True, exist_ok=True)
                instant = self.clock().astimezone(UTC)
                return target.resolve() / f"{self._stem}-{instant:%Y%m%dT%H%M%SZ}.duckdb"
            if keep is not None:
                raise UsageError(f"--keep counts the backups in a folder, and {target} is a file: name a folder")
            file = target.resolve()
            if file == self.database.engine.side.resolve():
                raise UsageError(f"{target} is the store itself: choose another file")
            if not file.parent.is_dir():
                raise UsageError(f"there is no folder {file.parent}: create it first")
        except OSError as error:
            raise UsageError(f"{target} cannot be used for a backup: {error.strerror or error}") from error
        return file

    def _check_space(self, file: Path) -> None:
        needed = self.database.engine.size()
        free = shutil.disk_usage(file.parent).free
        if free < needed:
            raise ZkPipelineError(
                f"the backup needs {needed / 1e6:,.0f} MB and {file.parent} has {free / 1e6:,.0f} MB left"
            )

    def _rotate(self, folder: Path, keep: int) -> list[Path]:
        ours = re.compile(re.escape(self._stem) + r"-\d{8}T\d{6}Z\.duckdb")
        found = sorted(one for one in folder.iterdir() if ours.fullmatch(one.name))
        for old in found[:-keep]:
            old.unlink()
        return found[:-keep]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).strip().splitlines()[0]
