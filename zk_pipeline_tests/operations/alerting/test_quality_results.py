"""Data checks: each passes over a consistent store, and fails for its own problem."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from zk_pipeline.operations.alerting.problems import FailedCheck, Links, check_problems
from zk_pipeline.operations.alerting.quality_checks import CHECKS
from zk_pipeline.operations.alerting.quality_results import (
    CheckResult,
    evaluate_backlog,
    evaluate_coverage,
    evaluate_facts,
    evaluate_freshness,
    evaluate_terminals,
    max_silence,
)
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.queries.terminal_health import TerminalHealth, terminal_health
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    ALL,
    LONG_AFTER,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
)

TODAY = LONG_AFTER.date()
YESTERDAY = TODAY - timedelta(days=1)
WEEKS = [TODAY - timedelta(days=number) for number in range(1, 36)]
WELL = TerminalHealth(
    device="Gate",
    read_at=datetime(2026, 3, 2, 8, tzinfo=UTC),
    reported=100,
    records_accounted_for=102,
    clock_drift_seconds=-59.9,
    fill=0.79,
    error=None,
)
PEOPLE = [(str(number), number, f"Person {number}", 0, 0) for number in range(1, 6)]


def verdicts(store: Store) -> dict[str, CheckResult]:
    found, now = store.quality.freshness(**ALL), store.clock()
    results = [
        *evaluate_freshness(found, now, silence=max_silence(15)),
        *evaluate_facts(store.quality.facts(today=TODAY)),
        *evaluate_terminals(terminal_health(store.database)),
        *evaluate_coverage(store.days.dates_outside(**ALL)),
        *evaluate_backlog(store.deliveries.dead_letters(), store.deliveries.late(due_before=now - timedelta(1)), now),
    ]
    return {one.check.name: one for one in results}


def failing(store: Store) -> dict[str, list[str]]:
    return {name: list(one.problems) for name, one in verdicts(store).items() if not one.passed}


@pytest.fixture(scope="module")
def well_file(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    clock = StoppedClock()
    store = copied(empty_store_file, tmp_path_factory.mktemp("well"), clock)
    clock.go(hours=-11)  # the last of these days is over
    for name in ("North", "South"):
        store.devices.add(device(name, site="HQ"))
    punches = [one for day in WEEKS for person in PEOPLE for one in on(day, "09:00", "18:00", user_id=person[0])]
    ingest(store, "North", *punches, users=PEOPLE)
    ingest(store, "South", users=PEOPLE[:2])
    process(store, *WEEKS)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered'")
    clock.go(hours=11)
    ingest(store, "North")
    ingest(store, "South")
    return store.database.where


@pytest.fixture
def well(well_file: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Two devices of one site, five users present each day of five weeks; all processed and delivered, just polled."""
    return copied(well_file, tmp_path, clock)


def test_over_a_store_that_is_well_every_check_passes_and_says_its_numbers(well: Store) -> None:
    assert failing(well) == {}
    found = verdicts(well)
    assert set(found) == {check.name for check in CHECKS}
    assert found["terminals_read_in_time"].measured == {"terminals": 2, "minutes": 0}
    assert found["outliers_are_as_usual"].measured == {"outlier_percent": 0.0}


def failing_terminals(*health: TerminalHealth) -> dict[str, list[str]]:
    return {one.check.name: list(one.problems) for one in evaluate_terminals(health) if not one.passed}


def test_a_terminal_that_is_well_fails_no_check() -> None:
    assert failing_terminals(WELL) == {}


@pytest.mark.parametrize(
    ("ill", "check", "problem"),
    [
        ({"records_accounted_for": 97}, "every_record_accounted_for", "3 of 100 records are not in the store"),
        (
            {"error": "it fell silent"},
            "every_record_accounted_for",
            "no successful poll since 2026-03-02 08:00 UTC: it fell silent",
        ),
        ({"clock_drift_seconds": 60.0}, "clock_drift_within_limit", "off by 60 s"),
        ({"clock_drift_seconds": -420.0}, "clock_drift_within_limit", "off by -420 s"),
        ({"clock_drift_seconds": None}, "clock_drift_within_limit", "its clock shows no valid date"),
        ({"fill": 0.8}, "log_capacity_available", "filled to 80%"),
    ],
)
def test_each_check_names_the_terminal_that_fails_it_and_says_why(
    ill: dict[str, object], check: str, problem: str
) -> None:
    found = failing_terminals(replace(WELL, device="Yard"), replace(WELL, **ill))  # type: ignore[arg-type]
    assert found == {check: [f"Gate: {problem}"]}


