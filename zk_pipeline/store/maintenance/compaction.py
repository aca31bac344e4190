"""File compaction: DuckDB reuses the blocks of deleted rows, but its file never shrinks.

Copies the database while readers continue; replaces the file only if no write happened since. Otherwise the next
clean-up retries.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.engine.attached_file import STORAGE_VERSION
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.schema.file_copy import fsync_file, temporary_name, wal_path
from zk_pipeline.store.schema.migrations_runner import literal

_WORTH_IT = 1 / 3  # minimal share of free blocks
_PURPOSE = "compact the file"
_MEMORY = "1GB"

Outcome = Literal["compact", "compacted", "changed during the copy", "no space for the copy", "in use"]


@dataclass(frozen=True)
class Space:
    """Bytes of the file, and of its free blocks, which only new rows can use."""

    total: int
    free: int

    @property
    def is_worth_it(self) -> bool:
        return self.free > self.total * _WORTH_IT


@dataclass(frozen=True)
class FileCompaction:
    database: Database
    least_bytes: int = 64 << 20  # smaller files are not compacted

    def space(self) -> Space:
        with self.database.read("read free space") as connection:
            return space_of(connection)

    def is_due(self, space: Space) -> bool:
        return space.is_worth_it and space.total >= self.least_bytes

    def compact(self) -> Outcome:
        """Rewrite the store without free blocks, if these are a third of it. Raises StoreBusy."""
        space = self.space()
        if not self.is_due(space):
            return "compact"
        if shutil.disk_usage(self.database.path.parent).free < space.total:
            return "no space for the copy"
        with temporary_name(self.database.path) as part:
            try:
                with self._hold("shared"):
                    before = self._state()
                    if before is None:
                        return "changed during the copy"
                    _copy_compacted(self.database.path, part)
                fsync_file(part)
                with self._hold("exclusive"), duckdb.connect(str(self.database.path), read_only=True):
                    if self._state() != before:
                        return "changed during the copy"
                    part.replace(self.database.path)
            except duckdb.IOException as error:
                if "Conflicting lock" in str(error):
                    return "in use"
                raise ZkPipelineError(f"the file was not compacted: {str(error).strip().splitlines()[0]}") from error
            fsync_file(self.database.path)
        return "compacted"

    @contextmanager
    def _hold(self, mode: Literal["shared", "exclusive"]) -> Iterator[None]:
        with StoreFileLock(self.database.path).hold(mode, _PURPOSE, wait_seconds=self.database.wait_seconds):
            yield

    def _state(self) -> tuple[int, int, int] | None:
        """File identity that changes with every write; None while there is a WAL."""
        if wal_path(self.database.path).exists():
            return None
        seen = self.database.path.stat()
        return seen.st_ino, seen.st_size, seen.st_mtime_ns


def space_of(connection: Connection) -> Space:
    row = connection.execute(
        "SELECT block_size * total_blocks, block_size * free_blocks FROM pragma_database_size()"
    ).fetchone()
    assert row is not None
    return Space(int(row[0]), int(row[1]))


def _copy_compacted(store: Path, part: Path) -> None:
    """Copy with bounded memory; DuckDB spills next to the store, not into the working directory."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET temp_directory = {literal(str(part.with_name(part.name + '.tmp')))}")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"ATTACH {literal(str(store))} AS store (READ_ONLY)")
        connection.execute(f"ATTACH {literal(str(part))} AS compacted (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("COPY FROM DATABASE store TO compacted")
        counts = [_counts(connection, name) for name in ("store", "compacted")]
        if counts[0] != counts[1]:
            raise ZkPipelineError(f"the file was not compacted: a copy of {store} differs from it")
        connection.execute("DETACH compacted")


def _counts(connection: Connection, database: str) -> list[tuple[str, int]]:
    tables = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE database_name = ? ORDER BY 1", [database]
    ).fetchall()
    counted = []
    for (table,) in tables:
        row = connection.execute(f'SELECT count(*) FROM {database}.main."{table}"').fetchone()  # noqa: S608
        assert row is not None
        counted.append((str(table), int(row[0])))
    return counted
