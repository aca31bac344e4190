"""Restores: the backup takes the store's place as a whole, facts since then are kept, decisions of people go back."""

from __future__ import annotations

import itertools
import os
import shutil
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.maintenance.carry_over import BACK, CARRIED, PER_PERSON, WHOLE
from zk_pipeline.store.maintenance.restore import DueDeliveries, due_deliveries
from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)
from zk_pipeline_tests.store.store_load import end_all, start

pytestmark = pytest.mark.file_engine

DELIVERIES = "SELECT work_date, revision, state, idempotency_key FROM crm_deliveries ORDER BY 1, 2"
DAYS = "SELECT work_date, revision, clock_out_local IS NULL FROM daily_attendance ORDER BY 1"
SPAN: dict[str, Any] = {"from_local": datetime(2026, 3, 2), "to_local": datetime(2026, 3, 3, 23)}  # noqa: DTZ001 (wall clock)
FLOOR = 101  # the first revision of a day with unknown deliveries since the backup


@pytest.fixture(scope="module")
def delivered_monday(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Monday's clock-in is delivered."""
    store = copied(empty_store_file, tmp_path_factory.mktemp("template"))
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    process(store, MONDAY)
    delivered(store)
    return store.database.path


@pytest.fixture
def store(delivered_monday: Path, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(delivered_monday, tmp_path, clock)


@pytest.fixture(scope="module")
def backup_and_store_since(delivered_monday: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A backup of Monday noon; afterwards the CRM gets Monday's clock-out, as revision 2, and of Tuesday."""
    store = copied(delivered_monday, tmp_path_factory.mktemp("since"))
    file = store.backups.make(store.database.path.with_name("backup.duckdb")).file
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    delivered(store)
    return file, store.database.path


@pytest.fixture
def backup(backup_and_store_since: tuple[Path, Path], store: Store, tmp_path: Path) -> Path:
    """A copy of that backup; `store` becomes a copy of that store."""
    file, since = backup_and_store_since
    shutil.copyfile(since, store.database.path)
    return Path(shutil.copyfile(file, tmp_path / "backup.duckdb"))


def delivered(store: Store) -> None:
    execute(store, "UPDATE crm_deliveries SET state = 'delivered', delivered_at = now() WHERE state = 'pending'")


def read_again(store: Store) -> list[date]:
    """What `poll` and `process` do next."""
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    touched = stale(store)
    process(store, *touched)
    return touched


def test_the_backup_takes_the_place_and_the_replaced_store_stays_beside_it(
    store: Store, backup: Path, clock: StoppedClock
) -> None:
    before = rows(store, "FROM raw_punches ORDER BY seq")
    done = store.restore.run(backup)
    punches = next(table for table in done.tables if table.table == "raw_punches")
    assert (punches.backup, punches.replaced, punches.restored) == (1, 3, 3)
    assert done.replaced is not None
    with duckdb.connect(str(done.replaced)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        assert connection.execute("FROM raw_punches ORDER BY seq").fetchall() == before
    assert backup.exists()
    assert store.punches.log_positions() == {}, "the next poll reads whole logs"
    deliveries = rows(store, DELIVERIES)
    clock.go(seconds=1)
    store.restore.run(backup)
    assert rows(store, DELIVERIES) == deliveries, "twice is as good as once"


def test_what_the_crm_was_told_since_is_known_after_a_restore_and_numbers_given_since_are_not_given_again(
    store: Store, backup: Path
) -> None:
    deliveries, days = rows(store, DELIVERIES), rows(store, DAYS)
    used = rows(store, "SELECT max(seq) FROM raw_punches")[0][0]
    done = store.restore.run(backup)
    carried = done.carried
    assert (done.is_history_complete, carried.days, carried.first, carried.last) == (True, 2, MONDAY, TUESDAY)
    assert carried.stale == [MONDAY, TUESDAY]
    assert (rows(store, DELIVERIES), rows(store, DAYS)) == (deliveries, days)
    read_again(store)
    assert rows(store, DELIVERIES) == deliveries, "equal days are not sent again"
    ingest(store, "Gate", *on(MONDAY, "18:00"), *on(TUESDAY, "17:00"))
    assert rows(store, "SELECT min(latest_punch_seq) FROM work_dates")[0][0] > used
    process(store, MONDAY)
    assert rows(store, DELIVERIES)[2][:3] == (MONDAY, 3, "pending"), "a correction is above all that the CRM has seen"


def test_days_that_were_made_by_a_wrong_decision_are_put_right_when_made_again(store: Store, backup: Path) -> None:
    store.clock_corrections.add("Gate", **SPAN, add_seconds=86_400, reason="wrong")
    process(store, *stale(store))
    delivered(store)
    assert rows(store, DAYS) == [(TUESDAY, 2, False), (date(2026, 3, 4), 1, True)]
    done = store.restore.run(backup)
    assert done.carried.undone == {"clock_corrections": (1, 0)}
    process(store, *stale(store))
    assert rows(store, DAYS) == [(MONDAY, 4, False), (TUESDAY, 3, True)]
    (kept,) = store.clock_corrections.all()
    assert (kept.reason, kept.revoked_at) == ("wrong", store.clock())


def test_a_closed_period_stays_closed_and_what_it_paid_stays_paid(
    store: Store, backup: Path, clock: StoppedClock
) -> None:
    paid = "SELECT period, work_date, regular_minutes FROM payroll_days ORDER BY ALL"
    for period, first, last in (("a", MONDAY, MONDAY), ("b", TUESDAY, TUESDAY)):
        store.payroll.open(period, "cli:ada", first=first, last=last)
    store.payroll.close("a", "cli:ada", force=True)
    store.restore.run(backup)
    assert [(one.period, one.state) for one in store.payroll.all()] == [("a", "closed"), ("b", "open")]
    assert rows(store, paid) == [("a", MONDAY, 540)]
    read_again(store)
    assert store.payroll.unpaid_adjustments("b") == []
    older = store.backups.make(backup.with_name("closed.duckdb")).file
    store.payroll.reopen("a", "cli:ada")
    clock.go(hours=1)
    store.restore.run(older)
    assert (store.payroll.get("a").state, rows(store, paid)) == ("open", []), (
        "a reopened period is not paid by a restore"
    )


@pytest.mark.parametrize("lost", ["garbage", pytest.param("missing", marks=pytest.mark.matrix)])
def test_a_store_that_cannot_be_read_any_more_is_replaced_and_revisions_go_on_above_all_used(
    lost: str, store: Store, backup: Path, clock: StoppedClock
) -> None:
    if lost == "garbage":
        store.database.path.write_bytes(b"\0" * 4096)
    else:
        store.database.path.unlink()
    done = store.restore.run(backup)
    assert (done.is_history_complete, done.carried.days) == (False, 0)
    assert done.not_carried
    assert (done.replaced is not None) == (lost == "garbage")
    read_again(store)
    assert rows(store, DAYS) == [(MONDAY, FLOOR + 1, False), (TUESDAY, FLOOR + 1, True)]
    clock.go(days=40)
    later = clock.now.date()
    ingest(store, "Gate", *on(later, "08:00"))
    process(store, later)
    assert rows(store, "SELECT revision FROM daily_attendance WHERE work_date = ?", [later]) == [(1,)]


def test_what_waits_in_a_backup_has_an_unknown_outcome_when_nothing_is_known_since(
    store: Store, tmp_path: Path
) -> None:
    cases = list(itertools.product(("pending", "sending", "retry", "delivered", "failed"), (None, "{}")))
    days = [MONDAY + timedelta(days=number) for number in range(len(cases))]
    ingest(store, "Gate", *(punch for day in days for punch in on(day, "08:00")))
    process(store, *stale(store))
    execute(
        store,
        "UPDATE crm_deliveries SET state = one.state, run_id = 'dead', sent_body = one.body FROM "
        "(SELECT unnest(?) AS day, unnest(?) AS state, unnest(?::VARCHAR[]) AS body) AS one WHERE work_date = day",
        [days, *map(list, zip(*cases, strict=True))],
    )
    file = store.backups.make(tmp_path / "before.duckdb").file
    assert store.restore.run(file).in_doubt == 0, "the replaced store knows"
    store.database.path.unlink()
    done = store.restore.run(file)
    assert done.in_doubt == 8, "all but those delivered"
    assert rows(store, "SELECT state, sent_body FROM crm_deliveries ORDER BY work_date") == [
        *[("pending", ""), ("pending", "{}")], *[("pending", "")] * 2, *[("retry", ""), ("retry", "{}")],
        *[("delivered", None), ("delivered", "{}")], *[("failed", ""), ("failed", "{}")],
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 1000])
def test_a_file_that_is_no_store_is_refused_and_the_store_left_alone(
    content: bytes, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "wrong.duckdb").write_bytes(content)
    with pytest.raises(StoreUnusable):
        store.restore.run(tmp_path / "wrong.duckdb")
    assert store.punches.total() == 1
    assert not [path for path in tmp_path.iterdir() if "replaced" in path.name or path.name.endswith(".part")]


def test_the_store_itself_and_a_missing_file_are_refused(store: Store, tmp_path: Path) -> None:
    for file in (store.database.path, tmp_path / "none.duckdb"):
        with pytest.raises(UsageError):
            store.restore.run(file)


def restore_and_die_at_the_rename(path: Path, backup: Path) -> None:
    Path.replace = lambda *_: os._exit(9)  # type: ignore[method-assign]
    Store.at(path).restore.run(backup)


def test_a_kill_before_the_rename_leaves_the_store_that_was(store: Store, backup: Path) -> None:
    assert end_all([start(restore_and_die_at_the_rename, store.database.path, backup)], seconds=60) == [9]
    assert rows(store, DAYS) == [(MONDAY, 2, False), (TUESDAY, 1, True)]
    assert store.restore.run(backup).carried.days == 2


# Derived from other tables: the next poll of each terminal reads its whole log.
REBUILT = ("corrected_punches", "device_log_positions")
OWN = ("schema_migrations",)


def test_each_table_of_the_store_is_decided_on() -> None:
    """A new table belongs into one of these: is it a fact that a restore keeps, or a decision that it takes back?"""
    decided = [*CARRIED, *WHOLE, *PER_PERSON, *BACK, *REBUILT, *OWN]
    assert sorted(decided) == sorted(TABLES)


def test_terminals_stay_as_they_are_registered_now(store: Store, tmp_path: Path) -> None:
    for name in ("Dock", "Mill"):
        store.devices.add(device(name))
    file = store.backups.make(tmp_path / "before.duckdb").file
    store.devices.add(device("New", site="HQ"))
    store.devices.update("Dock", ip_address="192.0.2.77", enabled=False)
    store.devices.remove("Mill")
    carried = store.restore.run(file).carried
    assert (carried.devices_added, carried.devices_changed, carried.devices_removed) == (["New"], ["Dock"], ["Mill"])
    assert [(one.name, one.ip_address, one.site, one.enabled) for one in store.devices.all()] == [
        ("Dock", "192.0.2.77", "Dock", False),
        ("Gate", "192.0.2.10", "Gate", True),
        ("New", "192.0.2.10", "HQ", True),
    ]


@pytest.mark.parametrize(
    "is_polled",
    [pytest.param(True, id="polled again", marks=pytest.mark.matrix), pytest.param(False, id="log cleared since")],
)
def test_days_of_a_terminal_registered_since_are_not_retracted(is_polled: bool, store: Store, backup: Path) -> None:
    store.devices.add(device("New", site="HQ"))
    punches = on(MONDAY, "08:00", "17:00", user_id="7")
    ingest(store, "New", *punches)
    process(store, MONDAY)
    delivered(store)
    deliveries = rows(store, DELIVERIES)
    carried = store.restore.run(backup).carried
    assert store.punches.total() == 5
    if is_polled:
        ingest(store, "New", *punches)
    assert carried.first is not None
    assert carried.last is not None
    process(store, MONDAY, TUESDAY, *stale(store))
    assert rows(store, DELIVERIES) == deliveries
    assert rows(store, "SELECT count(*) FROM processed_attendance WHERE device IS NULL") == [(0,)]


def test_decisions_of_people_go_back_and_their_dates_become_stale(store: Store, tmp_path: Path) -> None:
    store.holidays.put([Holiday(day=MONDAY, name="Feast")])
    file = store.backups.make(tmp_path / "before.duckdb").file
    store.shifts.add(Shift(name="late", start=time(14), end=time(22)))
    store.shifts.assign(Assignment(shift="late", target=Target(user_id="1001")))
    store.shifts.add(Shift(name="season", start=time(14), end=time(20)))
    store.shifts.add_season(Season(shift="late", use="season", valid_from=MONDAY, valid_to=MONDAY))
    process(store, *stale(store))
    delivered(store)
    done = store.restore.run(file)
    assert (done.carried.undone, done.carried.stale) == (
        {"shifts": (2, 0), "shift_assignments": (1, 0), "shift_seasons": (1, 0)},
        [MONDAY],
    )
    process(store, *stale(store))
    assert rows(store, "SELECT shift, day_off FROM daily_attendance") == [(None, "Feast")]


def test_tokens_stay_revoked_and_valid_as_they_are_now_and_one_that_only_the_backup_knows_is_revoked(
    store: Store, tmp_path: Path
) -> None:
    kept, revoked, _ = (store.api_tokens.create(name, "read") for name in ("kept", "revoked", "gone"))
    file = store.backups.make(tmp_path / "before.duckdb").file
    store.api_tokens.revoke("revoked")
    again = store.api_tokens.create("revoked", "admin")
    execute(store, "DELETE FROM api_tokens WHERE name = 'gone'")
    carried = store.restore.run(file).carried
    assert (carried.tokens_added, carried.tokens_revoked) == (["revoked"], ["gone", "revoked"])
    good = store.api_tokens.good()
    assert sorted(good) == sorted(token.split("_")[1] for token in (kept, again))
    assert revoked.split("_")[1] in {token.id for token in store.api_tokens.all()}


def test_punches_deleted_by_hand_come_back_and_those_cleared_by_retention_do_not(
    store: Store, backup: Path, clock: StoppedClock
) -> None:
    execute(store, "UPDATE work_dates SET reprocess_after = NULL")
    clock.go(days=400)
    cleaned = store.retention.clean(retention_days=100, dry_run=False)
    assert cleaned.punches == 3
    store.restore.run(backup)
    assert store.punches.total() == 0
    assert stale(store) == []


def test_a_zone_changed_since_holds_for_punches_that_only_the_backup_has(store: Store, backup: Path) -> None:
    store.devices.update("Gate", timezone="Asia/Dubai")
    execute(store, "DELETE FROM raw_punches")
    store.restore.run(backup)
    assert rows(store, "SELECT hour(punched_at), hour(punched_at_local) FROM raw_punches") == [(4, 8)]


def test_another_store_is_replaced_without_taking_anything_from_it(
    store: Store, backup: Path, clock: StoppedClock
) -> None:
    store.database.path.unlink()
    clock.go(days=1)
    store.devices.add(device("Other"))
    done = store.restore.run(backup)
    assert (done.is_history_complete, done.not_carried) == (
        False,
        "the store that is replaced is no later state of the backup: their 'Gate' differ",
    )
    assert [one.name for one in store.devices.all()] == ["Gate"]


def test_a_day_that_was_retracted_since_stays_retracted(store: Store, backup: Path) -> None:
    store.devices.update("Gate", site="HQ")
    process(store, *stale(store))
    delivered(store)
    deliveries = rows(store, DELIVERIES)
    store.restore.run(backup)
    process(store, *stale(store))
    assert rows(store, DELIVERIES) == deliveries
    assert rows(store, "SELECT DISTINCT site FROM daily_attendance") == [("HQ",)]


def test_days_whose_punches_were_lost_are_not_changed_until_they_are_read_again(store: Store, backup: Path) -> None:
    execute(store, "DELETE FROM raw_punches")
    days = rows(store, DAYS)
    store.restore.run(backup)
    done = process(store, MONDAY, TUESDAY)
    assert list(done.failed) == [MONDAY, TUESDAY], "one lacks its clock-out, the other all of it"
    assert "read its log with `zk-pipeline poll Gate --full`, then process the date" in done.failed[TUESDAY]
    assert rows(store, DAYS) == days
    read_again(store)
    assert process(store, MONDAY, TUESDAY).failed == {}
    assert rows(store, DAYS) == days


def test_days_of_a_corrected_clock_change_with_it_also_after_the_device_has_moved(store: Store) -> None:
    """Their times are in no punch, and their site is no longer that of the device: nothing is lost all the same."""
    first, last = (datetime.combine(day, time(0)) for day in (MONDAY - timedelta(days=1), TUESDAY + timedelta(days=1)))
    correction = store.clock_corrections.add("Gate", from_local=first, to_local=last, add_seconds=600)
    assert process(store, *stale(store)).failed == {}
    store.clock_corrections.revoke(correction.id)
    store.devices.update("Gate", site="HQ")
    assert process(store, *stale(store)).failed == {}
    assert rows(store, "SELECT DISTINCT site FROM daily_attendance") == [("HQ",)]


def test_days_of_a_device_that_is_in_no_registry_are_not_retracted(store: Store) -> None:
    store.devices.update("Gate", site="HQ")
    process(store, *stale(store))
    days = rows(store, DAYS)
    execute(store, "DELETE FROM devices")
    done = process(store, MONDAY)
    assert "register its terminal with `zk-pipeline device add Gate IP`" in done.failed[MONDAY]
    assert rows(store, DAYS) == days


def test_a_preview_changes_nothing_and_says_what_a_restore_does(store: Store, backup: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".duckdb"}
    with store.restore.preview(backup) as (path, seen):
        assert Store.at(path).punches.total() == 3
        assert due_deliveries(path) == DueDeliveries(0, 0)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".duckdb"} == before
    assert not [path for path in tmp_path.iterdir() if "preview" in path.name or "part" in path.name]
    done = store.restore.run(backup)
    assert (seen.tables, seen.carried) == (done.tables, done.carried)


def test_a_preview_where_there_is_no_store_leaves_nothing(backup: Path, tmp_path: Path) -> None:
    for there in (tmp_path / "new" / "data", tmp_path / "empty"):
        fresh = Store.at(there / "attendance.duckdb")
        if there.name == "empty":
            there.mkdir()
        with fresh.restore.preview(backup) as (path, seen):
            assert Store.at(path).punches.total() == 1
        assert (seen.due_there, seen.not_carried) == (DueDeliveries(0, 0), "there is no store to replace")
        assert not there.exists() or not list(there.iterdir())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("there", ["later", "other", "garbage"])
def test_a_preview_counts_what_waits_in_the_store_that_is_there(there: str, store: Store, backup: Path) -> None:
    if there == "other":
        store.database.path.unlink()
        store.devices.add(device("Other"))
        ingest(store, "Other", *on(MONDAY, "08:00"), *on(TUESDAY, "08:00"))
        process(store, MONDAY, TUESDAY)
    else:
        execute(store, "UPDATE crm_deliveries SET state = 'pending' WHERE state = 'delivered'")
    waits = DueDeliveries(rows(store, "SELECT count(*) FROM crm_deliveries WHERE state = 'pending'")[0][0], 0)
    assert waits.records >= 2
    if there == "garbage":
        store.database.path.write_bytes(b"broken" * 1000)
    with store.restore.preview(backup) as (path, seen):
        assert due_deliveries(path).records == (waits.records if there == "later" else 0)
    assert seen.due_there == (None if there == "garbage" else waits)
    punches = next(table for table in seen.tables if table.table == "raw_punches")
    assert punches.replaced == {"later": 3, "other": 2, "garbage": None}[there]