def test_the_checks_of_the_terminals_measure_the_worst_of_them() -> None:
    other = replace(WELL, device="Yard", records_accounted_for=93, clock_drift_seconds=12.0, fill=0.2)
    assert [one.measured for one in evaluate_terminals([WELL, other])] == [
        {"terminals": 2, "missing_records": 7},
        {"terminals": 2, "max_drift_seconds": 59.9},
        {"terminals": 2, "max_fill_percent": 79.0},
    ]


def test_a_terminal_that_was_never_read_is_incomplete_and_nothing_else() -> None:
    unread = TerminalHealth("Gate", None, None, None, None, None, "no route")
    assert failing_terminals(unread) == {
        "every_record_accounted_for": ["Gate: never polled successfully: no route"],
    }


def test_an_empty_store_is_well(store: Store) -> None:
    assert failing(store) == {}


def test_every_check_says_what_holds_and_what_to_do() -> None:
    for check in CHECKS:
        assert check.expectation.endswith("."), check.name
        assert len(check.remedy) > 20, check.name
        assert check.severity in ("ERROR", "WARN")
    assert {check.name for check in CHECKS if check.blocking} == {
        "schema_matches_migrations",
        "punches_unique",
        "attendance_rows_consistent",
    }


def test_a_terminal_that_was_not_read_for_45_minutes_is_late(well: Store, clock: StoppedClock) -> None:
    clock.go(minutes=45)
    assert failing(well) == {}
    clock.go(minutes=1)
    ingest(well, "South")
    assert failing(well) == {"terminals_read_in_time": ["North: not read for 46 min"]}


def test_where_polls_are_rarer_a_terminal_may_be_silent_for_three_of_them() -> None:
    assert max_silence(60) == timedelta(hours=3)
    assert max_silence(1) == timedelta(minutes=45)


def test_a_date_that_waits_for_2_hours_after_new_punches_is_late_and_a_backfill_of_others_does_not_hide_it(
    well: Store, clock: StoppedClock
) -> None:
    ingest(well, "North", *on(TODAY, "09:00", user_id="1"))
    clock.go(hours=2)
    assert "dates_processed_in_time" not in failing(well)
    clock.go(minutes=1)
    process(well, *WEEKS)  # a backfill of old dates does not make today fresh
    ingest(well, "North", *on(TODAY, "12:00", user_id="1"))  # nor do still newer punches
    assert failing(well)["dates_processed_in_time"] == [f"{TODAY}: has waited for 2 h 1 min"]
    process(well, TODAY)
    assert "dates_processed_in_time" not in failing(well)


def test_a_date_that_is_over_and_was_not_judged_again_is_late(well: Store, clock: StoppedClock) -> None:
    ingest(well, "North", *on(TODAY, "09:00", user_id="1"))
    process(well, TODAY)
    clock.go(hours=12)  # midnight
    assert "dates_processed_in_time" not in failing(well)
    clock.go(hours=2, minutes=1)
    assert failing(well)["dates_processed_in_time"] == [f"{TODAY}: has waited for 2 h 1 min"]


@pytest.mark.parametrize(
    "state", ["retry", *(pytest.param(state, marks=pytest.mark.matrix) for state in ("pending", "sending"))]
)
def test_a_delivery_that_is_due_for_more_than_2_hours_is_late(well: Store, clock: StoppedClock, state: str) -> None:
    ingest(well, "North", *on(TODAY, "09:00", user_id="1"))
    process(well, TODAY)
    execute(well, f"UPDATE crm_deliveries SET state = '{state}' WHERE state = 'pending'")
    clock.go(hours=2)
    assert "days_delivered_in_time" not in failing(well)
    clock.go(minutes=1)
    assert failing(well)["days_delivered_in_time"] == ["1 delivery is due, the oldest for 2 h 1 min"]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("ALTER TABLE daily_attendance ALTER punch_count TYPE BIGINT", "daily_attendance.punch_count is BIGINT, not"),
        ("ALTER TABLE alerts DROP COLUMN body", "alerts.body is missing"),
        ("DROP TABLE device_log_positions", "the table device_log_positions is missing"),
        (
            "INSERT INTO devices SELECT * FROM devices WHERE name = 'North'",
            "devices: values of name are there more than once: 1",
        ),
        (
            "INSERT INTO work_dates SELECT * FROM work_dates LIMIT 1",
            "work_dates: values of work_date are there more than once: 1",
        ),
    ],
)
def test_tables_that_are_not_what_they_should_be_are_named(well: Store, broken: str, problem: str) -> None:
    execute(well, broken)
    (found, *_) = failing(well)["schema_matches_migrations"]
    assert found.startswith(problem)


