"""Split of a store by site: each row in one part, and each day delivered once by the parts together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.maintenance.checksums import MOVED, own_rows
from zk_pipeline.store.maintenance.site_split import PART, Part
from zk_pipeline.store.maintenance.store_migration import MigrationResult, StoreMigration
from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.sync_children import run_sync
from zk_pipeline_tests.engines import copy_store, lakes, place
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    store_at,
)

pytestmark = pytest.mark.timeout(120)

TOKEN = "secret"
NORTH, SOUTH = "O'Brien's", "Süd"  # a quote and another letter in the name of a site


@pytest.fixture(scope="module")
def filled(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    """Two sites: 1001 at two gates of one, 2001 at the other; 3001 enrolled at both, with punches at one."""
    store = copied(empty_store_file, tmp_path_factory.mktemp("filled"))
    for name, site in (("Gate", NORTH), ("Yard", NORTH), ("Dock", SOUTH)):
        store.devices.add(device(name, site=site))
    both = ("3001", 3, "Cleo", 0, 0)
    ingest(store, "Gate", *on(MONDAY, "08:00"), rejected=[b"\x00\xff"], users=[("1001", 1, "Ada", 0, 7), both])
    ingest(store, "Yard", *on(MONDAY, "17:00"), *on(TUESDAY, "08:00", user_id="3001"))
    ingest(store, "Dock", *on(MONDAY, "09:00", "18:00", user_id="2001"), users=[("2001", 2, "Bo", 0, 8), both])
    process(store, MONDAY, TUESDAY)
    execute(store, "INSERT INTO holidays VALUES ('2026-05-01', 'May', NULL, now()), ('2026-05-02', 'Own', ?, now())",
            [SOUTH])  # fmt: skip
    for name in ("Gate", "Dock"):
        serial = serial_number_of(name)
        execute(store, "INSERT INTO push_stamps VALUES (?, 'ATTLOG', '9', now())", [serial])
        execute(store, "INSERT INTO push_terminals BY NAME SELECT ? AS serial_number, ? AS device, "
                       "'192.0.2.9' AS address, now() AS first_seen_at, now() AS last_seen_at",
                [serial, name])  # fmt: skip
        execute(store, "INSERT INTO shift_assignments BY NAME "
                       "SELECT count(*) + 1 AS id, 'off' AS shift, ? AS device, now() AS created_at "
                       "FROM shift_assignments", [name])  # fmt: skip
    store.api_tokens.create("payroll", "read")
    return store.database.where


@pytest.fixture
def source(filled: Where, tmp_path: Path) -> Store:
    return copied(filled, tmp_path)


def split(source: Store, target: Where, *sites: str, per_site: bool = False) -> tuple[Store, MigrationResult]:
    part = Part(sites, is_record_per_site=per_site)
    result = StoreMigration(Database(source.database.where), Database(target), part=part).move()
    return store_at(target), result


def contents(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Rows by table."""
    with store.database.read("test") as connection:
        return {
            table: connection.execute(f"FROM {table} WHERE {own_rows(table)} ORDER BY ALL").fetchall()
            for table in MOVED
        }


@pytest.fixture
def empty(empty_store_file: Where, tmp_path: Path) -> Callable[[str], Where]:
    """An empty store by its name: faster than one that the migration creates."""
    return lambda name: copy_store(empty_store_file, tmp_path / f"{name}.duckdb")


@dataclass
class Parts:
    north: Store
    south: Store


