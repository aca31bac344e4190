"""Space reclaim: compacts a DuckDB file, merges small files of a DuckLake."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from zk_pipeline.counted import counted
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.engine.ducklake_connection import CATALOG
from zk_pipeline.store.engine.ducklake_layout import set_layout
from zk_pipeline.store.maintenance.compaction import FileCompaction

_STATES_KEPT = timedelta(days=1)  # old snapshots and their files stay this long for readers elsewhere


class SpaceReclaimer(Protocol):
    def plan(self) -> str:
        """Describe what `run` would do."""

    def run(self) -> str:
        """Reclaim space; returns a description. Raises StoreBusy."""


def space_reclaimer(database: Database) -> SpaceReclaimer:
    return FileSpaceReclaimer(database) if isinstance(database.where, Path) else LakeSpaceReclaimer(database)


@dataclass(frozen=True)
class FileSpaceReclaimer:
    database: Database

    def plan(self) -> str:
        compacting = FileCompaction(self.database)
        return "would be compacted" if compacting.is_due(compacting.space()) else "compact"

    def run(self) -> str:
        with self.database.maintenance("checkpoint") as connection:
            connection.execute("CHECKPOINT")
        return FileCompaction(self.database).compact()


@dataclass(frozen=True)
class LakeFiles:
    """Parquet files of the newest snapshot, delete files included, and readable snapshots."""

    files: int
    snapshots: int


@dataclass(frozen=True)
class LakeSpaceReclaimer:
    """Flush rows inlined in PostgreSQL, merge small files, delete files of expired snapshots and of killed writers.

    Each step takes the lock separately, so that other processes can run in between.
    """

    database: Database
    states_kept: timedelta = _STATES_KEPT

    def plan(self) -> str:
        held = self.files()
        return f"{counted(held.files, 'file')} and {counted(held.snapshots, 'snapshot')} would be checked"

    def run(self) -> str:
        before = self.files()
        with self.database.maintenance("maintain the DuckLake") as connection:
            set_layout(connection, CATALOG)
        written, removed = 0, 0
        old = f"older_than => now() - to_seconds({self.states_kept.total_seconds():.0f})"
        for step in (
            "flush_inlined_data('store')",
            f"expire_snapshots('store', {old})",
            "rewrite_data_files('store')",
            "merge_adjacent_files('store')",
            f"cleanup_old_files('store', {old})",
            f"delete_orphaned_files('store', {old})",
        ):
            with self.database.maintenance("maintain the DuckLake") as connection:
                done = connection.execute(f"CALL ducklake_{step}").fetchall()
            if step.startswith("flush"):
                written = sum(int(row[2]) for row in done)
            elif "files" in step and "older_than" in step:
                removed += len(done)
        after = self.files()
        return (
            f"{counted(written, 'row')} flushed from PostgreSQL; files {before.files:,} -> {after.files:,}; "
            f"{counted(removed, 'old file')} deleted; snapshots {before.snapshots:,} -> {after.snapshots:,}"
        )

    def files(self) -> LakeFiles:
        with self.database.read("count files") as connection:
            return files_of(connection)


def files_of(connection: Connection) -> LakeFiles:
    row = connection.execute(
        """
        SELECT (SELECT coalesce(sum(file_count + delete_file_count), 0) FROM ducklake_table_info($lake)),
               (SELECT count(*) FROM ducklake_snapshots($lake))
        """,
        {"lake": CATALOG},
    ).fetchone()
    assert row is not None
    return LakeFiles(int(row[0]), int(row[1]))
