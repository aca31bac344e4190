"""Attachment of the store's file: shared by readers, kept instances, forks, spill folders."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.attached_file import attached_file
from zk_pipeline.store.store import Store
from zk_pipeline_tests.waiting import child

pytestmark = pytest.mark.file_engine

FOREIGN_WRITE = """
    import sys, duckdb
    try:
        with duckdb.connect(sys.argv[1]) as connection:
            connection.execute("CREATE TABLE numbers_of_another (number INTEGER)")
        print("written", flush=True)
    except duckdb.IOException:
        print("locked", flush=True)
"""


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A file with a table, a view and a sequence as a default."""
    path = tmp_path / "numbers.duckdb"
    with attached_file(path, read_only=False) as connection:
        connection.execute("CREATE SEQUENCE next_number")
        connection.execute("CREATE TABLE numbers (number INTEGER DEFAULT nextval('next_number'), name VARCHAR)")
        connection.execute("CREATE VIEW names AS SELECT name FROM numbers")
        connection.execute("INSERT INTO numbers (name) VALUES ('one')")
    return path


def settings(path: Path) -> tuple[str, int]:
    with attached_file(path, read_only=False) as connection:
        row = connection.execute("SELECT current_setting('temp_directory'), current_setting('threads')").fetchone()
    assert row is not None
    return row[0], row[1]


def test_the_file_is_complete_without_its_log_after_each_use_and_for_other_programs(numbers: Path) -> None:
    assert not numbers.with_name("numbers.duckdb.wal").exists()
    with duckdb.connect(str(numbers)) as connection:
        connection.execute("INSERT INTO numbers (name) VALUES ('two')")
        assert connection.execute("FROM numbers").fetchall() == [(1, "one"), (2, "two")]
    with attached_file(numbers, read_only=True) as connection:
        assert connection.execute("FROM names").fetchall() == [("one",), ("two",)]


def test_the_end_of_one_reader_leaves_the_lock_of_the_other(numbers: Path) -> None:
    """The kernel drops all locks of a process on a file when it closes any descriptor of it."""
    with attached_file(numbers, read_only=True) as first:
        with attached_file(numbers, read_only=True) as second:
            assert second.execute("FROM names").fetchall() == [("one",)]
        assert written_by_another(numbers) == "locked"
        assert first.execute("FROM names").fetchall() == [("one",)]
    assert written_by_another(numbers) == "written"


def written_by_another(path: Path) -> str:
    with child(FOREIGN_WRITE, path) as other:
        return other.hear()


def test_temporary_tables_and_settings_of_a_connection_end_with_it(numbers: Path) -> None:
    with attached_file(numbers, read_only=False) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'; CREATE TEMP TABLE own AS SELECT 1 AS one; CREATE SCHEMA more")
        connection.execute("USE more")
    with attached_file(numbers, read_only=False) as connection:
        assert connection.execute("SELECT current_setting('TimeZone')").fetchone() != ("Asia/Tokyo",)
        assert connection.execute("SELECT current_schema()").fetchone() == ("main",)
        with pytest.raises(duckdb.CatalogException, match="own"):
            connection.execute("FROM own")


def test_large_queries_spill_beside_their_own_store(numbers: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "other.duckdb"
    other.parent.mkdir()
    for path in (numbers, other, numbers):
        assert settings(path)[0] == f"{path}.tmp"
    with attached_file(numbers, read_only=False) as connection:
        connection.execute("SET memory_limit = '50MB'; SET threads = 1")
        spilled = "SELECT count(*) FROM (SELECT i FROM range(6000000) AS r(i) ORDER BY hash(i) LIMIT 5000000)"
        assert connection.execute(spilled).fetchone() == (5_000_000,)
        connection.execute("RESET memory_limit; RESET threads")
    assert settings(other)[0] == f"{other}.tmp"  # DuckDB cannot move a folder that it has written to


def test_after_an_error_a_new_instance_is_used(numbers: Path) -> None:
    with (
        pytest.raises(duckdb.ConversionException),
        attached_file(numbers, read_only=False) as connection,
    ):
        connection.execute("SET threads = 3; BEGIN; INSERT INTO numbers (name) VALUES ('lost'); SELECT 'x'::INTEGER")
    with attached_file(numbers, read_only=False) as connection:
        assert connection.execute("FROM names").fetchall() == [("one",)]
    default = duckdb.connect().execute("SELECT current_setting('threads')").fetchone()
    assert default == (settings(numbers)[1],)


def test_settling_deliveries_leaves_the_number_of_threads(store: Store) -> None:
    with attached_file(store.database.path, read_only=False) as connection:
        connection.execute("SET threads = 3")
    with store.deliveries.acquire_sync_lock() as is_sender:
        assert store.deliveries.outbox(SyncScope(), "run", is_sender).settle_and_claim([], 10) == []
    assert settings(store.database.path)[1] == 3


def test_an_instance_is_kept_for_the_next_use_but_not_for_a_fork(numbers: Path) -> None:
    """A fork does not have the threads of its parent's instances."""
    with attached_file(numbers, read_only=True) as connection:
        connection.execute("SET default_null_order = 'nulls_first'")  # a mark: global to the instance
    assert null_order(numbers) == "NULLS_FIRST"
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=lambda: there.send(null_order(numbers)))
    process.start()
    assert here.poll(30)
    assert here.recv() == "NULLS_LAST"
    process.join(30)
    assert process.exitcode == 0
    with pytest.raises(duckdb.Error), attached_file(numbers, read_only=True) as connection:
        connection.execute("not SQL")  # the marked instance is not left to other tests


def null_order(path: Path) -> str:
    with attached_file(path, read_only=True) as connection:
        row = connection.execute("SELECT current_setting('default_null_order')").fetchone()
    assert row is not None
    return str(row[0])
