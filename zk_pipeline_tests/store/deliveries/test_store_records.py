"""One record per person and work date: merged over the sites, delivered once, in one sequence of revisions."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TypeAlias

import duckdb
import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.crm.models import Attempt, Delivery, DeliveryState, Outcome
from zk_pipeline.crm.payload import crm_record
from zk_pipeline.operations.process import process_dates
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import Filter
from zk_pipeline.store.schema.migrations_runner import migrations, script
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.schema.former_names import FORMER_TABLES, undo_columns, undo_names
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
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
    store_at,
)

DELIVERIES = "SELECT site, revision, state, record_per FROM crm_deliveries ORDER BY revision, site"


@pytest.fixture(scope="module")
def two_sites(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("sites"))
    store.devices.add(device("A", site="A", ip="192.0.2.1"))
    store.devices.add(device("B", site="B", ip="192.0.2.2"))
    return store.database.where


@pytest.fixture
def store(two_sites: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """A and B are sites of one terminal each."""
    return copied(two_sites, tmp_path, clock)


@pytest.fixture(scope="module")
def both_delivered_template(two_sites: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    """1001's Monday: at A from 08:00 to 17:00, at B from 18:00 to 19:00; delivered."""
    store = copied(two_sites, tmp_path_factory.mktemp("both"))
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    at("B", store, "18:00", "19:00")
    assert len(deliver(store)) == 1
    return store.database.where


