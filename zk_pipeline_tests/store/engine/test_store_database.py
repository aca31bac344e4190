"""Opening the database: transactions, refusals, other processes, kills."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import duckdb
import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import execute, rows, store_at
from zk_pipeline_tests.store.store_load import at_once, end_all, held_by_another, start
from zk_pipeline_tests.waiting import child, until

SETTINGS = "SELECT name, value FROM store_settings WHERE name <> 'last_seq' ORDER BY ALL"
FOREIGN = """
    import sys, duckdb
    connection = duckdb.connect(sys.argv[1])
    print("open", flush=True)
    input()
    connection.close()
"""


def read(path: Path) -> None:
    with Database(path, wait_seconds=5).read("test"):
        pass


def write(path: Path) -> None:
    with Database(path, wait_seconds=5).write("test"):
        pass


def meet_foreign(path: Path) -> None:
    with Database(path).write("store a poll"):
        pass


either_way = pytest.mark.parametrize("use", [read, write])


@pytest.mark.file_engine
def test_the_first_use_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    store = store_at(tmp_path / "new" / "folder" / "store.duckdb")
    assert store.devices.all() == []
    assert {item.name for item in store.database.path.parent.iterdir()} == {
        "store.duckdb",
        "store.duckdb.holders",
        "store.duckdb.lock-statistics",
        "store.duckdb.lock",
        "store.duckdb.turnstile",
    }


@pytest.mark.both_engines
def test_a_write_is_kept_whole_or_not_at_all(store: Store) -> None:
    execute(store, "INSERT INTO store_settings VALUES ('kept', '1')")

    def write_and(fail: Callable[[duckdb.DuckDBPyConnection], object]) -> None:
        with store.database.write("failing") as connection:
            connection.execute("INSERT INTO store_settings VALUES ('lost', '1')")
            fail(connection)

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_and(interrupt)
    with pytest.raises(duckdb.ConversionException):
        write_and(lambda connection: connection.execute("SELECT 'x'::INTEGER"))
    assert rows(store, SETTINGS) == [("kept", "1")]


@pytest.mark.both_engines("matrix")
def test_a_reader_cannot_write(store: Store) -> None:
    with (
        pytest.raises((duckdb.InvalidInputException, duckdb.TransactionException)),
        store.database.read("sneaky") as connection,
    ):
        connection.execute("INSERT INTO store_settings VALUES ('x', 'y')")


@pytest.mark.both_engines("matrix")
def test_instants_are_told_in_utc_whatever_the_machines_zone(store: Store) -> None:
    assert rows(store, "SELECT TIMESTAMPTZ '2026-03-02 08:00:00+03:00'::VARCHAR") == [("2026-03-02 05:00:00+00",)]


@pytest.mark.file_engine
@either_way
@pytest.mark.parametrize("below", ["folder", "file/store.duckdb", "file/deeper/store.duckdb"])
def test_a_path_that_cannot_be_a_file_is_refused_by_the_name_of_the_variable(
    use: Callable[[Path], None], below: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"^ZK_PIPELINE_DATABASE: .+$"):
        use(tmp_path / below)


@pytest.mark.file_engine
@either_way
@pytest.mark.parametrize("path", ["/proc/store.duckdb", "/proc/none/store.duckdb"])
def test_a_path_that_cannot_be_written_is_refused(use: Callable[[Path], None], path: str) -> None:
    with pytest.raises(UsageError, match=re.escape(str(Path(path).parent))) as refused:
        use(Path(path))
    assert "\n" not in str(refused.value)


@pytest.mark.file_engine
@either_way
@pytest.mark.parametrize("content", ["hello", "id,name\n" * 5000])
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    use: Callable[[Path], None], content: str, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    path.write_text(content)
    with pytest.raises(StoreUnusable, match=r"people\.csv"):
        use(path)
    assert path.read_text() == content


@pytest.mark.file_engine
@either_way
def test_a_database_of_something_else_is_refused_and_left_as_it_is(use: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "other.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE sales (amount INTEGER)")
    with pytest.raises(StoreUnusable, match=r"other\.duckdb is a DuckDB file of another program"):
        use(path)
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [("sales",)]


@pytest.mark.file_engine
@either_way
def test_an_empty_file_becomes_a_store(use: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "store.duckdb"
    path.touch()
    use(path)
    assert store_at(path).devices.all() == []


@pytest.mark.file_engine
@either_way
def test_a_store_whose_making_was_killed_is_made_again(
    use: Callable[[Path], None], empty_store_file: Path, tmp_path: Path
) -> None:
    half = (tmp_path / "store.duckdb.new", tmp_path / "store.duckdb.new.wal")
    half[0].write_bytes(empty_store_file.read_bytes()[:5000])
    half[1].write_bytes(b"half")
    use(tmp_path / "store.duckdb")
    assert store_at(tmp_path / "store.duckdb").devices.all() == []
    assert not any(leftover.exists() for leftover in half)


@pytest.mark.file_engine
@either_way
def test_a_foreign_process_that_holds_the_file_is_named_after_a_bounded_wait(
    use: Callable[[Path], None], store: Store
) -> None:
    path = store.database.path
    impatient = Database(path, foreign_wait_seconds=0.2)
    with child(FOREIGN, path) as shell:
        assert shell.hear() == "open"
        began = time.monotonic()
        words = rf"open in \S*python\S* \(process {shell.pid}\), which is not zk_pipeline"
        with pytest.raises(StoreBusy, match=words), impatient.read("x") if use is read else impatient.write("x"):
            pass
        assert 0.2 <= time.monotonic() - began < 5


@pytest.mark.file_engine
def test_a_foreign_reader_keeps_writers_out_and_is_named_to_them_and_to_those_who_wait_behind(store: Store) -> None:
    path = store.database.path
    impatient = Database(path, wait_seconds=0.1, foreign_wait_seconds=0)
    with child(FOREIGN.replace("sys.argv[1]", "sys.argv[1], read_only=True"), path) as shell:
        assert shell.hear() == "open"
        read(path)
        with pytest.raises(StoreBusy, match=rf"\(process {shell.pid}\), which is not"), impatient.write("x"):
            pass
        writer = start(meet_foreign, path)
        signatures = path.with_name("store.duckdb.holders")
        until(lambda: any("waiting for" in one.read_text() for one in signatures.iterdir()))
        words = rf"process {writer.pid} \(waiting for \S+ \(process {shell.pid}\) to close the store"
        with pytest.raises(StoreBusy, match=words), impatient.read("x"):
            pass
        shell.go_on()
        assert end_all([writer], seconds=60) == [0]


@pytest.mark.file_engine
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("is held in python3.11 (PID 12) by user anna.", r"python3.11 \(process 12\)"),
        ("is held in PID 12.", "process 12"),
        ("is held in PID 0. See also", "outside this container or on another machine"),
    ],
)
def test_whatever_duckdb_knows_of_a_foreign_process_it_is_told_who_it_is(
    said: str, words: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise duckdb.IOException(f'IO Error: Could not set lock on file "x": Conflicting lock {said}')

    monkeypatch.setattr("zk_pipeline.store.engine.database.duckdb.connect", refuse)
    impatient = Database(store.database.path, foreign_wait_seconds=0)
    with (
        pytest.raises(StoreBusy, match=rf"open in (a process )?{words}, which is not zk_pipeline"),
        impatient.write(""),
    ):
        pass


@pytest.mark.file_engine
@either_way
def test_a_foreign_process_that_closes_the_file_in_time_is_waited_for(
    use: Callable[[Path], None], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with child(FOREIGN, store.database.path) as shell:
        assert shell.hear() == "open"
        pauses = iter([shell.go_on])

        def pause(seconds: float) -> None:
            next(pauses, lambda: wait(seconds))()  # the first refusal lets the shell go on, so it was met for sure

        wait = time.sleep
        monkeypatch.setattr("zk_pipeline.store.engine.database.time.sleep", pause)
        use(store.database.path)
        assert shell.end() == 0


@contextmanager
def half_way(at: Where) -> Iterator[None]:
    database = Database(at)
    for batch in range(3):
        with database.write("batch") as connection:
            connection.execute("INSERT INTO store_settings SELECT ?, i FROM range(100) AS r(i)", [f"batch {batch}"])
            if batch == 2:
                yield


@pytest.mark.both_engines("matrix")
def test_a_killed_writer_leaves_whole_transactions_and_a_free_lock(store: Store) -> None:
    with held_by_another(half_way, store.database.where) as writer:
        writer.kill()
        counts = rows(store, "SELECT name, count(*) FROM store_settings WHERE name <> 'last_seq' GROUP BY 1 ORDER BY 1")
    assert counts == [("batch 0", 100), ("batch 1", 100)]
    execute(store, "INSERT INTO store_settings VALUES ('after', '1')")


def count(at: Where, writer: int, together: Barrier) -> None:
    database = Database(at)
    together.wait(60)
    for number in range(10):
        with database.write("count") as connection:
            newest = "SELECT max(value::INTEGER) FROM store_settings WHERE name <> 'last_seq'"
            ((before,),) = connection.execute(newest).fetchall()
            connection.execute("INSERT INTO store_settings VALUES (?, ?)", [f"{writer}-{number}", before + 1])


def test_several_processes_write_at_once_and_nothing_fails_or_is_lost(store: Store) -> None:
    execute(store, "INSERT INTO store_settings VALUES ('start', '0')")
    together = at_once(3)
    writers = [start(count, store.database.where, number, together) for number in range(3)]
    assert end_all(writers, seconds=60) == [0, 0, 0]
    assert rows(
        store,
        "SELECT count(DISTINCT name), count(DISTINCT value), max(value::INTEGER) FROM store_settings "
        "WHERE name <> 'last_seq'",
    ) == [(31, 31, 30)]


@pytest.mark.file_engine
def test_a_store_can_be_copied_while_nobody_has_it_open(store: Store, tmp_path: Path) -> None:
    execute(store, "INSERT INTO store_settings VALUES ('kept', '1')")
    assert not store.database.path.with_name("store.duckdb.wal").exists()
    shutil.copyfile(store.database.path, tmp_path / "copy.duckdb")
    assert rows(store_at(tmp_path / "copy.duckdb"), SETTINGS) == [("kept", "1")]
