"""Shared engine only: what waits for the lock is stored by its holder, exactly once, even after a kill."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal

import pytest

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.engine import advisory_locks
from zk_pipeline.store.engine.ducklake_connection import CATALOG
from zk_pipeline.store.engine.waiting_writes import WaitingWrites
from zk_pipeline.store.errors import ReadingRefused, StoreBusy
from zk_pipeline.store.push.uploads import StoredUpload
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals import poll_results
from zk_pipeline.store.terminals.poll_results import IngestResult
from zk_pipeline_tests.engines import lakes
from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.store.lake_merges import engine_of
from zk_pipeline_tests.store.push.push_fixtures import adopt, push
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, ingest, on, rows, store_at
from zk_pipeline_tests.store.store_load import end_all, start
from zk_pipeline_tests.waiting import until

GATES = ("North", "South", "West")
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
SNAPSHOTS = f"SELECT count(*) FROM ducklake_snapshots('{CATALOG}')"
POLLS = "SELECT device, status, new FROM device_polls ORDER BY ALL"
STORED = [(name, "success", 2) for name in GATES]
SUBMITTED = "SELECT count(*) FROM zk_pipeline_waiting_writes"


@pytest.fixture(scope="module")
def registered(empty_lake: LakeAddress, tmp_path_factory: pytest.TempPathFactory) -> LakeAddress:
    """A lake with the terminals of GATES."""
    lake = lakes().copy(empty_lake, tmp_path_factory.mktemp("registered"))
    store = store_at(lake)
    for number, name in enumerate(GATES, start=1):
        gate = device(name, ip=f"192.0.2.{number}")
        store.devices.add(replace(gate, serial_number=serial_number_of(name)))
    return lake


@pytest.fixture
def lake(registered: LakeAddress, tmp_path: Path) -> LakeAddress:
    return lakes().copy(registered, tmp_path)


@pytest.fixture
def store(lake: LakeAddress) -> Store:
    return store_at(lake)


def poll(store: Store, name: str) -> IngestResult:
    return ingest(store, name, *on(MONDAY, "08:00", "17:00"))


@contextmanager
def waiting(
    store: Store, postgres: Postgres, *names: str, after: str = "SELECT 1"
) -> Iterator[list[Future[IngestResult]]]:
    """Polls of these devices, in threads that wait for the lock in this order until the end of the context. `after`:
    what the holder of the lock does in the meantime.
    """
    with ThreadPoolExecutor() as pool:
        polls: list[Future[IngestResult]] = []
        with store.database.write("keep them waiting") as connection:
            for name in names:
                polls.append(pool.submit(poll, store, name))
                until(lambda: postgres.run(WAITING) == str(len(polls)))
            connection.execute(after)
            yield polls


def die_at(lake: LakeAddress, when: Literal["before", "after"]) -> None:
    """Poll, as the first one that waits, and be killed just before the commit or just after it."""

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if when == "before":
        vars(poll_results)["keep_positions"] = die
    else:
        WaitingWrites.wake = die  # type: ignore[method-assign]
    poll(store_at(lake), "North")


def test_readings_that_wait_are_stored_in_one_commit_by_the_first_of_them_each_with_its_own_result(
    store: Store, postgres: Postgres
) -> None:
    """Also those of a device that was read twice."""
    (before,) = rows(store, SNAPSHOTS)[0]
    with waiting(store, postgres, *GATES, "North") as polls:
        pass
    *first, again = polls
    assert sorted(one.result(30).poll_id for one in polls) == [1, 2, 3, 4]
    assert {(one.result().new, *one.result().touched.items()) for one in first} == {(2, (MONDAY, 2))}
    assert again.result().new == 0
    by_id = dict(rows(store, "SELECT id, device FROM device_polls"))
    assert [by_id[one.result().poll_id] for one in polls] == [*GATES, "North"]
    assert rows(store, POLLS) == sorted([*STORED, ("North", "success", 0)])
    assert rows(store, SNAPSHOTS) == [(before + 1,)]
    assert postgres.run(SUBMITTED, dict(engine_of(store.database).address.parameters)["dbname"]) == "0"


def test_uploads_of_receivers_that_wait_are_stored_in_one_commit_each_with_its_own_counts(
    store: Store, postgres: Postgres
) -> None:
    for name in GATES[:2]:
        adopt(store, name, serial_number_of(name))
    (before,) = rows(store, SNAPSHOTS)[0]
    with ThreadPoolExecutor() as pool:
        uploads: list[Future[StoredUpload]] = []
        with store.database.write("keep them waiting"):
            for number, name in enumerate(GATES[:2], start=1):
                punches = [("7", f"2026-03-02 08:00:{second:02}") for second in range(number)]
                uploads.append(pool.submit(push, store, *punches, name=name, serial=serial_number_of(name)))
                until(lambda: postgres.run(WAITING) == str(len(uploads)))
    assert [one.result(30).stored for one in uploads] == [1, 2]
    assert sorted(one.result().batch_id for one in uploads) == [1, 2]
    assert rows(store, "SELECT device, count(*) FROM raw_punches GROUP BY 1 ORDER BY 2") == [
        (name, number) for number, name in enumerate(GATES[:2], start=1)
    ]
    assert rows(store, SNAPSHOTS) == [(before + 1,)]


def test_a_reading_that_is_refused_affects_no_other(store: Store, postgres: Postgres) -> None:
    change = "UPDATE devices SET ip_address = '192.0.2.99' WHERE name = 'South'"
    with waiting(store, postgres, *GATES, after=change) as polls:
        pass
    with pytest.raises(ReadingRefused, match="South: it was changed in the registry"):
        polls[1].result(30)
    assert [polls[number].result(30).new for number in (0, 2)] == [2, 2]
    assert rows(store, POLLS) == [one for one in STORED if one[0] != "South"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_process_that_stores_for_others_loses_and_doubles_nothing(
    lake: LakeAddress, store: Store, postgres: Postgres, when: Literal["before", "after"]
) -> None:
    with ThreadPoolExecutor() as pool, store.database.write("keep them waiting"):
        killed = start(die_at, lake, when)
        until(lambda: postgres.run(WAITING) == "1", seconds=60)
        polls = [pool.submit(poll, store, name) for name in GATES[1:]]
        until(lambda: postgres.run(WAITING) == "3")
    assert ended(killed) == -signal.SIGKILL
    assert [one.result(30).new for one in polls] == [2, 2]
    committed = STORED if when == "after" else [one for one in STORED if one[0] != "North"]
    assert rows(store, POLLS) == committed
    assert poll(store, "North").new == (0 if when == "after" else 2)  # the next poll reads what is missing


def ended(process: ForkServerProcess) -> int | None:
    (code,) = end_all([process], seconds=60)
    return code


def test_a_reading_whose_process_waited_in_vain_is_left_to_its_next_poll(store: Store, postgres: Postgres) -> None:
    impatient = Store(replace(store.database, wait_seconds=0.1), store.clock)
    with waiting(store, postgres), pytest.raises(StoreBusy, match="keep them waiting"), ThreadPoolExecutor() as pool:
        pool.submit(poll, impatient, "North").result(30)
    with waiting(store, postgres, "South", "West") as polls:
        pass
    assert [one.result(30).new for one in polls] == [2, 2]
    assert rows(store, POLLS) == [one for one in STORED if one[0] != "North"]
    assert postgres.run(SUBMITTED, dict(engine_of(store.database).address.parameters)["dbname"]) == "0"


def test_a_large_reading_is_stored_by_its_own_process(
    store: Store, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advisory_locks, "MAX_BYTES_SHARED", 100)
    (before,) = rows(store, SNAPSHOTS)[0]
    with waiting(store, postgres, "North", "South") as polls:
        pass
    assert [one.result(30).new for one in polls] == [2, 2]
    assert rows(store, SNAPSHOTS) == [(before + 2,)]


def test_readings_in_another_encoding_are_left_to_their_processes(store: Store, postgres: Postgres) -> None:
    with waiting(store, postgres, "North", "South") as polls:
        database = dict(engine_of(store.database).address.parameters)["dbname"]
        postgres.run("UPDATE zk_pipeline_waiting_writes SET kind = 'of a newer version'", database)
    assert [one.result(30).new for one in polls] == [2, 2]


def test_a_poll_queries_the_catalog_fewer_than_250_times(store: Store, postgres: Postgres) -> None:
    """Each query is a round trip to PostgreSQL under the lock: docs/shared-store.md has the resulting times."""
    poll(store, "North")
    database = dict(engine_of(store.database).address.parameters)["dbname"]
    postgres.run(f"ALTER DATABASE {database} SET log_statement = 'all'")
    engine_of(store.database).forget()  # the setting is read by new connections
    ingest(store, "North", *on(MONDAY, "08:30"))  # connects, and caches the schema
    before = postgres.log.stat().st_size
    ingest(store, "North", *on(MONDAY, "09:00"))
    log = postgres.log.read_bytes()[before:].decode()
    assert 50 < log.count("LOG:  statement: ") < 250