@pytest.fixture(scope="module")
def parts(filled: Where, empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Parts:
    """Of `filled`; only read."""
    source, folder = store_at(filled), tmp_path_factory.mktemp("parts")
    north, south = (copy_store(empty_store_file, folder / f"{name}.duckdb") for name in ("north", "south"))
    return Parts(split(source, north, NORTH)[0], split(source, south, SOUTH)[0])


@pytest.mark.fast
def test_each_table_has_its_rows_of_a_site_decided() -> None:
    assert set(PART) == set(MOVED)


def test_each_row_of_a_site_is_in_one_part_and_the_source_stays(source: Store, parts: Parts) -> None:
    before, of_north, of_south = (contents(one) for one in (source, parts.north, parts.south))
    for table in MOVED:
        held, north, south = before[table], of_north[table], of_south[table]
        if PART[table] == "true":
            assert north == south == held, table
        elif table == "holidays":
            assert (len(held), len(north), len(south)) == (2, 1, 2)
        else:
            assert sorted(map(repr, [*north, *south])) == sorted(map(repr, held)), table
    assert rows(parts.north, "SELECT DISTINCT device FROM raw_punches ORDER BY 1") == [("Gate",), ("Yard",)]
    assert rows(parts.south, "SELECT DISTINCT site FROM crm_deliveries") == [(SOUTH,)]


def test_the_parts_send_nothing_again_and_one_of_them_sends_a_new_punch(
    source: Store, empty: Callable[[str], Where], tmp_path: Path
) -> None:
    with CrmReceiver(token=TOKEN) as crm:
        variables = {"CRM_API_URL": crm.url, "CRM_API_TOKEN": TOKEN, "ZK_PIPELINE_HOME": str(tmp_path)}
        assert run_sync(source, variables).summary.delivered == 3
        ingest(source, "Dock", *on(TUESDAY, "08:00", user_id="2001"))
        process(source, TUESDAY)  # due, and not sent before the split
        north, _ = split(source, empty("north"), NORTH)
        south, _ = split(source, empty("south"), SOUTH)

        def sync_both() -> list[int]:
            for store in (north, south):
                process(store, MONDAY, TUESDAY)
            return [run_sync(store, variables).summary.delivered for store in (north, south)]

        assert sync_both() == [0, 1]
        assert ingest(north, "Gate", *on(MONDAY, "08:00", "19:00")).new == 1
        assert ingest(south, "Dock", *on(MONDAY, "09:00", "18:00", user_id="2001")).new == 0
        assert sync_both() == [1, 0]
        assert sync_both() == [0, 0]
        assert (len(crm.ledger), crm.ledger.anomalies) == (4, [])
    assert rows(north, "SELECT max(revision) FROM crm_deliveries WHERE user_id = '1001'") == [(2,)]
    for store in (north, south):
        assert [one for one in Doctor(store.database).examine(store.clock()) if one.severity == "error"] == []


def test_users_with_punches_on_both_sides_are_listed_and_nothing_is_created(source: Store, tmp_path: Path) -> None:
    ingest(source, "Dock", *on(MONDAY, "12:00"), *on(MONDAY, "13:00", user_id="3001"))
    file = tmp_path / "north.duckdb"
    target = place(file)
    with pytest.raises(UsageError, match=r"^2 user ids .* at others: 1001, 3001; name all sites of these users"):
        split(source, target, NORTH)
    with pytest.raises(UsageError, match=r"2 user ids"):
        split(source, target, SOUTH, per_site=True)
    assert not file.exists()
    store, _ = split(source, target, NORTH, SOUTH)
    assert contents(store)["raw_punches"] == contents(source)["raw_punches"]


def test_different_employees_with_one_id_are_split_only_with_a_record_per_site(
    source: Store, empty: Callable[[str], Where]
) -> None:
    ingest(source, "Dock", *on(MONDAY, "12:00"), users=[("1001", 1, "Zacharias Quill", 0, 7)])
    with pytest.raises(UsageError, match=r"^1 user id .*: 1001;"):
        split(source, empty("south"), NORTH)
    _, result = split(source, empty("north"), NORTH, per_site=True)
    assert {one.table: one.rows for one in result.tables}["raw_punches"] == 3


def test_a_record_of_both_sides_is_not_split(source: Store, tmp_path: Path) -> None:
    ingest(source, "Dock", *on(MONDAY, "12:00"))
    process(source, MONDAY)  # one record of 1001, merged over both sites
    ingest(source, "Dock", users=[("1001", 1, "Zacharias Quill", 0, 7)])
    with pytest.raises(UsageError, match=r"^1 user id .*: 1001;"):
        split(source, tmp_path / "north.duckdb", NORTH, per_site=True)


def test_an_unknown_site_and_a_part_of_other_sites_are_refused(filled: Where, parts: Parts) -> None:
    source = store_at(filled)
    with pytest.raises(UsageError, match=r"no site 'Nowhere' in the store; its sites: O'Brien's, Süd"):
        split(source, parts.north.database.where, "Nowhere")
    assert split(source, parts.north.database.where, NORTH)[1].copied == 0
    for sites in ((SOUTH,), ()):
        with pytest.raises(UsageError, match="holds other data"):
            split(source, parts.north.database.where, *sites)


@pytest.mark.stress
@pytest.mark.file_engine
def test_a_part_of_a_file_is_a_lake(source: Store, postgres: object, tmp_path: Path) -> None:  # noqa: ARG001
    lake, result = split(source, lakes().fresh(tmp_path / "lake"), NORTH)
    again, _ = split(lake, tmp_path / "back.duckdb", NORTH)
    assert contents(again)["raw_punches"] == contents(lake)["raw_punches"]
    assert {one.table: one.rows for one in result.tables}["daily_attendance"] == 2
