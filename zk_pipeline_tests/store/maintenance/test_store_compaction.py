"""Compaction shrinks a file of mostly free blocks without losing a write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.maintenance import compaction
from zk_pipeline.store.maintenance.compaction import FileCompaction
from zk_pipeline.store.schema import file_copy
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.maintenance.test_store_backups import foreign_writer
from zk_pipeline_tests.store.store_fixtures import MONDAY, StoppedClock, copied, device, execute, ingest, on, rows
from zk_pipeline_tests.store.store_load import end_all, start

pytestmark = pytest.mark.file_engine

CONTENT = "FROM raw_punches ORDER BY seq"
FORMAT = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'store'"
COMMENTS = "SELECT table_name, column_name, comment FROM duckdb_columns() ORDER BY ALL"
LEAST = 1 << 20  # a test's store is small


@pytest.fixture(scope="module")
def sparse_store(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    """Most of its file is what a million deleted rows left."""
    store = copied(empty_store_file, tmp_path_factory.mktemp("template"))
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    execute(
        store,
        "INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at) "
        "SELECT 'Gate', uuid()::VARCHAR::BLOB, i, 1, now() FROM range(200000) t(i)",
    )
    execute(store, "DELETE FROM quarantined_records")
    with store.database.maintenance("checkpoint") as connection:
        connection.execute("CHECKPOINT")
    execute(store, "INSERT INTO store_settings VALUES ('note', 'written last')")
    return store.database.where


@pytest.fixture
def store(sparse_store: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(sparse_store, tmp_path, clock)


@pytest.fixture
def file_compaction(store: Store) -> FileCompaction:
    return FileCompaction(store.database, least_bytes=LEAST)


def test_compaction_frees_a_third_of_free_blocks_and_changes_no_row(
    store: Store, file_compaction: FileCompaction
) -> None:
    content, comments, before = rows(store, CONTENT), rows(store, COMMENTS), file_compaction.space()
    assert before.free > before.total / 3
    assert file_compaction.compact() == "compacted"
    assert rows(store, FORMAT) == [("v1.2.0+",)]
    assert store.database.path.stat().st_size < before.total / 2
    assert (rows(store, CONTENT), rows(store, COMMENTS)) == (content, comments)
    assert ingest(store, "Gate", *on(MONDAY, "18:00")).new == 1
    assert file_compaction.compact() == "compact"
    assert [path.name for path in store.database.path.parent.iterdir() if ".part" in path.name] == []


def test_a_new_file_has_the_newer_format_and_one_of_the_former_gets_it_by_compaction(tmp_path: Path) -> None:
    new, old = Store.at(tmp_path / "new.duckdb"), Store.at(tmp_path / "old.duckdb")
    assert rows(new, FORMAT) == [("v1.2.0+",)]
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{new.database.path}' AS new; ATTACH '{old.database.path}' AS old")
        connection.execute("COPY FROM DATABASE new TO old")
    old.devices.add(device())
    assert rows(old, FORMAT) == [("v1.0.0+",)]
    compaction._copy_compacted(old.database.path, tmp_path / "compacted.duckdb")
    assert rows(Store.at(tmp_path / "compacted.duckdb"), FORMAT) == [("v1.2.0+",)]


def test_a_small_file_is_left_as_it_is(store: Store) -> None:
    before = store.database.path.stat()
    assert FileCompaction(store.database).compact() == "compact"
    assert store.database.path.stat().st_ino == before.st_ino


def test_what_is_written_while_the_copy_is_made_is_kept(
    store: Store, file_compaction: FileCompaction, monkeypatch: pytest.MonkeyPatch
) -> None:

    def write_meanwhile(part: Path) -> None:
        file_copy.fsync_file(part)
        ingest(store, "Gate", *on(MONDAY, "18:00"))

    monkeypatch.setattr("zk_pipeline.store.maintenance.compaction.fsync_file", write_meanwhile)
    assert file_compaction.compact() == "changed during the copy"
    assert store.punches.total() == 3


def test_a_foreign_writer_loses_nothing(
    store: Store, file_compaction: FileCompaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileCompaction, "space", lambda _: compaction.Space(2 << 20, 2 << 20))
    with foreign_writer(store.database.path):
        assert file_compaction.compact() == "in use"
    assert store.punches.total() == 2


def compact_and_die_at_the_rename(path: Path) -> None:
    Path.replace = lambda *_: os._exit(9)  # type: ignore[method-assign]
    FileCompaction(Database(path), least_bytes=1).compact()


def test_a_kill_just_before_the_rename_costs_nothing(store: Store, file_compaction: FileCompaction) -> None:
    content = rows(store, CONTENT)
    assert end_all([start(compact_and_die_at_the_rename, store.database.path)], seconds=60) == [9]
    assert rows(store, CONTENT) == content
    assert file_compaction.compact() == "compacted"
    assert rows(store, CONTENT) == content


def test_without_room_for_a_copy_the_store_is_left_as_it_is(
    store: Store, file_compaction: FileCompaction, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(store.database.path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert file_compaction.compact() == "no space for the copy"
    assert store.punches.total() == 2
