"""What the clean-up does for the space that the store takes: of a file its free blocks, of a lake its small files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.engine.ducklake_connection import CATALOG
from zk_pipeline.store.maintenance.compaction import FileCompaction

_STATES_KEPT = timedelta(days=1)  # past states of a lake, and files that only they use, for those who read it elsewhere


class SpaceReclaimer(Protocol):
    def plan(self) -> str:
        """What `tidy` would do, in words."""

    def run(self) -> str:
        """Do it; what was done, in words. Raises StoreBusy."""


def space_reclaimer(database: Database) -> SpaceReclaimer:
    return FileSpaceReclaimer(database) if isinstance(database.where, Path) else LakeSpaceReclaimer(database)


@dataclass(frozen=True)
class FileSpaceReclaimer:
    database: Database

    def plan(self) -> str:
        compacting = FileCompaction(self.database)
        return "would be made dense" if compacting.is_due(compacting.space()) else "dense enough"

    def run(self) -> str:
        with self.database.maintenance("checkpoint") as connection:
            connection.execute("CHECKPOINT")
        return FileCompaction(self.database).compact()


@dataclass(frozen=True)
class LakeFiles:
    """Parquet files of the newest state, those that list deleted rows among them, and states that can be read."""

    files: int
    snapshots: int


@dataclass(frozen=True)
class LakeSpaceReclaimer:
    """Rows kept in PostgreSQL are written out, small files made into large ones, and what nobody reads any more is
    deleted, also what killed writers left. Each step holds the store by itself, so that others get in between.
    """

    database: Database
    states_kept: timedelta = _STATES_KEPT

    def plan(self) -> str:
        held = self.files()
        return f"{held.files:,} files and {held.snapshots:,} states would be looked through"

    def run(self) -> str:
        before = self.files()
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
            with self.database.maintenance("tidy the lake") as connection:
                done = connection.execute(f"CALL ducklake_{step}").fetchall()
            if step.startswith("flush"):
                written = sum(int(row[2]) for row in done)
            elif "files" in step and "older_than" in step:
                removed += len(done)
        after = self.files()
        return (
            f"{written:,} rows written out of PostgreSQL; {before.files:,} files became {after.files:,}; "
            f"{removed:,} old files deleted; {before.snapshots:,} states became {after.snapshots:,}"
        )

    def files(self) -> LakeFiles:
        with self.database.read("look at files") as connection:
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
