"""The tables: as migrated, as described in the catalog, as required by the contract."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from zk_pipeline.config.ducklake_address import PREFIX
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.schema.catalog import TABLES, VIEWS
from zk_pipeline.store.schema.migrations_runner import migrate, migrations, newest_version
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import chosen
from zk_pipeline_tests.store.store_fixtures import execute, rows, store_at

CONTRACT = {
    "devices": "id name ip_address port protocol timezone site enabled last_sync created_at updated_at",
    "device_polls": "id device started_at finished_at status reported fetched stored new quarantined "
    "clock_drift_seconds run_id error",
    "raw_punches": "device user_id punched_at punched_at_local status punch_state verify_type first_poll_id",
    "device_users": "device user_id uid name privilege card",
    "daily_attendance": "site device user_id work_date clock_in clock_out clock_in_local clock_out_local punch_count "
    "worked_minutes is_incomplete is_outlier outlier_codes outlier_reason revision payload_hash",
    "crm_deliveries": "site user_id work_date revision idempotency_key state attempts last_attempt_at delivered_at "
    "last_status last_error",
    "processed_attendance": "date synced_to_crm sync_attempts last_sync_attempt id device device_name user_id clock_in "
    "clock_out is_outlier outlier_reason created_at updated_at",
}


def columns(store: Store) -> dict[str, dict[str, tuple[str, str | None]]]:
    """Of each table and view: column → type and comment."""
    found: dict[str, dict[str, tuple[str, str | None]]] = {}
    for table, column, kind, comment in rows(
        store,
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL",
    ):
        found.setdefault(table, {})[column] = (kind, comment)
    return found


def test_the_catalog_describes_exactly_the_tables_and_columns_there_are(store: Store) -> None:
    described: dict[str, dict[str, str | None]] = {
        name: dict(columns) for name, (_, columns) in {**TABLES, **VIEWS}.items()
    }
    found = {table: {name: comment for name, (_, comment) in held.items()} for table, held in columns(store).items()}
    if store.database.name.startswith(PREFIX):  # DuckLake takes no comments on columns of views
        described |= {view: dict.fromkeys(columns) for view, (_, columns) in VIEWS.items()}
    assert found == described
    kinds = dict(rows(store, "SELECT table_name, comment FROM duckdb_tables()"))
    kinds |= dict(rows(store, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"))
    assert kinds == {name: text for name, (text, _) in {**TABLES, **VIEWS}.items()}


def test_every_name_of_the_contract_is_there(store: Store) -> None:
    found = columns(store)
    assert {
        f"{table}.{name}" for table, names in CONTRACT.items() for name in names.split() if name not in found[table]
    } == set()


def test_instants_carry_a_zone_and_wall_clocks_end_in_local(store: Store) -> None:
    for table, held in columns(store).items():
        for name, (kind, comment) in held.items():
            assert (kind == "TIMESTAMP") == name.endswith("_local"), f"{table}.{name} is {kind}"
            has_comment = table not in VIEWS or chosen.engine == "file"  # DuckLake has none on columns of views
            if kind == "TIMESTAMP WITH TIME ZONE" and has_comment:
                assert "UTC" in str(comment) or table == "processed_attendance", f"{table}.{name} does not say its zone"


def test_migrations_are_numbered_once_and_on_record(store: Store) -> None:
    numbers = [number for number, _ in migrations()]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, newest_version())
    assert rows(store, "SELECT version, name FROM schema_migrations ORDER BY 1") == list(migrations())


@pytest.mark.file_engine
def test_a_database_without_tables_is_migrated(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    store = store_at(tmp_path / "empty.duckdb")
    assert store.punches.total() == 0
    assert set(columns(store)) == {*TABLES, *VIEWS}


def test_a_second_use_migrates_nothing(store: Store) -> None:
    before = rows(store, "FROM schema_migrations")
    execute(store, "SELECT 1")
    assert rows(store_at(store.database.where), "FROM schema_migrations") == before


@pytest.mark.file_engine
def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE VIEW crm_deliveries AS SELECT 1")  # in the way of a table
        with pytest.raises(ZkPipelineError, match="failed and changed nothing"):
            migrate(connection, tmp_path / "x.duckdb")
        assert connection.execute("SELECT count(*) FROM duckdb_tables()").fetchone() == (0,)


def test_a_store_of_a_newer_version_is_refused_with_what_to_do(store: Store) -> None:
    execute(store, "INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', now())")
    refusal = rf"store version 9999, written by a newer zk_pipeline; this one knows up to {newest_version()}: upgrade"
    for use in (store, store_at(store.database.where)):
        with pytest.raises(StoreUnusable, match=refusal):
            use.devices.all()
        with pytest.raises(StoreUnusable, match=refusal):
            execute(use, "SELECT 1")
