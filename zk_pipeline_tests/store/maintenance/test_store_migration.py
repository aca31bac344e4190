"""Store migration between paths and engines: complete and verified, also after kills."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, time
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.errors import UsageError, ZkPipelineError
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.engine.ducklake_connection import CATALOG
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

Contents: TypeAlias = dict[str, list[tuple[object, ...]]]  # rows by table


def _fill(store: Store) -> None:
    """Something in many tables, over two months."""
    make_due(store, people=3, dates=dates_from(6, date(2024, 1, 29)))
    ingest(store, "Gate", ("9", "2024-02-03 08:00"), rejected=[b"\x00\xff"], users=[("9", 1, "Ada — ü", 0, 7)])
    store.devices.add(device("Yard", site="Süd"))
    store.api_tokens.create("payroll", "read")
    night = Shift(name="night", start=time(22), end=time(6), weekdays=("mon",), early_clock_in_hours=0.1)
    store.shifts.add(night)
    store.payroll.open("2024-02", "cli:ada")
    store.payroll.close("2024-02", "cli:ada", force=True)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("filled") / "store.duckdb"
    _fill(store_at(at))
    return at


@pytest.fixture(scope="module")
def held(filled: Path) -> Contents:
    """All that `filled` holds."""
    return contents(filled)


@dataclass(frozen=True)
class Moved:
    """A file, what a lake has of it, and the result of the move."""

    source: Path
    lake: Where
    result: MigrationResult


@pytest.fixture(scope="module")
def moved(filled: Path, postgres: object, tmp_path_factory: pytest.TempPathFactory) -> Moved:  # noqa: ARG001
    """By the second attempt: the first was killed when the lake was just created, and left it incomplete.

    Only read: a test that changes one of them changes a copy.
    """
    folder = tmp_path_factory.mktemp("moved")
    source, lake = Path(shutil.copyfile(filled, folder / "store.duckdb")), lakes().fresh(folder / "lake")
    assert_incomplete_when_killed(lake, _create_and_die, source, lake)
    return Moved(source, lake, move(source, lake))


@pytest.fixture
def source(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(filled, tmp_path / "from.duckdb"))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "to.duckdb"


def move(source: Where, target: Where, tell: store_migration.Tell = lambda *_: None) -> MigrationResult:
    return StoreMigration(Database(source, wait_seconds=20), Database(target, wait_seconds=20), tell).move()


def contents(at: Where) -> Contents:
    own = "WHERE name NOT LIKE 'moved %'"
    with store_at(at).database.read("test") as connection:
        return {
            table: connection.execute(
                f"FROM {table} {own if table == 'store_settings' else ''} ORDER BY ALL"
            ).fetchall()
            for table in MOVED
        }


def snapshot(lake: Where) -> int:
    """The number of the lake's newest snapshot: a later one for each change."""
    ((newest,),) = rows(store_at(lake), f"SELECT max(snapshot_id) FROM ducklake_snapshots('{CATALOG}')")
    return int(newest)


def is_complete(result: MigrationResult, held: Contents) -> bool:
    """Whether all that is held was copied, with the expected number of parts."""
    by_table = {one.table: one for one in result.tables}
    assert {name: one.rows for name, one in by_table.items()} == {table: len(found) for table, found in held.items()}
    assert (by_table["raw_punches"].partitions, by_table["daily_attendance"].partitions) == (2, 6)
    return all(one.copied == one.partitions for one in result.tables)


def assert_goes_on(store: Store) -> None:
    assert ingest(store, "Gate", ("9", "2024-02-03 08:00"), ("9", "2024-02-03 17:00")).new == 1
    assert len(store.devices.all()) == 2


def test_all_of_a_file_is_moved_to_a_lake_and_the_file_stays_as_it_was(
    filled: Path, held: Contents, moved: Moved, tmp_path: Path
) -> None:
    assert contents(moved.lake) == held
    assert moved.source.read_bytes() == filled.read_bytes()
    assert is_complete(moved.result, held)
    assert_goes_on(store_at(copy_store(moved.lake, tmp_path / "copy")))


def test_all_of_a_lake_is_moved_to_a_file_and_the_lake_stays_as_it_was(
    held: Contents, moved: Moved, target: Path
) -> None:
    before = snapshot(moved.lake)
    assert is_complete(move(moved.lake, target), held)
    assert contents(target) == held
    assert snapshot(moved.lake) == before
    assert_goes_on(store_at(target))


def test_a_backup_of_a_lake_is_a_file_with_all_of_it_and_writers_do_not_wait(
    held: Contents, moved: Moved, tmp_path: Path
) -> None:
    store = store_at(moved.lake)
    with ThreadPoolExecutor(1) as other, store.database.write("test"):
        made = other.submit(store.backups.make, tmp_path / "kept", keep=2).result(60)
    assert made.held_ms == 0
    assert {table: made.rows[table] for table in MOVED} == {table: len(found) for table, found in held.items()}
    assert contents(made.file) == held
    assert made.file.name.startswith("shared-store-")
    assert made.file.stat().st_mode & 0o077 == 0
    assert_goes_on(store_at(made.file))


