"""Shared engine only: lock on a connection, readers next to a writer, unreachable server, growing files."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.crm.models import DeliveryState, Outcome
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine import ducklake, ducklake_connection
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.engine.ducklake_connection import CATALOG, INLINED_ROWS, forget_instance, lake_connection
from zk_pipeline.store.engine.ducklake_layout import set_layout
from zk_pipeline.store.errors import NotOnThisEngine, StoreBusy, StoreUnreachable, StoreUnusable
from zk_pipeline.store.locks.sync_lock import SyncLockLost
from zk_pipeline.store.maintenance.space_reclaim import LakeSpaceReclaimer
from zk_pipeline.store.schema.migrations_runner import newest_version
from zk_pipeline.store.store import Store
from zk_pipeline_tests.engines import lakes
from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.store.lake_merges import FOUND, NEW, OVERLAPPING, Ways, engine_of, expected, merge_on
from zk_pipeline_tests.store.schema.former_names import undo_names
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, execute, ingest, on, process, rows, store_at
from zk_pipeline_tests.store.store_load import at_once, end_all, held_by_another, start

NEXT_MONDAY = MONDAY + timedelta(days=7)
HALF = "SELECT count(*) FROM store_settings WHERE name = 'half'"


@pytest.fixture
def store(lake: LakeAddress) -> Store:
    return store_at(lake)


def reading(lake: LakeAddress) -> AbstractContextManager[object]:
    return Database(lake).read("look")


@contextmanager
def half_way(lake: LakeAddress) -> Iterator[None]:
    with Database(lake).write("store a poll", "Gate's, it's slow") as connection:
        connection.execute("INSERT INTO store_settings VALUES ('half', 'way')")
        yield


def write_half(store: Store, action: Callable[[], None]) -> None:
    with store.database.write("fail") as connection:
        connection.execute("INSERT INTO store_settings VALUES ('half', 'way')")
        action()


def merged(lake: LakeAddress, way: Ways, *, processes: int, merges: int, step: int) -> tuple[int, int, int]:
    together = at_once(processes)
    working = [start(merge_on, lake, merges, step, way, together) for _ in range(processes)]
    assert end_all(working, seconds=300) == [0] * processes
    (found,) = rows(store_at(lake), FOUND)
    return found[0], found[1], found[2]


@pytest.mark.parametrize("step", [OVERLAPPING, NEW])
def test_merges_of_the_same_keys_from_several_processes_leave_each_key_once(lake: LakeAddress, step: int) -> None:
    assert merged(lake, "locked", processes=3, merges=3, step=step) == expected(3, 3, step)


@pytest.mark.parametrize("step", [OVERLAPPING, NEW])
def test_even_without_its_lock_no_key_is_doubled_and_no_merge_lost(lake: LakeAddress, step: int) -> None:
    assert merged(lake, "fenced", processes=2, merges=3, step=step) == expected(2, 3, step)


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_without_lock_and_fence_the_same_work_doubles_keys(lake: LakeAddress) -> None:
    """That the tests above can fail: what DuckLake does without the lock."""
    count, keys, _ = merged(lake, "bare", processes=4, merges=10, step=NEW)
    assert count > keys == expected(4, 10, NEW)[1]


def test_beside_a_writer_readers_see_nothing_half_done_and_who_waits_in_vain_is_told_of_it(
    lake: LakeAddress, store: Store
) -> None:
    with held_by_another(half_way, lake) as holder:
        words = rf"process {holder.pid} on \S+ \(store a poll: Gate's, it's slow, for \d+ s\) still holds it"
        with pytest.raises(StoreBusy, match=words), Database(lake, wait_seconds=0.1).write("x"):
            pass
        assert rows(store, HALF) == [(0,)]
        holder.go_on()
        assert holder.end() == 0
    assert rows(store, HALF) == [(1,)]


def test_a_writer_that_loses_its_lock_does_not_commit(lake: LakeAddress, store: Store, postgres: Postgres) -> None:
    def end_the_holder() -> None:
        held = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        assert postgres.run(held, dict(lake.parameters)["dbname"]) == "1"

    with pytest.raises(StoreBusy, match="lock of the store was lost"):
        write_half(store, end_the_holder)
    assert rows(store, HALF) == [(0,)]


def test_a_sender_that_loses_its_lock_tells_the_store_nothing_more_and_the_next_one_sends_it_again(
    lake: LakeAddress, store: Store, postgres: Postgres
) -> None:
    """Else two would send at once, and an older revision could arrive after a newer one."""
    store.devices.add(device("Gate"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    process(store, MONDAY)
    with store.deliveries.acquire_sync_lock() as has_sync_lock:
        outbox = store.deliveries.outbox(SyncScope(), "first run", has_sync_lock)
        (sent,) = outbox.settle_and_claim([], 10)
        held = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        assert postgres.run(held, dict(lake.parameters)["dbname"]) == "1"
        outcome = Outcome(
            delivery=sent, state=DeliveryState.DELIVERED, attempts=1, finished_at=store.clock(), status=201
        )
        with pytest.raises(
            SyncLockLost, match="the next sync sends the deliveries in progress again, under their keys"
        ):
            outbox.settle_and_claim([outcome], 10)
        with store.deliveries.acquire_sync_lock() as next_sender:
            assert store.deliveries.states() == {"sending": 1}
            (again,) = store.deliveries.outbox(SyncScope(), "second run", next_sender).settle_and_claim([], 10)
    assert again.idempotency_key == sent.idempotency_key


def test_a_writer_whose_lock_somebody_else_took_meanwhile_does_not_commit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost after it was asked for, just before the commit: the fence holds."""
    monkeypatch.setattr("zk_pipeline.store.engine.advisory_locks.HeldAdvisoryLock.is_still_held", lambda _: True)
    other = lake_connection(engine_of(store.database).address, create=False)[1]

    def write_without_lock() -> None:
        other.execute(f"INSERT INTO {CATALOG}.store_settings VALUES ('other', 'way')")

    with pytest.raises(StoreBusy, match="another process wrote to the store"):
        write_half(store, write_without_lock)
    assert rows(store, HALF) == [(0,)]
    execute(store, "INSERT INTO store_settings VALUES ('half', 'way')")


