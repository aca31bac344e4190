"""Changed hours of the settings: from the current date on, and on earlier dates only when asked for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path

import pytest

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.operations.process import process_dates
from zk_pipeline.operations.rejudge import preview_rejudge
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import StoppedClock, copied, device, ingest, rows

NINE, EIGHT = WorkRules(), WorkRules(start=time(8), end=time(16))
MONDAY = date(2026, 3, 2)
TUESDAY, WEDNESDAY = MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)
TUESDAY_EVENING = datetime(2026, 3, 3, 17, tzinfo=UTC)
JUDGED = "SELECT work_date, late_minutes, judged_by, revision FROM daily_attendance ORDER BY work_date, user_id"
STATE = """
    SELECT work_date::VARCHAR, latest_punch_seq::VARCHAR, processed_seq::VARCHAR FROM work_dates
    UNION ALL SELECT name, value, NULL FROM store_settings
    UNION ALL SELECT 'hours', valid_from::VARCHAR, start_time::VARCHAR FROM configured_hours ORDER BY ALL
"""
BY_NINE, BY_EIGHT = "09:00-18:00 (settings)", "08:00-16:00 (settings)"


@pytest.fixture(scope="module")
def two_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("two days"), StoppedClock(TUESDAY_EVENING))
    store.devices.add(device("Gate", timezone="Europe/Istanbul"))
    ingest(store, "Gate", *at(MONDAY, "08:30", "18:00"), *at(TUESDAY, "08:30", "18:00"))
    process(store, NINE)
    return store.database.where


@pytest.fixture
def store(two_days: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Monday and Tuesday processed by nine to six; it is Tuesday evening in Istanbul, where the gate is."""
    clock.now = TUESDAY_EVENING
    return copied(two_days, tmp_path, clock)


def at(day: date, *times: str, user: str = "1001") -> list[tuple[str, str]]:
    return [(user, f"{day} {one}") for one in times]


def process(store: Store, rules: WorkRules) -> list[date]:
    """Process what is stale by these rules of the settings."""
    store.punches.apply_settings(rules)
    dates = [one.work_date for one in store.days.stale(first=date.min, last=date.max)]
    assert process_dates(store, dates, rules, run_id=None).failed == {}
    return dates


def test_changed_hours_apply_to_the_current_date_and_not_to_earlier_ones(store: Store) -> None:
    assert store.days.stale_by(EIGHT, first=date.min, last=date.max) is None, "to be applied first"
    assert process(store, EIGHT) == [TUESDAY]
    assert rows(store, JUDGED) == [(MONDAY, 0, BY_NINE, 1), (TUESDAY, 30, BY_EIGHT, 2)]


def test_a_late_punch_brings_no_other_hours_to_an_earlier_date(store: Store) -> None:
    process(store, EIGHT)
    ingest(store, "Gate", *at(MONDAY, "08:30", "18:00"), *at(MONDAY, "09:10", "18:00", user="1002"))
    assert process(store, EIGHT) == [MONDAY]
    assert rows(store, JUDGED) == [
        (MONDAY, 0, BY_NINE, 1),
        (MONDAY, 10, BY_NINE, 1),
        (TUESDAY, 30, BY_EIGHT, 2),
    ]


