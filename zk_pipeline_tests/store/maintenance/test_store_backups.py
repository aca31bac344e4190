"""A backup is one consistent state of the store, also during writes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.errors import StoreBusy, StoreUnusable
from zk_pipeline.store.maintenance.verify import verify
from zk_pipeline.store.schema.file_copy import copy_file
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, StoppedClock, copied, device, ingest, on, rows, store_at

pytestmark = pytest.mark.file_engine

# Holds the file open for writing by its own means, as an analyst's shell does, until its input ends.
FOREIGN = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
# Commits, and is gone before DuckDB folds its log into the file.
KILLED = """
import duckdb, os, sys

c = duckdb.connect(sys.argv[1])
c.execute("INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at) "
          "VALUES ('Gate', 'x'::BLOB, 'committed', 1, now())")
os._exit(9)
"""


@contextmanager
def foreign_writer(path: Path) -> Iterator[None]:
    with subprocess.Popen(
        [sys.executable, "-c", FOREIGN, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == "open\n"
        yield


@pytest.fixture(scope="module")
def polled(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("polled"))
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), rejected=[b"\xff"])
    return store.database.where


@pytest.fixture
def store(polled: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Two punches of a terminal, and a record that is none."""
    return copied(polled, tmp_path, clock)


def test_a_backup_is_a_store_that_holds_the_same_comments_included(store: Store, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    made = store.backups.make(tmp_path / "kept" / "copy.duckdb")
    assert (made.rows["raw_punches"], made.rows["quarantined_records"]) == (2, 1)
    assert made.bytes == made.file.stat().st_size
    copy = store_at(made.file)
    for question in (
        "FROM raw_punches",
        "FROM device_polls",
        "SELECT table_name, column_name, comment FROM duckdb_columns()",
    ):
        assert sorted(map(str, rows(copy, question))) == sorted(map(str, rows(store, question)))
    assert ingest(copy, "Gate", *on(MONDAY, "18:00")).new == 1, "it can be gone on with"
    assert [path.name for path in made.file.parent.iterdir() if "part" in path.name or "wal" in path.name] == []


def test_backups_made_while_others_write_hold_whole_transactions_only(store: Store, tmp_path: Path) -> None:
    stop = threading.Event()

    def write_pairs() -> None:
        number = 0
        while not stop.is_set():
            with store.database.write("a pair") as connection:
                for _ in range(2):
                    connection.execute(
                        "INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at) "
                        "VALUES ('Gate', 'x'::BLOB, ?, 1, now())",
                        [f"pair {number}"],
                    )
            number += 1

    writer = threading.Thread(target=write_pairs)
    writer.start()
    try:
        files = [store.backups.make(tmp_path / f"copy-{number}.duckdb").file for number in range(3)]
    finally:
        stop.set()
        writer.join()
    counts = []
    for file in files:
        with duckdb.connect(str(file), read_only=True) as connection:
            pairs = connection.execute(
                "SELECT reason, count(*) FROM quarantined_records WHERE reason LIKE 'pair%' GROUP BY 1"
            ).fetchall()
        assert {count for _, count in pairs} <= {2}
        counts.append(len(pairs))
    assert counts == sorted(counts)
    assert counts[-1] > 0, "the writer continued"


def test_what_a_killed_process_committed_is_in_the_backup(store: Store, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(store.database.path)], check=False)
    assert store.database.path.with_name("store.duckdb.wal").stat().st_size > 0
    file = store.backups.make(tmp_path / "copy.duckdb").file
    assert not file.with_name("copy.duckdb.wal").exists()
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM quarantined_records WHERE reason = 'committed'").fetchall() == [
            (1,)
        ]


def test_readers_go_on_while_a_backup_holds_the_store(store: Store, tmp_path: Path) -> None:
    with store.database.read("an endless report"):
        done = []
        thread = threading.Thread(target=lambda: done.append(store.backups.make(tmp_path / "copy.duckdb")))
        thread.start()
        thread.join(60)
        assert done, "a backup shares the store with readers"


def test_a_foreign_writer_is_met_with_a_line_and_no_file_and_noticed_by_the_copy_itself_if_it_comes_between(
    store: Store, tmp_path: Path
) -> None:
    hasty = Store(store.database.__class__(store.database.path, wait_seconds=5, foreign_wait_seconds=0.1), store.clock)
    with foreign_writer(store.database.path):
        with pytest.raises(StoreBusy, match="not zk_pipeline; close it"):
            hasty.backups.make(tmp_path / "copy.duckdb")
        assert not (tmp_path / "copy.duckdb").exists()
        with pytest.raises(StoreBusy, match="open for writing"):
            copy_file(store.database.path, tmp_path / "copy.duckdb")


def test_a_folder_gets_names_of_their_time_and_keeps_the_newest(
    store: Store, clock: StoppedClock, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for other in ("store-old.duckdb", "another-20200101T000000Z.duckdb"):
        (folder / other).touch()
    names = []
    for _ in range(3):
        made = store.backups.make(folder, keep=2)
        names.append(made.file.name)
        clock.go(hours=1)
    assert names[0] == "store-20260601T120000Z.duckdb"
    assert [path.name for path in made.removed] == names[:1]
    left = {path.name for path in folder.iterdir()}
    assert left == {*names[1:], "store-old.duckdb", "another-20200101T000000Z.duckdb"}


@pytest.mark.parametrize("target", ["store.duckdb", "nowhere/copy.duckdb"])
def test_a_target_that_cannot_be_is_refused(target: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        store.backups.make(tmp_path / target)
    assert store.punches.total() == 2


def test_a_file_is_not_counted_by_keep(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a folder"):
        store.backups.make(tmp_path / "copy.duckdb", keep=3)


def test_a_backup_that_fails_leaves_the_earlier_file_as_it_was(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = store.backups.make(tmp_path / "copy.duckdb").file
    before = file.read_bytes()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ZkPipelineError, match="could not be copied"):
        store.backups.make(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".part")] == []


def test_a_copy_with_a_flipped_byte_is_not_taken_for_whole(store: Store, tmp_path: Path) -> None:
    file = store.backups.make(tmp_path / "copy.duckdb").file
    size = file.stat().st_size
    damaged = tmp_path / "damaged.duckdb"
    refused = 0
    for position in range(20_000, size, size // 12):
        content = bytearray(file.read_bytes())
        content[position] ^= 0xFF
        damaged.write_bytes(content)
        with suppress(StoreUnusable):
            verify(damaged)
            continue
        refused += 1
    assert refused > 0


def test_a_backup_is_private_even_if_the_store_is_not(store: Store, tmp_path: Path) -> None:
    store.database.path.chmod(0o644)
    file = store.backups.make(tmp_path / "copy.duckdb").file
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("folder", "file"), [(0o700, 0o600), (0o750, 0o640), (0o755, 0o644)])
def test_a_published_copy_is_for_those_who_may_read_its_folder(
    store: Store, tmp_path: Path, folder: int, file: int
) -> None:
    published = tmp_path / "published"
    published.mkdir()
    published.chmod(folder)
    store.backups.publish(published / "attendance.duckdb")
    assert (published / "attendance.duckdb").stat().st_mode & 0o777 == file