def test_a_punch_that_is_there_twice_is_found_also_when_its_twin_is_old(well: Store) -> None:
    execute(well, "UPDATE raw_punches SET created_at = '2026-05-01 11:00:00+00'")
    twin = "SELECT * REPLACE (TIMESTAMPTZ '2026-06-01 11:00:00+00' AS created_at) FROM raw_punches LIMIT 1"
    execute(well, f"INSERT INTO raw_punches {twin}")
    assert failing(well) == {"punches_unique": ["1 punch stored more than once"]}


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (
            "INSERT INTO daily_attendance SELECT * FROM daily_attendance WHERE work_date = ? LIMIT 1",
            "more than one day",
        ),
        ("UPDATE daily_attendance SET clock_out = '2020-01-01' WHERE work_date = ?", "ends before it begins"),
        ("UPDATE daily_attendance SET payload_hash = 'other' WHERE work_date = ?", "not what its history says"),
        (
            "INSERT INTO daily_attendance_revisions FROM daily_attendance_revisions WHERE work_date = ? LIMIT 1",
            "a revision is there twice",
        ),
        (
            "INSERT INTO crm_deliveries SELECT * REPLACE ('x' AS idempotency_key) FROM crm_deliveries "
            "WHERE work_date = ? LIMIT 1",
            "more than one delivery",
        ),
        ("UPDATE crm_deliveries SET idempotency_key = 'x' WHERE work_date = ?", "two deliveries share a key"),
    ],
)
def test_a_date_whose_rows_break_a_rule_is_named(well: Store, broken: str, problem: str) -> None:
    process(well, YESTERDAY)
    execute(well, broken, [YESTERDAY])
    (found,) = failing(well)["attendance_rows_consistent"]
    assert found.startswith(f"{YESTERDAY}: ")
    assert problem in found


def test_records_that_were_quarantined_lately_are_counted_by_device(well: Store, clock: StoppedClock) -> None:
    ingest(well, "South", rejected=[b"a", b"b"])
    assert failing(well) == {"quarantine_is_not_growing": ["South: 2 records"]}
    execute(well, "UPDATE quarantined_records SET released_at = created_at WHERE raw = 'a'")
    assert failing(well) == {"quarantine_is_not_growing": ["South: 1 record"]}
    clock.go(hours=25)
    ingest(well, "South", rejected=[b"a", b"b"])  # still in its log, and no news
    assert "quarantine_is_not_growing" not in failing(well)


def test_an_id_that_two_people_of_a_site_share_is_named(well: Store) -> None:
    ingest(well, "South", users=[("1", 1, " PERSON 1", 0, 0), ("2", 2, "Second Name", 0, 0), ("3", 3, "", 0, 0)])
    assert failing(well) == {"user_id_unique_per_site": ["HQ: 2 is Person 2 / Second Name"]}
    well.devices.update("South", site="Elsewhere")
    assert "user_id_unique_per_site" not in failing(well)


def test_an_id_with_other_names_at_two_sites_is_named_and_told_to_people(well: Store) -> None:
    well.devices.update("South", site="Elsewhere")
    ingest(well, "South", users=[("1", 1, "person, 1", 0, 0), ("2", 2, "Ben Stone", 0, 0), ("3", 3, "", 0, 0)])
    ingest(well, "North", users=[("1", 1, "Person 1", 0, 0), ("2", 2, "Ali Kaya", 0, 0), *PEOPLE[2:]])
    name = "user_id_unique_across_sites"
    assert failing(well) == {name: ["2 is Elsewhere: Ben Stone / HQ: Ali Kaya"]}
    found = verdicts(well)[name]
    (problem,) = check_problems([FailedCheck(found.check.asset, name, found.check.severity, "words")], Links())
    assert (problem.key, problem.owner) == (f"check:crm_sync:{name}", "crm")