def test_the_current_date_is_the_latest_of_all_terminals(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Samoa", timezone="Pacific/Pago_Pago"))  # still on Monday evening
    clock.now = datetime(2026, 3, 3, 5, tzinfo=UTC)
    assert process(store, EIGHT) == [TUESDAY]


def test_hours_that_are_changed_before_any_date_was_processed_apply_to_all(store: Store, clock: StoppedClock) -> None:
    clock.now += timedelta(days=30)
    with store.database.write("as before the first processing") as connection:
        connection.execute(
            "DELETE FROM daily_attendance; DELETE FROM daily_attendance_revisions; DELETE FROM crm_deliveries"
        )
        connection.execute("UPDATE work_dates SET processed_at = NULL, processed_seq = 0")
    assert process(store, EIGHT) == [MONDAY, TUESDAY]
    assert {judged_by for _, _, judged_by, _ in rows(store, JUDGED)} == {BY_EIGHT}


def test_hours_that_are_changed_twice_on_a_date_or_changed_back_leave_one_version(
    store: Store, clock: StoppedClock
) -> None:
    process(store, EIGHT)
    process(store, WorkRules(start=time(7), end=time(15)))
    process(store, NINE)
    assert [str(one) for one in store.days.configured_hours()] == ["09:00-18:00"]
    clock.now += timedelta(days=1)
    process(store, EIGHT)
    assert [one.valid_from for one in store.days.configured_hours()] == [date.min, WEDNESDAY]


def test_a_preview_names_what_would_change_and_changes_nothing_and_then_it_is_so(store: Store) -> None:
    process(store, EIGHT)
    before = rows(store, JUDGED)
    (day,) = preview_rejudge(store, EIGHT, MONDAY, TUESDAY)
    assert (day.site, day.user_id, day.work_date) == ("Gate", "1001", MONDAY)
    assert day.changes == {"late_minutes": (0, 30), "judged_by": (BY_NINE, BY_EIGHT)}
    assert rows(store, JUDGED) == before
    assert store.days.stale(first=date.min, last=date.max) == []

    store.punches.rejudge(EIGHT, MONDAY, MONDAY)
    assert process(store, EIGHT) == [MONDAY]
    assert rows(store, JUDGED) == [(MONDAY, 30, BY_EIGHT, 2), (TUESDAY, 30, BY_EIGHT, 2)]
    assert preview_rejudge(store, EIGHT, MONDAY, TUESDAY) == []


@pytest.mark.parametrize(
    ("changed", "has_shifts"),
    [
        (EIGHT, False),
        (WorkRules(workday_starts_at=time(10), workday_is_set=True), False),
        (WorkRules(start=time(22), end=time(6)), True),
    ],
)
def test_the_status_lists_the_dates_that_changed_settings_make_stale_and_changes_nothing(
    store: Store, clock: StoppedClock, changed: WorkRules, has_shifts: bool
) -> None:
    if has_shifts:
        store.shifts.add(Shift(name="day", start=time(9), end=time(18)))
        store.shifts.assign(Assignment(shift="day", target=Target(user_id="1001"), valid_from=TUESDAY))
        process(store, NINE)
    ingest(store, "Gate", *at(MONDAY, "11:00", user="1002"))
    before = rows(store, STATE)
    read = partial(store.overview.status, first=date(2020, 1, 1), last=date(2030, 1, 1), now=clock.now)
    unchanged = read(NINE)
    assert (unchanged.stale, unchanged.stale_by_settings) == ([MONDAY], [])
    status = read(changed)
    assert rows(store, STATE) == before
    assert status.stale_by_settings == [day for day in status.stale if day != MONDAY] != []
    assert process(store, changed) == status.stale


def test_only_the_dates_asked_for_are_judged_by_other_hours(store: Store, clock: StoppedClock) -> None:
    ingest(store, "Gate", *at(WEDNESDAY, "08:30", "18:00"))
    clock.now += timedelta(days=30)
    process(store, EIGHT)
    store.punches.rejudge(EIGHT, TUESDAY, TUESDAY)
    assert process(store, EIGHT) == [TUESDAY]
    assert [row[:3] for row in rows(store, JUDGED)] == [
        (MONDAY, 0, BY_NINE),
        (TUESDAY, 30, BY_EIGHT),
        (WEDNESDAY, 0, BY_NINE),
    ]


def test_a_day_that_other_hours_leave_as_it_is_names_them_without_a_revision(store: Store) -> None:
    later = WorkRules(start=time(9), end=time(17))
    assert process(store, later) == [TUESDAY]
    assert rows(store, JUDGED)[-1] == (TUESDAY, 0, "09:00-17:00 (settings)", 1)
    assert rows(store, "SELECT count(*) FROM crm_deliveries") == [(2,)]
    assert rows(store, "SELECT DISTINCT judged_by FROM daily_attendance_revisions WHERE work_date = '2026-03-03'") == [
        ("09:00-17:00 (settings)",)
    ]
