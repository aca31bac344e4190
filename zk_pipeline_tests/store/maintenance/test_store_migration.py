"""Store migration between paths and engines: complete and verified, also after kills."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.maintenance import store_migration
from zk_pipeline.store.maintenance.checksums import MOVED, table_checksums
from zk_pipeline.store.maintenance.store_migration import MigrationResult, StoreMigration
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.due_days import dates_from, make_due
from zk_pipeline_tests.engines import copy_store, lakes
from zk_pipeline_tests.store.store_fixtures import device, execute, ingest, rows, store_at
from zk_pipeline_tests.store.store_load import start

pytestmark = [pytest.mark.file_engine, pytest.mark.timeout(300)]  # each names its engines itself
FILE_TO_LAKE, LAKE_TO_FILE = ("file", "lake"), ("lake", "file")
both_ways = pytest.mark.parametrize(("source", "target"), [FILE_TO_LAKE, LAKE_TO_FILE], indirect=True)


def _new(kind: str, folder: Path) -> Where:
    return folder / "store.duckdb" if kind == "file" else lakes().fresh(folder)


def _fill(store: Store) -> None:
    """Something in many tables, over two months."""
    make_due(store, people=3, dates=dates_from(6, date(2024, 1, 29)))
    ingest(store, "Gate", ("9", "2024-02-03 08:00"), rejected=[b"\x00\xff"], users=[("9", 1, "Ada — ü", 0, 7)])
    store.devices.add(device("Yard", site="Süd"))
    store.api_tokens.create("payroll", "read")
    night = "'night', TIME '22:00', TIME '06:00', 'mon', NULL, 0.1, NULL, NULL, NULL, now(), now()"
    execute(store, f"INSERT INTO shifts SELECT {night}")


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("filled") / "store.duckdb"
    _fill(store_at(at))
    return at


@pytest.fixture(scope="session")
def empty_lake(postgres: object, tmp_path_factory: pytest.TempPathFactory) -> Where:  # noqa: ARG001
    at = lakes().fresh(tmp_path_factory.mktemp("empty"))
    assert store_at(at).devices.all() == []
    return at


@pytest.fixture
def source(request: pytest.FixtureRequest, filled: Path, empty_lake: Where, tmp_path: Path) -> Where:
    (tmp_path / "from").mkdir()
    at = copy_store(filled, tmp_path / "from" / "store.duckdb")
    if getattr(request, "param", "file") == "file":
        return at
    shared = copy_store(empty_lake, tmp_path / "shared")
    move(at, shared)
    return shared


@pytest.fixture
def target(request: pytest.FixtureRequest, postgres: object, tmp_path: Path) -> Where:  # noqa: ARG001
    (tmp_path / "to").mkdir()
    return _new(getattr(request, "param", "file"), tmp_path / "to")


def move(source: Where, target: Where, tell: store_migration.Tell = lambda *_: None) -> MigrationResult:
    return StoreMigration(Database(source, wait_seconds=20), Database(target, wait_seconds=20), tell).move()


def contents(at: Where) -> dict[str, list[tuple[object, ...]]]:
    store = store_at(at)
    own = "WHERE name NOT LIKE 'moved %'"
    return {
        table: rows(store, f"FROM {table} {own if table == 'store_settings' else ''} ORDER BY ALL") for table in MOVED
    }


@both_ways
def test_all_of_a_store_is_moved_and_the_one_that_is_left_stays_as_it_was(source: Where, target: Where) -> None:
    before = source.read_bytes() if isinstance(source, Path) else contents(source)
    moved = move(source, target)
    held = contents(source)
    assert contents(target) == held
    assert before == (source.read_bytes() if isinstance(source, Path) else held)
    assert {one.table: one.rows for one in moved.tables} == {table: len(found) for table, found in held.items()}
    by_table = {one.table: one for one in moved.tables}
    assert (by_table["raw_punches"].partitions, by_table["daily_attendance"].partitions) == (2, 6)
    assert all(one.copied == one.partitions for one in moved.tables)
    store = store_at(target)  # and it works
    assert ingest(store, "Gate", ("9", "2024-02-03 08:00"), ("9", "2024-02-03 17:00")).new == 1
    assert len(store.devices.all()) == 2


@pytest.mark.parametrize(("source", "target"), [FILE_TO_LAKE], indirect=True)
def test_after_kills_in_the_middle_it_goes_on_where_it_was(source: Where, target: Where) -> None:
    for after in (2, 3):
        killed = start(_move_and_die, source, target, after)
        killed.join(60)
        assert killed.exitcode == -signal.SIGKILL
        with pytest.raises(StoreUnusable, match="not complete: run the `zk-pipeline migrate-store`"):
            store_at(target).devices.all()
    moved = move(source, target)
    assert contents(target) == contents(source)
    partitions = sum(one.partitions for one in moved.tables)
    assert 0 < moved.copied < partitions


def _move_and_die(source: Where, target: Where, after: int) -> None:
    """Killed when so many parts are copied: every other time inside a transaction."""
    store_migration._ROWS_AT_ONCE = 10
    calls = 0

    def tell(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            os.kill(os.getpid(), signal.SIGKILL)

    if after % 2:
        columns = store_migration.column_types  # type: ignore[attr-defined]

        def die_within(table: str) -> dict[str, str]:
            tell()
            return columns(table)

        store_migration.column_types = die_within  # type: ignore[attr-defined]
        StoreMigration(Database(source), Database(target)).move()
    StoreMigration(Database(source), Database(target), tell).move()


@pytest.mark.parametrize(("source", "target"), [FILE_TO_LAKE], indirect=True)
def test_done_once_it_only_looks_again_and_a_target_in_use_is_left_alone(source: Where, target: Where) -> None:
    move(source, target)
    assert move(source, target).copied == 0
    execute(store_at(target), "UPDATE devices SET enabled = false WHERE name = 'Yard'")
    held = contents(target)
    with pytest.raises(UsageError, match=r"holds other data \(devices\): name a target that is empty"):
        move(source, target)
    assert contents(target) == held


def test_a_target_with_other_data_is_refused_and_left_alone(source: Where, target: Where) -> None:
    store_at(target).devices.add(device("Other"))
    held = contents(target)
    with pytest.raises(UsageError, match=r"holds other data"):
        move(source, target)
    assert contents(target) == held


def test_a_target_that_is_being_filled_from_elsewhere_is_refused(source: Where, target: Where, tmp_path: Path) -> None:
    killed = start(_move_and_die, source, target, 2)
    killed.join(60)
    other = tmp_path / "other.duckdb"
    store_at(other).devices.add(device())
    with pytest.raises(UsageError, match=r"is being filled from \S+store\.duckdb: name that, or a new target"):
        move(other, target)


def test_what_cannot_be_moved_is_refused(source: Where, target: Where, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would be moved onto itself"):
        move(source, source)
    with pytest.raises(UsageError, match="there is no store at"):
        move(tmp_path / "none.duckdb", target)
    newest = "SELECT max(version) FROM schema_migrations"
    execute(store_at(source), f"DELETE FROM schema_migrations WHERE version = ({newest})")
    with pytest.raises(UsageError, match="is at store version"):
        move(source, target)
    assert isinstance(target, Path)
    assert not target.exists()


def test_a_source_that_is_written_meanwhile_is_noticed_and_the_next_run_ends_it(
    source: Where, target: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = StoreMigration._copy

    def and_write(moving: StoreMigration, *parts: Any) -> None:
        copy(moving, *parts)
        execute(store_at(source), "UPDATE work_dates SET processed_seq = processed_seq + 1")

    monkeypatch.setattr(StoreMigration, "_copy", and_write)
    with pytest.raises(ZkPipelineError, match=r"still differ .+ a process writes to"):
        move(source, target)
    monkeypatch.setattr(StoreMigration, "_copy", copy)
    assert move(source, target).copied >= 1
    assert contents(target) == contents(source)


def _changed(sql: str) -> Callable[[Store], None]:
    return lambda store: execute(store, sql)


@pytest.mark.parametrize(
    "change",
    [
        _changed("UPDATE raw_punches SET verify_type = 15 WHERE seq = 1"),
        _changed("INSERT INTO raw_punches FROM raw_punches WHERE seq = 1"),
        _changed("INSERT INTO raw_punches FROM raw_punches WHERE seq = 1 UNION ALL FROM raw_punches WHERE seq = 1"),
        _changed("DELETE FROM raw_punches WHERE seq = 1"),
        _changed("UPDATE raw_punches SET is_clock_suspect = NULL WHERE seq = 1"),
    ],
    ids=["a value", "a double", "a double twice", "a row less", "a null"],
)
def test_a_checksum_tells_what_a_count_does_not(source: Where, change: Callable[[Store], None]) -> None:
    store = store_at(source)
    with store.database.read("test") as connection:
        before = table_checksums(connection, "raw_punches")
    change(store)
    with store.database.read("test") as connection:
        after = table_checksums(connection, "raw_punches")
    assert {key for key in before if before[key] != after[key]} == {"2024-01"}
