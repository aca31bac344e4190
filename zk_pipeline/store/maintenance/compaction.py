"""Giving space back to the file system: DuckDB reuses the blocks of deleted rows, but its file never shrinks for them.

A dense copy is made while readers go on, and takes the name only if nobody wrote meanwhile; otherwise the next
clean-up tries again.
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
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.locks.file_lock import StoreFileLock
from zk_pipeline.store.schema.file_copy import aside, settle_on_disk, wal_of
from zk_pipeline.store.schema.migrations_runner import literal

_WORTH_IT = 1 / 3  # of the file are free blocks
_PURPOSE = "give space back"
_MEMORY = "1GB"

Outcome = Literal["dense enough", "made dense", "written meanwhile", "no room for the copy", "held by others"]


@dataclass(frozen=True)
class Space:
    """Bytes of the file, and how many of them are free blocks that only new rows can use."""

    total: int
    free: int

    @property
    def is_worth_it(self) -> bool:
        return self.free > self.total * _WORTH_IT


@dataclass(frozen=True)
class FileCompaction:
    database: Database
    least_bytes: int = 64 << 20  # a smaller file is left as it is

    def space(self) -> Space:
        with self.database.read("look at free space") as connection:
            return space_of(connection)

    def is_due(self, space: Space) -> bool:
        return space.is_worth_it and space.total >= self.least_bytes

    def compact(self) -> Outcome:
        """Rewrite the store without its free blocks, where these are a third of it. Raises StoreBusy."""
        space = self.space()
        if not self.is_due(space):
            return "dense enough"
        if shutil.disk_usage(self.database.path.parent).free < space.total:
            return "no room for the copy"
        with aside(self.database.path) as part:
            try:
                with self._hold("shared"):
                    before = self._state()
                    if before is None:
                        return "written meanwhile"
                    _copy_densely(self.database.path, part)
                settle_on_disk(part)
                with self._hold("exclusive"), duckdb.connect(str(self.database.path), read_only=True):
                    if self._state() != before:
                        return "written meanwhile"
                    part.replace(self.database.path)
            except duckdb.IOException as error:
                if "Conflicting lock" in str(error):
                    return "held by others"
                raise ZkPipelineError(f"space was not given back: {str(error).strip().splitlines()[0]}") from error
            settle_on_disk(self.database.path)
        return "made dense"

    @contextmanager
    def _hold(self, mode: Literal["shared", "exclusive"]) -> Iterator[None]:
        with StoreFileLock(self.database.path).hold(mode, _PURPOSE, wait_seconds=self.database.wait_seconds):
            yield

    def _state(self) -> tuple[int, int, int] | None:
        """What changes with every write; None while there is a log that is not folded in."""
        if wal_of(self.database.path).exists():
            return None
        seen = self.database.path.stat()
        return seen.st_ino, seen.st_size, seen.st_mtime_ns


def space_of(connection: Connection) -> Space:
    row = connection.execute(
        "SELECT block_size * total_blocks, block_size * free_blocks FROM pragma_database_size()"
    ).fetchone()
    assert row is not None
    return Space(int(row[0]), int(row[1]))


def _copy_densely(store: Path, part: Path) -> None:
    """With bounded memory; what does not fit spills beside the store, not into the working folder."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"SET temp_directory = {literal(str(part.with_name(part.name + '.tmp')))}")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute(f"ATTACH {literal(str(store))} AS store (READ_ONLY)")
        connection.execute(f"ATTACH {literal(str(part))} AS dense")
        connection.execute("COPY FROM DATABASE store TO dense")
        counts = [_counts(connection, name) for name in ("store", "dense")]
        if counts[0] != counts[1]:
            raise ZkPipelineError(f"space was not given back: a copy of {store} differs from it")
        connection.execute("DETACH dense")


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
