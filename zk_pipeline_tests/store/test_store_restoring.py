"""A backup takes the store's place as a whole, and the CRM is not told old revisions anew."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_bench import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)

pytestmark = pytest.mark.file_engine

TOLD = "SELECT work_date, revision, state, idempotency_key FROM crm_deliveries ORDER BY 1, 2"
DAYS = "SELECT work_date, revision, clock_out_local IS NULL FROM daily_attendance ORDER BY 1"
# Put a backup in place and die at the moment of the rename.
KILLED = """
import os, sys
from pathlib import Path
from zk_pipeline.store.store import Store

Path.replace = lambda *_: os._exit(9)
Store.at(Path(sys.argv[1])).restoring.restore(Path(sys.argv[2]))
"""
FLOOR = 101  # the first revision of a day of which nobody knows what the CRM has seen


@pytest.fixture
def store(store: Store) -> Store:
    """Monday's clock-in is delivered."""
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    process(store, MONDAY)
    delivered(store)
    return store


@pytest.fixture
def backup(store: Store, tmp_path: Path) -> Path:
    """Made at Monday noon; afterwards the CRM hears of Monday's clock-out, as revision 2, and of Tuesday."""
    file = store.backups.make(tmp_path / "backup.duckdb").file
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    delivered(store)
    return file


def delivered(store: Store) -> None:
    execute(store, "UPDATE crm_deliveries SET state = 'delivered', delivered_at = now() WHERE state = 'pending'")


def read_again(store: Store) -> list[date]:
    """What `poll` and `process` do next."""
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    touched = stale(store)
    process(store, *touched)
    return touched


def test_the_backup_takes_the_place_and_the_replaced_store_stays_beside_it(store: Store, backup: Path) -> None:
    before = rows(store, "FROM raw_punches ORDER BY seq")
    done = store.restoring.restore(backup)
    assert (done.rows["raw_punches"], store.punches.total()) == (1, 1)
    assert done.replaced is not None
    with duckdb.connect(str(done.replaced)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert connection.execute("FROM raw_punches ORDER BY seq").fetchall() == before
    assert backup.exists()
    assert store.punches.tails() == {}, "the next poll reads whole logs"


def test_what_the_crm_was_told_since_is_known_after_a_restore(store: Store, backup: Path) -> None:
    told, days = rows(store, TOLD), rows(store, DAYS)
    done = store.restoring.restore(backup)
    assert (done.is_history_complete, done.days_carried, done.first, done.last) == (True, 2, MONDAY, TUESDAY)
    assert (rows(store, TOLD), rows(store, DAYS)) == (told, days)
    assert read_again(store) == [MONDAY, TUESDAY]
    assert rows(store, TOLD) == told, "equal days are not sent again"
    ingest(store, "Gate", *on(MONDAY, "18:00"))
    process(store, MONDAY)
    assert rows(store, TOLD)[2][:3] == (MONDAY, 3, "pending"), "a correction is above all that the CRM has seen"


def test_wrong_days_that_the_crm_was_told_are_put_right_when_made_again(store: Store, backup: Path) -> None:
    ingest(store, "Gate", *on(TUESDAY, "23:00"))
    process(store, TUESDAY)
    delivered(store)
    store.restoring.restore(backup)
    read_again(store)
    assert rows(store, f"{TOLD} DESC")[-1][:3] == (TUESDAY, 1, "delivered")
    assert (TUESDAY, 3, "pending") in [row[:3] for row in rows(store, TOLD)]


def test_numbers_given_since_the_backup_are_not_given_again(store: Store, backup: Path) -> None:
    used = rows(store, "SELECT max(seq) FROM raw_punches")[0][0]
    store.restoring.restore(backup)
    read_again(store)
    assert rows(store, "SELECT min(punched_seq) FROM work_dates")[0][0] > used


@pytest.mark.parametrize("lost", ["garbage", "missing"])
def test_a_store_that_cannot_be_read_any_more_is_replaced_and_revisions_go_on_above_all_used(
    lost: str, store: Store, backup: Path, clock: StoppedClock
) -> None:
    if lost == "garbage":
        store.database.path.write_bytes(b"\0" * 4096)
    else:
        store.database.path.unlink()
    done = store.restoring.restore(backup)
    assert (done.is_history_complete, done.days_carried) == (False, 0)
    assert (done.replaced is not None) == (lost == "garbage")
    read_again(store)
    assert rows(store, DAYS) == [(MONDAY, FLOOR + 1, False), (TUESDAY, FLOOR + 1, True)]
    clock.go(days=40)
    later = clock.now.date()
    ingest(store, "Gate", *on(later, "08:00"))
    process(store, later)
    assert rows(store, "SELECT revision FROM daily_attendance WHERE work_date = ?", [later]) == [(1,)]


def test_restoring_the_same_backup_twice_is_as_good_as_once(store: Store, backup: Path, clock: StoppedClock) -> None:
    store.restoring.restore(backup)
    told = rows(store, TOLD)
    clock.go(seconds=1)
    store.restoring.restore(backup)
    assert rows(store, TOLD) == told


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000])
def test_a_file_that_is_no_store_is_refused_and_the_store_left_alone(
    content: bytes, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "wrong.duckdb").write_bytes(content)
    with pytest.raises(StoreUnusable):
        store.restoring.restore(tmp_path / "wrong.duckdb")
    assert store.punches.total() == 1
    assert not [path for path in tmp_path.iterdir() if "replaced" in path.name or path.name.endswith(".part")]


def test_the_store_itself_and_a_missing_file_are_refused(store: Store, tmp_path: Path) -> None:
    for file in (store.database.path, tmp_path / "none.duckdb"):
        with pytest.raises(UsageError):
            store.restoring.restore(file)


def test_a_kill_before_the_rename_leaves_the_store_that_was(store: Store, backup: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(store.database.path), str(backup)], check=False)
    assert killed.returncode == 9
    assert rows(store, DAYS) == [(MONDAY, 2, False), (TUESDAY, 1, True)]
    assert store.restoring.restore(backup).days_carried == 2