@pytest.mark.stress
def test_a_lake_goes_back_to_a_backup_as_documented_and_nothing_is_sent_twice(moved: Moved, tmp_path: Path) -> None:
    """docs/shared-store.md, "Backup and restore"."""
    lake = store_at(copy_store(moved.lake, tmp_path / "lake"))
    backup = lake.backups.make(tmp_path / "backup.duckdb").file
    execute(lake, "UPDATE crm_deliveries SET state = 'delivered', delivered_at = now() WHERE state = 'pending'")
    ingest(lake, "Gate", ("9", "2024-02-04 08:00"))
    delivered, punches = (rows(lake, f"FROM {table} ORDER BY ALL") for table in ("crm_deliveries", "raw_punches"))
    current = store_at(lake.backups.make(tmp_path / "current.duckdb").file)
    assert current.restore.run(backup).is_history_complete
    move(current.database.where, fresh := lakes().fresh(tmp_path / "new"))
    restored = store_at(fresh)
    assert rows(restored, "FROM crm_deliveries ORDER BY ALL") == delivered
    assert rows(restored, "FROM raw_punches ORDER BY ALL") == punches
    assert restored.punches.log_positions() == {}, "the next poll reads whole logs"


def test_after_kills_in_the_middle_it_goes_on_where_it_was(
    source: Path, held: Contents, empty_lake: Where, tmp_path: Path
) -> None:
    target = copy_store(empty_lake, tmp_path / "lake")
    for after in (2, 3):
        assert_incomplete_when_killed(target, _move_and_die, source, target, after)
    result = move(source, target)
    assert contents(target) == held
    assert 0 < result.copied < sum(one.partitions for one in result.tables)


def test_a_file_is_incomplete_from_its_creation_on(source: Path, target: Path, held: Contents) -> None:
    assert_incomplete_when_killed(target, _create_and_die, source, target)
    move(source, target)
    assert contents(target) == held


def assert_incomplete_when_killed(target: Where, action: Callable[..., None], *arguments: object) -> None:
    killed = start(action, *arguments)
    killed.join(60)
    assert killed.exitcode == -signal.SIGKILL
    with pytest.raises(StoreUnusable, match="not complete: run the `zk-pipeline migrate-store` that fills it"):
        store_at(target).devices.all()


def _create_and_die(source: Path, target: Where) -> None:
    """Killed when the target exists, before its first row."""

    def die(_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    StoreMigration._writing = die  # type: ignore[assignment,method-assign]
    StoreMigration(Database(source), Database(target)).move()


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


def test_done_once_it_only_looks_again_and_a_target_in_use_is_left_alone(moved: Moved, tmp_path: Path) -> None:
    target = copy_store(moved.lake, tmp_path / "copy")
    assert move(moved.source, target).copied == 0
    execute(store_at(target), "UPDATE devices SET enabled = false WHERE name = 'Yard'")
    before = snapshot(target)
    with pytest.raises(UsageError, match=r"holds other data \(devices\): name a target that is empty"):
        move(moved.source, target)
    assert snapshot(target) == before


def test_a_target_with_other_data_is_refused_and_left_alone(source: Path, target: Path) -> None:
    store_at(target).devices.add(device("Other"))
    held = contents(target)
    with pytest.raises(UsageError, match=r"holds other data"):
        move(source, target)
    assert contents(target) == held


def test_a_target_that_is_being_filled_from_elsewhere_is_refused(source: Path, target: Path, tmp_path: Path) -> None:
    killed = start(_move_and_die, source, target, 2)
    killed.join(60)
    other = tmp_path / "other.duckdb"
    store_at(other).devices.add(device())
    with pytest.raises(UsageError, match=r"is being filled from \S+from\.duckdb: name that, or a new target"):
        move(other, target)


def test_what_cannot_be_moved_is_refused(source: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would be moved onto itself"):
        move(source, source)
    with pytest.raises(UsageError, match="there is no store at"):
        move(tmp_path / "none.duckdb", target)
    newest = "SELECT max(version) FROM schema_migrations"
    execute(store_at(source), f"DELETE FROM schema_migrations WHERE version = ({newest})")
    with pytest.raises(UsageError, match="is at store version"):
        move(source, target)
    assert not target.exists()


def test_a_source_that_is_written_meanwhile_is_noticed_and_the_next_run_ends_it(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = StoreMigration._copy

    def and_write(moving: StoreMigration, *parts: Any) -> None:
        copy(moving, *parts)
        execute(store_at(source), "UPDATE work_dates SET processed_seq = processed_seq + 1")

    monkeypatch.setattr(StoreMigration, "_copy", and_write)
    monkeypatch.setattr(store_migration, "_ROUNDS", 2)
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
def test_a_checksum_tells_what_a_count_does_not(source: Path, change: Callable[[Store], None]) -> None:
    store = store_at(source)
    with store.database.read("test") as connection:
        before = table_checksums(connection, "raw_punches")
    change(store)
    with store.database.read("test") as connection:
        after = table_checksums(connection, "raw_punches")
    assert {key for key in before if before[key] != after[key]} == {"2024-01"}