@pytest.fixture
def store_with_both(both_delivered_template: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(both_delivered_template, tmp_path, clock)


@pytest.fixture(scope="module")
def a_due_template(two_sites: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(two_sites, tmp_path_factory.mktemp("a"))
    at("A", store, "08:00", "17:00")
    return store.database.where


@pytest.fixture
def store_with_a(a_due_template: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """1001's Monday at A from 08:00 to 17:00; due."""
    return copied(a_due_template, tmp_path, clock)


@pytest.fixture(scope="module")
def b_inside_template(two_sites: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(two_sites, tmp_path_factory.mktemp("inside"))
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    at("B", store, "10:00", "11:00")
    return store.database.where


@pytest.fixture
def store_with_b_inside(b_inside_template: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """1001's Monday at A from 08:00 to 17:00, at B from 10:00 to 11:00; due as one record."""
    return copied(b_inside_template, tmp_path, clock)


def at(name: str, store: Store, *times: str, user_id: str = "1001", per_site: bool = False) -> None:
    """Punches at a terminal, and Monday made from them."""
    ingest(store, name, *on(MONDAY, *times, user_id=user_id))
    process(store, MONDAY, per_site=per_site)


def gone(name: str, store: Store, *, per_site: bool = False) -> None:
    """Void the punches of the device."""
    execute(store, "UPDATE raw_punches SET voided_at = now() WHERE device = ?", [name])
    process(store, MONDAY, per_site=per_site)


def back(name: str, store: Store) -> None:
    execute(store, "UPDATE raw_punches SET voided_at = NULL WHERE device = ?", [name])
    process(store, MONDAY)


def deliver(
    store: Store, state: DeliveryState = DeliveryState.DELIVERED, *, said: str = "", run: str = "run"
) -> list[Delivery]:
    """All that is due, until nothing is; what it was."""
    outbox = store.deliveries.outbox(SyncScope(states=("retry",)), run, lambda: True)
    tried = (Attempt(started_at=LONG_AFTER, finished_at=LONG_AFTER, outcome=said),) if said else ()
    sent: list[Delivery] = []
    while claimed := outbox.settle_and_claim([], 100):
        ends = [Outcome(delivery=d, state=state, attempts=1, finished_at=LONG_AFTER, tried=tried) for d in claimed]
        outbox.settle_and_claim(ends, 0)
        sent += claimed
    return sent


def clocks(delivery: Delivery) -> tuple[str | None, str | None, str, str, int]:
    """In and out, device and its address, revision."""
    into, out = (None if one is None else f"{one:%H:%M}" for one in (delivery.clock_in, delivery.clock_out))
    return into, out, delivery.device_name, delivery.device_ip, delivery.revision


def is_consistent(store: Store) -> bool:
    """Whether doctor finds nothing but that people are at several sites."""
    return {one.name for one in Doctor(store.database).examine(store.clock())} <= {"several-sites", "namesakes"}


def states(store: Store) -> dict[str, str | None]:
    """The sync state that each site's row of 1001 shows."""
    found = store.lists.days(
        Filter(user_id="1001"), [Key("id", "number", descending=False)], PageRequest(number=1, size=100)
    )
    return {row.site: row.sync_state for row in found.rows}


def test_a_record_is_merged_over_the_sites(store: Store) -> None:
    ingest(store, "A", *on(MONDAY, "08:30"))
    at("B", store, "17:45")
    (sent,) = deliver(store)
    assert clocks(sent) == ("08:30", "17:45", "A", "192.0.2.1", 2)
    assert (sent.is_outlier, sent.outlier_reason) == (False, ""), "neither site has both, the day has"
    assert "site" not in crm_record(sent)
    assert states(store) == {"A": "delivered", "B": "delivered"}
    assert is_consistent(store)


def test_an_outlier_is_judged_on_the_merged_day(store: Store) -> None:
    ingest(store, "B", *on(MONDAY, "06:00", "12:00"))
    at("A", store, "12:30", "22:30")
    (sent,) = deliver(store)
    assert clocks(sent)[:3] == ("06:00", "22:30", "B")
    early, late = "Clock-in 06:00, more than 2 h before 09:00", "Clock-out 22:30, more than 3 h after 18:00"
    assert sent.outlier_reason == f"{early}; {late}"


def test_punches_that_count_once_across_sites_have_no_clock_out(store: Store) -> None:
    ingest(store, "A", *on(MONDAY, "08:30:00"))
    at("B", store, "08:30:40")
    (sent,) = deliver(store)
    assert (sent.clock_out, sent.outlier_reason) == (None, "No clock-out after the punch at 08:30")


def test_a_clock_out_in_another_zone_is_told_and_judged_in_that_of_the_clock_in(store: Store) -> None:
    store.devices.add(device("C", site="C", timezone="Asia/Tokyo"))
    ingest(store, "A", *on(MONDAY, "08:30"))
    at("C", store, "23:30")  # 14:30 where the day began
    (sent,) = deliver(store)
    assert clocks(sent)[:2] == ("08:30", "14:30")
    assert sent.outlier_reason == "Clock-out 14:30, more than 2 h before 18:00"


def test_one_site_is_retracted_while_the_other_stands(store_with_both: Store) -> None:
    gone("B", store_with_both)
    (sent,) = deliver(store_with_both)
    assert (sent.site, sent.is_retracted) == ("B", False), "the newest revision is B's, what it says is A's"
    assert clocks(sent) == ("08:00", "17:00", "A", "192.0.2.1", 3)
    assert states(store_with_both) == {"A": "delivered"}
    gone("A", store_with_both)
    (sent,) = deliver(store_with_both)
    assert (sent.is_retracted, sent.revision) == (True, 4)
    back("A", store_with_both)
    (sent,) = deliver(store_with_both)
    assert clocks(sent) == ("08:00", "17:00", "A", "192.0.2.1", 5)
    assert is_consistent(store_with_both)


def test_both_gone_at_once_are_one_retraction(store_with_both: Store) -> None:
    execute(store_with_both, "UPDATE raw_punches SET voided_at = now()")
    process(store_with_both, MONDAY)
    (sent,) = deliver(store_with_both)
    assert (sent.is_retracted, sent.revision) == (True, 4)
    assert is_consistent(store_with_both)


def test_what_waits_at_one_site_is_superseded_by_a_change_at_another(store: Store) -> None:
    at("A", store, "08:00")
    at("B", store, "17:00")
    gone("A", store)
    assert rows(store, DELIVERIES) == [
        ("A", 1, "superseded", "person"),
        ("B", 2, "superseded", "person"),
        ("A", 3, "pending", "person"),
    ]


def test_a_person_at_one_site_is_numbered_from_one(store: Store) -> None:
    for times in (("08:00",), ("12:00",), ("17:00",)):
        at("A", store, *times)
    assert rows(store, DELIVERIES) == [
        ("A", 1, "superseded", "person"),
        ("A", 2, "superseded", "person"),
        ("A", 3, "pending", "person"),
    ]


@pytest.mark.parametrize("is_delivered", [True, False])
def test_what_changes_inside_of_a_record_is_not_told_again(is_delivered: bool, store_with_b_inside: Store) -> None:
    store = store_with_b_inside
    if is_delivered:
        deliver(store)
    at("B", store, "11:30")
    assert len(deliver(store)) == (0 if is_delivered else 1)
    assert states(store) == {"A": "delivered", "B": "delivered"}
    explained = store.explanations.explain("1001", MONDAY)
    assert [(one.site, one.revision, one.delivery) for one in explained.revisions] == [
        ("A", 1, "delivered"), ("B", 2, "delivered"), ("B", 3, "delivered"),
    ]  # fmt: skip
    gone("B", store)
    assert deliver(store) == [], "A says it alone now"
    assert is_consistent(store)


def test_a_dead_letter_gets_another_turn_with_the_next_change(store_with_b_inside: Store) -> None:
    store = store_with_b_inside
    deliver(store, DeliveryState.FAILED)
    at("B", store, "11:30")
    assert [one.revision for one in deliver(store)] == [3]
    assert [state for _, _, state, _ in rows(store, DELIVERIES)] == ["superseded", "delivered"]


def test_other_bounds_change_a_merged_record_though_no_row_changes(store: Store) -> None:
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    ingest(store, "B", *on(MONDAY, "20:30", "20:45"))
    execute(store, "INSERT INTO shifts (name, start_time, end_time, weekdays, created_at, updated_at) "
            "VALUES ('late', '20:00', '21:00', 'mon', now(), now())")  # fmt: skip
    execute(store, "INSERT INTO shift_assignments (id, shift, site, created_at) VALUES (1, 'late', 'B', now())")
    process(store, MONDAY)
    assert not deliver(store)[0].is_outlier
    strict = WorkRules(late_clock_out=timedelta(hours=1))
    process_dates(store, [MONDAY], strict, run_id=None)
    (sent,) = deliver(store)
    assert (sent.site, sent.revision, sent.is_outlier) == ("A", 3, True)
    assert process_dates(store, [MONDAY], strict, run_id=None).written[0].unchanged == 2


def test_a_revision_whose_outcome_is_unknown_goes_before_the_merged_one(store_with_a: Store) -> None:
    store = store_with_a
    (first,) = deliver(store, DeliveryState.RETRY, said="unknown", run="a")
    at("B", store, "18:00", "19:00")
    assert [(one.revision, one.idempotency_key == first.idempotency_key) for one in deliver(store, run="b")] == [
        (1, True), (2, False),
    ]  # fmt: skip
    assert states(store) == {"A": "delivered", "B": "delivered"}


@pytest.mark.parametrize("ends", ["refused", "with its run"])
def test_what_is_sent_while_another_site_changes_is_outdated_by_that(ends: str, store_with_a: Store) -> None:
    store = store_with_a
    outbox = store.deliveries.outbox(SyncScope(), "a", lambda: True)
    (first,) = outbox.settle_and_claim([], 1)
    at("B", store, "18:00", "19:00")
    if ends == "refused":
        outbox.settle_and_claim(
            [Outcome(delivery=first, state=DeliveryState.FAILED, attempts=1, finished_at=LONG_AFTER)], 0
        )
    assert [one.revision for one in deliver(store, run="b")] == [2]
    assert [state for _, _, state, _ in rows(store, DELIVERIES)] == ["superseded", "delivered"]


def test_a_merged_record_whose_outcome_is_unknown_keeps_its_body(store: Store) -> None:
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    at("B", store, "18:00", "19:00")
    (first,) = deliver(store, DeliveryState.RETRY, said="unknown", run="a")
    gone("B", store)
    again, last = deliver(store, run="b")
    assert crm_record(again) == crm_record(replace(first, sent_body=None))
    assert clocks(last) == ("08:00", "17:00", "A", "192.0.2.1", 3)


def test_forced_only_the_newest_record_goes_again(store_with_a: Store) -> None:
    store = store_with_a
    deliver(store)
    at("B", store, "18:00", "19:00")
    deliver(store)
    outbox = store.deliveries.outbox(SyncScope(states=("delivered",)), "again", lambda: True)
    assert [clocks(one)[:2] for one in outbox.settle_and_claim([], 100)] == [("08:00", "19:00")]


def test_per_site_each_row_is_a_record_that_names_its_site(told_apart: Store) -> None:
    store = told_apart
    assert [(crm_record(one)["site"], *clocks(one)[:2]) for one in deliver(store)] == [
        ("A", "08:00", "17:00"), ("B", "18:00", "19:00"),
    ]  # fmt: skip
    gone("A", store, per_site=True)
    (sent,) = deliver(store)
    assert (sent.site, sent.is_retracted, sent.revision, crm_record(sent)["site"]) == ("A", True, 3, "A")
    assert is_consistent(store)


def test_another_setting_tells_nothing_until_something_changes(store_with_both: Store) -> None:
    process(store_with_both, MONDAY, per_site=True)
    assert deliver(store_with_both) == []
    at("B", store_with_both, "20:00", per_site=True)
    assert [(one.record_per, one.site, *clocks(one)[:2]) for one in deliver(store_with_both)] == [
        ("site", "A", "08:00", "17:00"), ("site", "B", "18:00", "20:00"),
    ], "a merged record is delivered per site"  # fmt: skip
    assert states(store_with_both) == {"A": "delivered", "B": "delivered"}
    process(store_with_both, MONDAY)
    assert deliver(store_with_both) == []
    at("A", store_with_both, "07:00")
    assert [(one.record_per, *clocks(one)[:2]) for one in deliver(store_with_both)] == [("person", "07:00", "20:00")]
    assert is_consistent(store_with_both)


def enrol(store: Store, name: str, person: str) -> None:
    ingest(store, name, users=[("1001", 1, person, 0, 0)])


def test_an_id_with_other_names_at_two_sites_is_two_people(store: Store) -> None:
    enrol(store, "A", "Ali Kaya")
    enrol(store, "B", "Ben Stone")
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    at("B", store, "18:00", "19:00")
    at("A", store, "12:00", user_id="1002")
    sent = {(one.user_id, one.site): crm_record(one).get("site") for one in deliver(store)}
    assert sent == {("1001", "A"): "A", ("1001", "B"): "B", ("1002", "A"): None}
    facts = store.quality.facts(today=TUESDAY)
    assert facts.namesakes == [("1001", ["A: Ali Kaya", "B: Ben Stone"])]
    assert facts.several_sites == [("1001", 1, "A, B")]
    assert is_consistent(store)


def test_what_was_merged_is_told_per_site_once_the_names_differ(store: Store) -> None:
    enrol(store, "A", "Ali Kaya")
    enrol(store, "B", "KAYA Ali")
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    at("B", store, "18:00", "19:00")
    assert [one.record_per for one in deliver(store)] == ["person"]
    enrol(store, "B", "Ben Stone")
    at("B", store, "20:00")
    assert [(one.record_per, one.site) for one in deliver(store)] == [("site", "A"), ("site", "B")]


@pytest.mark.file_engine
def test_a_restore_keeps_what_was_told_of_a_person(store_with_a: Store, tmp_path: Path) -> None:
    store = store_with_a
    deliver(store)
    backup = store.backups.make(tmp_path / "before.duckdb").file
    at("B", store, "18:00", "19:00")
    deliver(store)
    restored = store.restore.run(backup)
    assert restored.carried.days == 1
    process(store, *stale(store))
    assert deliver(store) == []
    assert states(store) == {"A": "delivered", "B": "delivered"}
    at("A", store, "07:00")
    assert [clocks(one) for one in deliver(store)] == [("07:00", "19:00", "A", "192.0.2.1", 3)]
    assert is_consistent(store)


@pytest.fixture(scope="module")
def empty_version_17(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("17") / "store.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)")
        for number, name in migrations():
            if number <= 17:
                connection.execute(script(name))
                connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [number, name])
        connection.execute("DELETE FROM store_settings")
    return path


AtVersion17: TypeAlias = "Callable[[Store], Store]"


@pytest.fixture
def at_version_17(empty_version_17: Path, tmp_path: Path) -> AtVersion17:
    """Deliveries of an earlier version for the same punches: each row delivered separately, without its site."""
    return lambda store: _at_version_17(store, Path(shutil.copyfile(empty_version_17, tmp_path / "old.duckdb")))


def _at_version_17(store: Store, path: Path) -> Store:
    made = shutil.copyfile(store.database.path, path.with_name("made.duckdb"))
    with duckdb.connect(str(made)) as connection:
        undo_columns(connection)
        undo_names(connection)
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"ATTACH '{made}' AS made (READ_ONLY)")
        for table in FORMER_TABLES:
            if table != "schema_migrations":
                new = "EXCLUDE (record_per, merged)" if table == "crm_deliveries" else ""
                connection.execute(f"INSERT INTO {table} BY NAME SELECT * {new} FROM made.{table}")
    return store_at(path)


@pytest.fixture(scope="module")
def both_due_per_site(two_sites: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(two_sites, tmp_path_factory.mktemp("apart"))
    ingest(store, "A", *on(MONDAY, "08:00", "17:00"))
    at("B", store, "18:00", "19:00", per_site=True)
    return store.database.where


@pytest.fixture
def told_apart(both_due_per_site: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(both_due_per_site, tmp_path, clock)


@pytest.mark.file_engine
def test_after_the_upgrade_nothing_delivered_is_told_until_it_changes(
    told_apart: Store, at_version_17: AtVersion17
) -> None:
    deliver(told_apart)
    store = at_version_17(told_apart)
    assert stale(store) == []
    process(store, MONDAY)
    assert deliver(store) == []
    assert states(store) == {"A": "delivered", "B": "delivered"}
    assert is_consistent(store)
    at("B", store, "20:00")
    assert [(one.record_per, *clocks(one)) for one in deliver(store)] == [
        ("person", "08:00", "20:00", "A", "192.0.2.1", 3)
    ]
    assert is_consistent(store)


@pytest.mark.file_engine
@pytest.mark.parametrize(
    "state", ["retry", *(pytest.param(state, marks=pytest.mark.matrix) for state in ("pending", "failed"))]
)
def test_after_the_upgrade_rows_that_were_not_told_yet_are_told_as_one(
    state: str, told_apart: Store, at_version_17: AtVersion17
) -> None:
    execute(told_apart, "UPDATE crm_deliveries SET state = CASE WHEN site = 'A' THEN ? ELSE 'delivered' END", [state])
    store = at_version_17(told_apart)
    assert deliver(store) == [], "not alone"
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    assert [clocks(one) for one in deliver(store)] == [("08:00", "19:00", "A", "192.0.2.1", 4)]
    assert is_consistent(store)


@pytest.mark.file_engine
def test_after_the_upgrade_a_retraction_does_not_take_away_what_another_site_has(
    told_apart: Store, at_version_17: AtVersion17
) -> None:
    deliver(told_apart)
    gone("A", told_apart, per_site=True)
    store = at_version_17(told_apart)
    assert deliver(store) == []
    process(store, *stale(store))
    assert [clocks(one) for one in deliver(store)] == [("18:00", "19:00", "B", "192.0.2.2", 4)]


@pytest.mark.file_engine
def test_after_the_upgrade_what_was_sent_before_it_goes_first(told_apart: Store, at_version_17: AtVersion17) -> None:
    deliver(told_apart, DeliveryState.RETRY, said="unknown", run="a")
    store = at_version_17(told_apart)
    process(store, *stale(store))
    sent = [clocks(one) for one in deliver(store, run="b")]
    assert sent[-1] == ("08:00", "19:00", "A", "192.0.2.1", 4)
    assert len(sent) == len(rows(store, "SELECT 1 FROM crm_deliveries WHERE state = 'delivered'"))