def test_a_late_failure_does_not_forget_the_instance_that_was_attached_since(lake: LakeAddress, store: Store) -> None:
    assert store.devices.all() == []
    failed, _ = lake_connection(lake, create=False)
    forget_instance(lake, failed)
    attached, running = lake_connection(lake, create=False)
    assert attached is not failed
    forget_instance(lake, failed)  # by another thread, whose connection to the first instance failed, too
    assert lake_connection(lake, create=False)[0] is attached
    forget_instance(lake, attached)
    assert running.execute(f"SELECT count(*) FROM {CATALOG}.devices").fetchall() == [(0,)]


@pytest.mark.usefixtures("_all_duckdb_threads")
def test_settling_deliveries_leaves_the_threads_of_the_shared_instance(lake: LakeAddress, store: Store) -> None:
    _, connection = lake_connection(lake, create=True)
    assert threads(connection) == 1  # the lake is small
    connection.execute("SET threads = 3")
    with store.deliveries.acquire_sync_lock() as is_sender:
        assert store.deliveries.outbox(SyncScope(), "run", is_sender).settle_and_claim([], 10) == []
    assert threads(connection) == 3


@pytest.mark.usefixtures("_all_duckdb_threads")
def test_a_lake_that_is_not_small_has_all_threads(lake: LakeAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ducklake_connection, "ONE_THREAD_BELOW", 0)
    assert threads(lake_connection(lake, create=False)[1]) == threads(duckdb.connect())