def test_people_at_several_sites_on_one_date_are_shown_without_an_alert(well: Store) -> None:
    well.devices.update("South", site="Elsewhere")
    ingest(well, "South", *on(YESTERDAY, "10:00", user_id="1"), *on(YESTERDAY, "10:00", user_id="2"))
    process(well, YESTERDAY)
    name = "one_site_per_user_and_date"
    assert failing(well)[name] == [f"{user}: 1 date, such as at Elsewhere, HQ" for user in "12"]
    assert check_problems([FailedCheck("crm_sync", name, "WARN", "words")], Links()) == []


def test_punches_of_nobody_enrolled_are_named_but_not_where_no_list_was_read(well: Store) -> None:
    ingest(well, "South", *on(YESTERDAY, "10:00", user_id="5"), *on(YESTERDAY, "10:00", user_id="77"))
    well.devices.add(device("Old", site="Yard"))
    ingest(well, "Old", *on(YESTERDAY, "10:00", user_id="78"))
    assert failing(well)["punches_from_enrolled_users"] == ["South: 77, 1 punch"]


def test_a_usual_work_day_without_anybody_is_named(well: Store) -> None:
    execute(well, "DELETE FROM daily_attendance WHERE work_date = ?", [YESTERDAY])
    assert failing(well) == {"work_days_have_punches": [f"HQ: no punches on {YESTERDAY:%A}, {YESTERDAY}"]}


def test_a_weekday_that_is_often_free_may_be_empty(well: Store) -> None:
    for weeks in (0, 1, 2):
        execute(well, "DELETE FROM daily_attendance WHERE work_date = ?", [YESTERDAY - timedelta(weeks=weeks)])
    assert f"HQ: no punches on {YESTERDAY:%A}, {YESTERDAY}" not in failing(well).get("work_days_have_punches", [])


@pytest.mark.parametrize("column", ["is_outlier", "is_incomplete"])
def test_a_date_with_far_more_outliers_or_incomplete_days_than_the_month_before_is_named(
    well: Store, column: str
) -> None:
    execute(well, f"UPDATE daily_attendance SET {column} = true WHERE work_date = ? AND user_id < '4'", [YESTERDAY])
    problem = f"{YESTERDAY}: 60% of 5 rows are outliers or incomplete, 0% before"
    assert failing(well) == {"outliers_are_as_usual": [problem]}


def test_a_day_that_is_revised_all_the_time_is_named(well: Store, clock: StoppedClock) -> None:
    for minute in range(2):
        ingest(well, "North", *on(TODAY, f"10:{minute:02}", user_id="1"))
        process(well, TODAY)
        clock.go(seconds=1)
    copies = (
        "SELECT * EXCLUDE (made) REPLACE (revision + made AS revision) "
        "FROM daily_attendance_revisions, range(1, 12) AS r(made)"
    )
    execute(
        well, f"INSERT INTO daily_attendance_revisions BY NAME {copies} WHERE work_date = ? AND revision = 2", [TODAY]
    )
    assert failing(well)["no_revision_churn"] == [f"{TODAY}: 1 at HQ, 13 revisions"]


def test_what_is_held_is_let_go_once_it_was_made_anew(well: Store) -> None:
    process(well, YESTERDAY)
    execute(
        well, "INSERT INTO daily_attendance SELECT * FROM daily_attendance WHERE work_date = ? LIMIT 1", [YESTERDAY]
    )
    assert list(well.quality.block_relevant_dates()) == [YESTERDAY]
    assert list(well.quality.block_inconsistent([])) == []
    assert list(well.quality.blocked_dates()) == [YESTERDAY], "others were looked at"
    process(well, date(2026, 5, 1))
    assert list(well.quality.blocked_dates()) == [YESTERDAY], "others were made"
    process(well, YESTERDAY)
    assert (well.quality.blocked_dates(), failing(well)) == ({}, {})
