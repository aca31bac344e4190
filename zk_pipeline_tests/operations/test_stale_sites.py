"""Staleness per site: a late punch of a site has the rows of this site computed again, and no others."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from zk_pipeline.attendance.evaluate import EvaluatedDays, evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.operations import process as operation
from zk_pipeline.operations.process import process_dates
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.queries.overview import StaleSites
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import PunchRequest
from zk_pipeline_tests.store.store_fixtures import (
    ALL,
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
)

GATES = {"A": "North", "A2": "North", "B": "South", "C": "West"}  # device → site
ZONES = {"North": "UTC", "South": "Europe/Istanbul", "West": "America/New_York"}
CONTENT = """
SELECT * EXCLUDE (run_id, created_at, updated_at) FROM daily_attendance ORDER BY work_date, site, user_id
"""
REVISIONS = """
SELECT * EXCLUDE (id, run_id, created_at) FROM daily_attendance_revisions ORDER BY work_date, user_id, revision
"""
DELIVERIES = """
SELECT site, user_id, work_date, revision, record_per, merged, device_ip, idempotency_key, state
FROM crm_deliveries ORDER BY work_date, user_id, revision
"""
ROWS = "SELECT user_id, punch_count, revision, run_id, updated_at FROM daily_attendance WHERE site = ? ORDER BY user_id"
COUNTS = "SELECT site, user_id, punch_count FROM daily_attendance ORDER BY site, user_id"


@pytest.fixture(scope="module")
def gates_template(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("gates"))
    for number, (name, site) in enumerate(GATES.items(), start=1):
        store.devices.add(device(name, site=site, timezone=ZONES[site], ip=f"192.0.2.{number}"))
    return store.database.where


@pytest.fixture(scope="module")
def processed_template(gates_template: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    """Monday at three sites, processed: 1001 and 1002 at North, 1002 and 1003 at South, 1004 at West."""
    store = copied(gates_template, tmp_path_factory.mktemp("processed"))
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"), *on(MONDAY, "08:00", "12:00", user_id="1002"))
    ingest(store, "B", *on(MONDAY, "14:00", "14:02", "18:00", user_id="1002"), *on(MONDAY, "09:00", user_id="1003"))
    ingest(store, "C", *on(MONDAY, "09:00", "17:00", user_id="1004"))
    process(store, MONDAY, run_id="first run")
    return store.database.where


@pytest.fixture
def store(processed_template: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """A copy of `processed_template`, an hour later."""
    clock.go(hours=1)
    return copied(processed_template, tmp_path, clock)


def sites(store: Store) -> dict[date, list[str] | None]:
    return {one.work_date: one.sites for one in store.days.stale(**ALL)}


# Steps at random: punches, also manual ones, in any order; a terminal that moves; processing before and after the end
# of the day, with one delivery per user or per site; deliveries.
def any_steps(seed: int, steps: int = 9) -> list[tuple[str, Any]]:
    chance = random.Random(seed)
    made: list[tuple[str, Any]] = []
    for _ in range(steps):
        kind = chance.choices(["punches", "manual", "move", "go", "deliver"], [10, 1, 1, 2, 2])[0]
        if kind == "punches":
            held = [(any_user(chance), str(any_moment(chance))) for _ in range(chance.randint(1, 6))]
            again = [(user, str(datetime.fromisoformat(at) + timedelta(minutes=1))) for user, at in held[:2]]
            made.append((kind, (chance.choice(list(GATES)), [*held, *again])))
        elif kind == "manual":
            site = chance.choice(["North", "South", "West"])
            made.append((kind, PunchRequest(any_user(chance), site, any_moment(chance), "in", "forgotten")))
        elif kind == "move":
            made.append((kind, (chance.choice(["A2", "C"]), chance.choice(["North", "West", "East"]))))
        else:
            made.append((kind, chance.randrange(30)))
        if chance.random() < 0.6:
            made.append(("process", chance.random() < 0.3))
    return [*made, ("go", 200), ("process", False)]


def any_user(chance: random.Random) -> str:
    return f"100{chance.randrange(6)}"


def any_moment(chance: random.Random) -> datetime:
    return datetime(2026, 3, chance.choice([2, 3]), chance.randrange(24), chance.randrange(60))  # noqa: DTZ001


def go_through(store: Store, clock: StoppedClock, steps: Sequence[tuple[str, Any]], *, all_sites: bool) -> int:
    """Returns how many dates were processed of which only some sites were stale."""
    clock.now = datetime(2026, 3, 4, 2, tzinfo=UTC)  # Tuesday is not over in New York
    scoped = 0
    for kind, value in steps:
        if kind == "punches":
            ingest(store, value[0], *value[1])
        elif kind == "manual":
            if value.site in {one.site for one in store.devices.all()}:  # its terminal may have moved away
                store.manual_punches.request([value], "hr", approve=True)
        elif kind == "move":
            store.devices.update(value[0], site=value[1])
        elif kind == "go":
            clock.go(hours=value)
        elif kind == "deliver":
            execute(store, f"UPDATE crm_deliveries SET state = 'delivered' WHERE hash(user_id) % 3 = {value % 3}")
        else:
            if all_sites:
                execute(store, "UPDATE work_dates SET stale_sites = NULL")
            stale = sites(store)
            scoped += sum(one is not None for one in stale.values())
            done = process(store, *stale, per_site=value)
            assert (len(done.written), done.failed) == (len(stale), {})
            counted = dict(rows(store, "SELECT work_date, count(*) FROM daily_attendance GROUP BY ALL"))
            for one in done.written:
                assert one.rows == counted.get(one.work_date, 0) == one.added + one.changed + one.unchanged
            assert sites(store) == {}
    return scoped


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seeds", [[9], pytest.param(range(150), marks=pytest.mark.stress)])
def test_days_revisions_and_deliveries_are_those_of_processing_all_sites_each_time(
    seeds: Sequence[int], gates_template: Where, record_property: Callable[[str, object], None]
) -> None:
    scoped = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for name in ("some sites", "all sites"):
                (Path(folder) / name).mkdir()
                clock = StoppedClock()
                store = copied(gates_template, Path(folder) / name, clock)
                count = go_through(store, clock, any_steps(seed), all_sites=name == "all sites")
                scoped += count
                assert name == "some sites" or count == 0
                found.append([rows(store, sql) for sql in (CONTENT, REVISIONS, DELIVERIES)])
            assert found[0] == found[1], seed
    assert scoped >= len(seeds)
    record_property("dates of which only some sites were processed", scoped)


def test_a_late_punch_leaves_the_rows_of_other_sites_untouched_also_by_other_rules(store: Store) -> None:
    before = [rows(store, ROWS, [site]) for site in ("South", "West")]
    ingest(store, "A", *on(MONDAY, "07:30"))
    assert sites(store) == {MONDAY: ["North"]}
    other = WorkRules(debounce_seconds=600)  # by which 1002 has one punch less at South
    (done,) = process_dates(store, [MONDAY], other, run_id="late run").written
    assert (done.rows, done.changed, done.unchanged, done.added, done.retracted) == (5, 1, 4, 0, 0)
    assert [rows(store, ROWS, [site]) for site in ("South", "West")] == before
    assert rows(store, "SELECT user_id, run_id FROM daily_attendance WHERE site = 'North' ORDER BY 1") == [
        ("1001", "late run"),
        ("1002", "first run"),
    ]
    assert sites(store) == {}
    process_dates(store, [MONDAY], other, run_id="all sites")  # requested, and not stale
    assert [(user, count) for user, count, *_ in rows(store, ROWS, ["South"])] == [("1002", 2), ("1003", 1)]


def test_the_record_of_a_user_at_several_sites_is_merged_over_all_of_them(store: Store) -> None:
    before = rows(store, ROWS, ["South"])
    ingest(store, "A", *on(MONDAY, "07:30", user_id="1002"))
    process(store, MONDAY)
    (record,) = rows(
        store, "SELECT merged ->> 'clock_in', merged ->> 'clock_out' FROM crm_deliveries WHERE state = 'pending' "
        "AND user_id = '1002'"
    )  # fmt: skip
    hours = [datetime.fromtimestamp(int(one) / 1e6, UTC).strftime("%H:%M") for one in record]
    assert hours == ["07:30", "15:00"], "from North's first punch to South's last one, at 18:00 in Istanbul"
    assert rows(store, ROWS, ["South"]) == before


def test_a_punch_of_another_site_that_comes_while_a_site_is_computed_leaves_the_date_stale_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(summaries: pd.DataFrame, rules: WorkRules, now: datetime, shifts: Mapping[str, Shift]) -> EvaluatedDays:
        monkeypatch.setattr(operation, "evaluate_days", evaluate_days)
        ingest(store, "B", *on(MONDAY, "19:00", user_id="1003"))
        return evaluate_days(summaries, rules, now, shifts)

    ingest(store, "A", *on(MONDAY, "07:30"))
    monkeypatch.setattr(operation, "evaluate_days", slowly)
    assert len(process(store, MONDAY, run_id="North").written) == 1
    assert sites(store) == {MONDAY: ["South"]}
    process(store, MONDAY, run_id="South")
    assert sites(store) == {}
    assert rows(store, "SELECT site, user_id, run_id FROM daily_attendance WHERE run_id <> 'first run' ORDER BY 1") == [
        ("North", "1001", "North"),
        ("South", "1003", "South"),
    ]


def test_a_request_for_all_sites_reaches_them_also_when_a_late_punch_comes_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = WorkRules(debounce_seconds=600)

    def slowly(summaries: pd.DataFrame, rules: WorkRules, now: datetime, shifts: Mapping[str, Shift]) -> EvaluatedDays:
        monkeypatch.setattr(operation, "evaluate_days", evaluate_days)
        ingest(store, "A", *on(MONDAY, "07:30"))
        process_dates(store, [MONDAY], other, run_id="faster run")
        return evaluate_days(summaries, rules, now, shifts)

    store.days.request_all_sites([MONDAY, TUESDAY])
    assert sites(store) == {}
    monkeypatch.setattr(operation, "evaluate_days", slowly)
    assert process_dates(store, [MONDAY], other, run_id="slower run").overtaken == [MONDAY]
    assert [(user, count) for user, count, *_ in rows(store, ROWS, ["South"])] == [("1002", 2), ("1003", 1)]
    ingest(store, "A", *on(MONDAY, "07:20"))
    assert sites(store) == {MONDAY: ["North"]}


def test_all_sites_are_processed_of_a_date_whose_sites_are_not_known(store: Store, clock: StoppedClock) -> None:
    ingest(store, "A", *on(MONDAY, "07:30"), *on(TUESDAY, "08:00"))
    ingest(store, "B", *on(MONDAY, "07:30"))
    assert sites(store) == {MONDAY: ["North", "South"], TUESDAY: None}, "Tuesday for the first time"
    store.devices.update("C", timezone="UTC")
    assert sites(store)[MONDAY] is None
    process(store, MONDAY, TUESDAY)
    store.manual_punches.request([PunchRequest("1009", "West", datetime(2026, 3, 2, 8), "in", "forgot")], "hr")  # noqa: DTZ001
    store.manual_punches.decide([1], "approved", "boss")
    assert sites(store) == {MONDAY: ["West"]}
    execute(store, "UPDATE work_dates SET reprocess_after = ?", [clock.now + timedelta(hours=1)])
    assert sites(store) == {MONDAY: ["West"]}
    process(store, MONDAY)
    assert sites(store) == {}, "South's days of before the end of the day are still to be processed again after it"
    clock.go(hours=1)
    ingest(store, "C", *on(MONDAY, "07:30"))
    assert sites(store)[MONDAY] is None, "it is over now"
    process(store, MONDAY, TUESDAY)
    ingest(store, "C", *on(MONDAY, "07:20"))
    execute(store, "UPDATE work_dates SET latest_punch_seq = latest_punch_seq + 1")
    assert sites(store)[MONDAY] is None, "by something that named no site"


def test_the_repair_of_a_blocked_date_covers_all_sites(store: Store) -> None:
    counts = rows(store, COUNTS)
    execute(store, "UPDATE daily_attendance SET punch_count = 0 WHERE site = 'South'")
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"), *on(MONDAY, "07:30", user_id="1008"))
    held = store.days.summarize([MONDAY], workday_starts_at=WorkRules().workday_starts_at, debounce_seconds=60,
                                only_stale_sites=True)  # fmt: skip
    assert list(store.quality.block_inconsistent([MONDAY])) == [MONDAY]
    judged = evaluate_days(held.to_evaluate, WorkRules(), store.clock())
    store.days.write(judged.days, seq=held.seq, sites=held.sites, reprocess_after={}, run_id="before it was blocked")
    assert list(store.quality.blocked_dates()) == [MONDAY]
    ingest(store, "A", *on(MONDAY, "07:30", user_id="1009"))
    assert sites(store) == {MONDAY: None}
    process(store, MONDAY)
    assert store.quality.blocked_dates() == {}
    assert rows(store, COUNTS) == [*counts[:2], ("North", "1008", 1), ("North", "1009", 1), *counts[2:]]


@pytest.mark.parametrize("per_site", [False, True])
def test_a_user_whose_row_vanishes_at_a_late_site_keeps_the_records_of_the_others(store: Store, per_site: bool) -> None:
    ingest(store, "C", *on(MONDAY, "12:00", user_id="1002"))
    process(store, MONDAY)
    execute(store, "UPDATE raw_punches SET voided_at = now() WHERE user_id = '1002' AND device = 'A'")
    ingest(store, "A", *on(MONDAY, "08:00", user_id="1009"))
    assert sites(store) == {MONDAY: ["North"]}
    (done,) = process(store, MONDAY, per_site=per_site).written
    assert (done.retracted, done.added, done.changed) == (1, 1, 2 if per_site else 0)
    due = "SELECT site, record_per FROM crm_deliveries WHERE user_id = '1002' AND state = 'pending' ORDER BY site"
    alone = [("North", "site"), ("South", "site"), ("West", "site")]
    assert rows(store, due) == (alone if per_site else [("North", "person")])


def test_pages_and_status_show_a_late_punch_at_its_site_only(store: Store) -> None:
    ingest(store, "A", *on(MONDAY, "07:30"))
    ingest(store, "A2", *on(MONDAY, "17:30"))
    for site, is_stale in (("North", True), ("South", False)):
        assert store.daily_reports.read(MONDAY, site=site).is_stale is is_stale
        state = store.day_details.read(site, "1002", MONDAY).work_date
        assert state is not None
        assert state.is_stale is is_stale
    assert store.daily_reports.read(MONDAY).is_stale
    status = store.overview.status(WorkRules(), **ALL, now=store.clock())
    assert status.stale_sites == [StaleSites(MONDAY, ["North"])]
    other = store.overview.status(WorkRules(workday_starts_at=time(4)), **ALL, now=store.clock())
    assert other.stale_sites == [StaleSites(MONDAY, None)], "after hours that are not applied yet"


@pytest.mark.file_engine
def test_dates_that_are_stale_at_the_upgrade_are_processed_at_all_sites_without_a_revision(store: Store) -> None:
    process(store, TUESDAY)
    ingest(store, "A", *on(MONDAY, "08:00:30"))  # between the punches that are there
    before = rows(store, REVISIONS)
    with duckdb.connect(str(store.database.path)) as connection:
        connection.execute("ALTER TABLE work_dates DROP COLUMN stale_sites")
        connection.execute("DELETE FROM schema_migrations WHERE name = '0028_stale_sites.sql'")
    assert sites(store) == {MONDAY: None}
    ingest(store, "B", *on(MONDAY, "09:00:30", user_id="1003"))
    assert sites(store) == {MONDAY: None}
    assert rows(store, REVISIONS) == before
    (done,) = process(store, MONDAY).written
    assert (done.sites, rows(store, "SELECT DISTINCT stale_sites FROM work_dates")) == (None, [(None,)])