def threads(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("SELECT current_setting('threads')").fetchone()
    assert row is not None
    return int(row[0])


def test_after_the_server_was_restarted_the_same_process_goes_on(
    lake: LakeAddress, store: Store, postgres: Postgres
) -> None:
    assert store.devices.all() == []
    name = dict(lake.parameters)["dbname"]
    postgres.run(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'")
    assert store.devices.all() == []
    execute(store, "INSERT INTO store_settings VALUES ('half', 'way')")


def test_a_server_that_is_away_is_said_in_one_line_without_the_password(lake: LakeAddress) -> None:
    away = replace(lake, parameters=tuple({**dict(lake.parameters), "port": "1"}.items()))
    wrong = replace(lake, password="wrong-" + str(lake.password))
    for address in (away, wrong):
        for use in (Database(address).read, Database(address).write):
            with (
                pytest.raises(StoreUnreachable, match="PostgreSQL server of the store cannot be used") as refused,
                use("x"),
            ):
                pass
            assert str(lake.password) not in str(refused.value)
            assert "\n" not in str(refused.value)


def test_nothing_that_a_query_can_see_holds_the_password(lake: LakeAddress, store: Store) -> None:
    with store.database.read("look") as connection:
        for sql in (
            "FROM duckdb_databases()",
            "FROM duckdb_secrets()",
            "SELECT * FROM duckdb_settings()",
            "SHOW DATABASES",
            "FROM ducklake_options('store')",
        ):
            assert str(lake.password) not in str(connection.execute(sql).fetchall()), sql


def test_a_lake_whose_files_are_said_to_be_elsewhere_is_refused(lake: LakeAddress, tmp_path: Path) -> None:
    moved = replace(lake, data=str(tmp_path / "elsewhere"))
    with pytest.raises(StoreUnusable, match="cannot be used as a store") as refused:
        store_at(moved).devices.all()
    assert "\n" not in str(refused.value)


def test_a_database_with_a_lake_of_something_else_is_refused(postgres: Postgres, tmp_path: Path) -> None:  # noqa: ARG001
    address = lakes().fresh(tmp_path)
    engine_of(Database(address)).prepare()
    lake_connection(address, create=True)[1].execute(f"CREATE TABLE {CATALOG}.sales (amount INTEGER)")
    with pytest.raises(StoreUnusable, match="is a DuckLake of another program"):
        store_at(address).devices.all()


def test_a_lake_of_an_earlier_version_is_brought_to_the_newest_by_whoever_comes_first(
    lake: LakeAddress, tmp_path: Path
) -> None:
    with Database(lake).write("as before a migration") as connection:
        undo_names(connection)
    for use in (Database(lakes().copy(lake, tmp_path / "read")).read, Database(lake).write):
        with use("test") as connection:
            assert connection.execute("SELECT count(*) FROM blocked_dates").fetchall() == [(0,)]


def test_a_new_lake_has_all_migrations_in_one_transaction(store: Store) -> None:
    made_empty, migrated, sorted_tables = 1, 1, 1
    assert rows(store, f"SELECT count(*) FROM ducklake_snapshots('{CATALOG}')") == [
        (made_empty + migrated + sorted_tables,)
    ]


def test_the_version_of_the_store_is_read_once_for_each_of_its_states(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.devices.all()
    asked: list[object] = []

    def read_version(*arguments: object) -> int:
        asked.append(arguments)
        return newest_version()

    monkeypatch.setattr(ducklake, "read_version", read_version)
    store.devices.all()
    assert not asked
    execute(store, "INSERT INTO store_settings VALUES ('half', 'way')")
    assert not asked
    store.devices.all()
    store.devices.all()
    assert len(asked) == 1


def test_what_is_missing_to_use_a_lake_is_named(lake: LakeAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    engine_of(Database(lake)).forget()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StoreUnusable, match=r"install `zk-pipeline\[ducklake\]`"):
        store_at(lake).devices.all()


@pytest.mark.parametrize("place", ["PGPASSFILE", "passfile"])
def test_the_password_may_be_in_the_file_of_libpq(
    store: Store, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = store.database.where
    assert isinstance(lake, LakeAddress)
    known = tmp_path / "pgpass"
    known.write_text(f"*:*:*:*:{lake.password}\n")
    known.chmod(0o600)
    parameters = lake.parameters
    if place == "passfile":
        parameters = (*parameters, ("passfile", str(known)))
    else:
        monkeypatch.setenv("PGPASSFILE", str(known))
    without = store_at(replace(lake, parameters=parameters, password=None))
    try:
        without.devices.add(device())
        assert [one.name for one in store.devices.all()] == ["Gate"]
    finally:
        without.database.engine.forget()  # type: ignore[attr-defined]


def test_what_only_a_file_has_is_refused_in_words(store: Store) -> None:
    with pytest.raises(NotOnThisEngine, match="shared store and no file: `zk-pipeline backup FILE`"):
        assert store.database.path


def test_small_polls_make_no_files_and_the_clean_up_makes_few_sorted_ones(store: Store) -> None:
    """Sorted by user within a week, also in a store of an earlier version."""
    with store.database.maintenance("test") as connection:
        connection.execute("ALTER TABLE raw_punches RESET SORTED BY")
        assert set_layout(connection, CATALOG) == ["raw_punches"]
        assert set_layout(connection, CATALOG) == []
        connection.execute("ALTER TABLE raw_punches RESET SORTED BY")
    store.devices.add(device())
    for minute in range(4):
        ingest(store, "Gate", *((f"{n}", f"2026-03-02 08:{minute:02}") for n in range(20)))
    tidying = LakeSpaceReclaimer(store.database, states_kept=timedelta(0))
    assert tidying.files().files <= 1  # of the new work date: what MERGE inserts is not kept in PostgreSQL
    for hour in range(2):  # larger than what PostgreSQL keeps
        ingest(store, "Gate", *((f"{n}", f"{NEXT_MONDAY} {hour + 10}:00") for n in range(INLINED_ROWS + 1)))
    before = tidying.files()
    held = rows(store, "FROM raw_punches ORDER BY ALL")
    assert before.files >= 2
    tidying.run()
    tidying.run()  # what the first made superfluous
    with store.database.read("count") as connection:
        files = "SELECT file_count FROM ducklake_table_info('store') WHERE table_name = 'raw_punches'"
        assert connection.execute(files).fetchall() == [(1,)]
    assert tidying.files().snapshots < before.snapshots
    assert rows(store, "FROM raw_punches ORDER BY ALL") == held
    on_disk = list(Path(engine_of(store.database).address.data).rglob("*.parquet"))
    assert len(on_disk) == tidying.files().files
    # Without an order, DuckDB reads the rows of the only file as they are.
    read = rows(store, "SELECT date_trunc('week', punched_at_local), user_id FROM raw_punches")
    assert read == sorted(read)


def test_a_read_waits_for_nobody_while_maintenance_waits_for_a_long_reader(store: Store, lake: LakeAddress) -> None:
    patient = Database(lake, wait_seconds=1.5)
    with held_by_another(reading, lake) as reader:
        with pytest.raises(StoreBusy, match=rf"process {reader.pid} on"), patient.maintenance("tidy"):
            pass
        assert store.devices.all() == []


def test_a_query_of_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(duckdb.Error), store.database.read("sneaky") as connection:
        connection.execute(f"CREATE TABLE {CATALOG}.x (i INTEGER)")


def test_a_late_punch_leaves_the_rows_of_another_site_untouched_and_punches_have_their_directions(
    store: Store,
) -> None:
    store.devices.apply([replace(device("North"), direction="in"), device("South", ip="192.0.2.11")])
    ingest(store, "North", *on(MONDAY, "08:00", user_id="1001"))
    ingest(store, "South", *on(MONDAY, "08:00", "12:00:00", "12:00:30", user_id="1002"))
    process(store, MONDAY, run_id="first")
    ingest(store, "North", *on(MONDAY, "17:00", user_id="1001"))
    (stale,) = store.days.stale(first=MONDAY, last=MONDAY)
    assert stale.sites == ["North"]
    (done,) = process(store, MONDAY, run_id="second").written
    assert (done.rows, done.changed, done.unchanged) == (2, 1, 1)
    found = rows(store, "SELECT site, revision, run_id FROM daily_attendance ORDER BY site")
    assert found == [("North", 2, "second"), ("South", 1, "first")]
    assert rows(store, "SELECT latest_punch_seq - processed_seq, stale_sites FROM work_dates") == [(0, None)]
    directions = "SELECT work_date, punch_direction, direction_source FROM punch_directions ORDER BY device, punched_at"
    assert rows(store, directions) == [
        *[(MONDAY, "in", "device")] * 2, (MONDAY, "in", "alternation"), *[(MONDAY, "out", "alternation")] * 2,
    ]  # fmt: skip
