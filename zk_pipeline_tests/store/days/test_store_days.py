"""Days as they are written: content, revisions, history, and what becomes due for the CRM."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
)

DAYS = (
    "SELECT site, device, user_id, work_date, clock_in_local::TIME::VARCHAR, clock_out_local::TIME::VARCHAR, "
    "punch_count FROM daily_attendance ORDER BY ALL"
)
REVISIONS = "SELECT user_id, revision, created_at, updated_at FROM daily_attendance ORDER BY ALL"
DELIVERIES = "SELECT site, user_id, revision, state FROM crm_deliveries ORDER BY site, user_id, revision"


def at(hour: int, minute: int = 0, day: date = MONDAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)


def test_a_day_is_the_first_and_the_last_punch_of_a_person_at_a_site(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "12:30", "08:00:30", "17:45", "12:00"), *on(MONDAY, "09:00", user_id="1002"))
    done = process(store, MONDAY)
    assert done.written == [DateWritten(MONDAY, rows=2, added=2, changed=0, unchanged=0, retracted=0)]
    assert (done.failed, done.overtaken) == ({}, [])
    assert rows(store, DAYS) == [
        ("Gate", "Gate", "1001", MONDAY, "08:00:30", "17:45:00", 4),
        ("Gate", "Gate", "1002", MONDAY, "09:00:00", None, 1),
    ]
    assert rows(
        store,
        "SELECT clock_in, clock_out, worked_minutes, is_incomplete, outlier_codes, outlier_reason, timezone, run_id "
        "FROM daily_attendance ORDER BY user_id",
    ) == [
        (datetime(2026, 3, 2, 8, 0, 30, tzinfo=UTC), at(17, 45), 584, False, [], "", "UTC", "process run"),
        (at(9), None, None, True, ["MISSING_CLOCK_OUT"], "No clock-out after the punch at 09:00", "UTC", "process run"),
    ]


def test_in_at_one_gate_and_out_at_another_of_the_same_site_is_one_day(store: Store) -> None:
    store.devices.add(device("North gate", site="HQ"))
    store.devices.add(device("South gate", site="HQ"))
    store.devices.add(device("Warehouse"))
    ingest(store, "North gate", *on(MONDAY, "08:00"))
    ingest(store, "South gate", *on(MONDAY, "17:00"))
    ingest(store, "Warehouse", *on(MONDAY, "12:00"))
    process(store, MONDAY)
    assert rows(store, DAYS) == [
        ("HQ", "North gate", "1001", MONDAY, "08:00:00", "17:00:00", 2),
        ("Warehouse", "Warehouse", "1001", MONDAY, "12:00:00", None, 1),
    ]


def test_punches_close_together_count_once_across_the_gates_of_a_site(store: Store) -> None:
    store.devices.add(device("North gate", site="HQ"))
    store.devices.add(device("South gate", site="HQ"))
    ingest(store, "North gate", *on(MONDAY, "08:00:00", "08:00:59", "17:00:00"))
    ingest(store, "South gate", *on(MONDAY, "08:00:00", "17:01:00"))
    process(store, MONDAY)
    assert rows(store, DAYS) == [("HQ", "North gate", "1001", MONDAY, "08:00:00", "17:01:00", 3)]


def test_several_dates_are_made_at_once_and_only_those_asked_for(store: Store) -> None:
    store.devices.add(device())
    days = [MONDAY + timedelta(days=n) for n in range(4)]
    for day in days:
        ingest(store, "Gate", *on(day, "08:00", "17:00"))
    done = process(store, days[0], days[3], days[1])
    assert [item.work_date for item in done.written] == [days[0], days[1], days[3]]
    assert rows(store, "SELECT work_date FROM daily_attendance ORDER BY 1") == [(days[0],), (days[1],), (days[3],)]


def test_a_date_without_punches_is_made_without_rows(store: Store) -> None:
    assert process(store, MONDAY).written == [DateWritten(MONDAY, 0, 0, 0, 0, 0)]
    assert process(store).written == []


def test_content_that_did_not_change_keeps_its_revision_and_its_time(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(MONDAY, "08:00", "17:00", user_id="1002"))
    process(store, MONDAY)
    clock.go(hours=1)
    again = process(store, MONDAY, run_id="another run")
    assert again.written == [DateWritten(MONDAY, rows=2, added=0, changed=0, unchanged=2, retracted=0)]
    ingest(store, "Gate", *on(MONDAY, "17:30", user_id="1002"))
    third = process(store, MONDAY, run_id="another run")
    assert third.written == [DateWritten(MONDAY, rows=2, added=0, changed=1, unchanged=1, retracted=0)]
    assert rows(store, REVISIONS) == [("1001", 1, LONG_AFTER, LONG_AFTER), ("1002", 2, LONG_AFTER, clock.now)]
    assert rows(store, "SELECT run_id FROM daily_attendance ORDER BY user_id") == [("process run",), ("another run",)]


def test_changed_content_is_the_next_revision_with_its_history_and_a_delivery(store: Store) -> None:
    store.devices.add(device())
    for log in (["08:00"], ["08:00", "17:00"], ["07:30", "08:00", "17:00"]):
        ingest(store, "Gate", *on(MONDAY, *log))
        process(store, MONDAY)
    assert rows(
        store, "SELECT revision, clock_in_local::TIME::VARCHAR, punch_count FROM daily_attendance_revisions ORDER BY 1"
    ) == [(1, "08:00:00", 1), (2, "08:00:00", 2), (3, "07:30:00", 3)]
    assert rows(store, DELIVERIES) == [
        ("Gate", "1001", 1, "superseded"),
        ("Gate", "1001", 2, "superseded"),
        ("Gate", "1001", 3, "pending"),
    ]
    ids = rows(store, "SELECT DISTINCT id FROM daily_attendance_revisions UNION SELECT id FROM daily_attendance")
    assert ids == [(1,)]
    hashes = rows(store, "SELECT count(DISTINCT payload_hash) FROM daily_attendance_revisions")
    keys = rows(store, "SELECT count(DISTINCT idempotency_key) FROM crm_deliveries")
    assert hashes == keys == [(3,)]


def test_a_new_revision_supersedes_the_older_delivery_unless_the_crm_may_have_it(store: Store) -> None:
    states = ("delivered", "failed", "pending", "retry", "sending")  # each that of a user named like it
    store.devices.add(device())
    ingest(store, "Gate", *((state, f"{MONDAY} 08:00") for state in states))
    process(store, MONDAY)
    execute(store, "UPDATE crm_deliveries SET state = user_id")
    ingest(store, "Gate", *((state, f"{MONDAY} 17:00") for state in states))
    process(store, MONDAY)
    assert rows(store, DELIVERIES) == [
        ("Gate", state, revision, found)
        for state in states
        for revision, found in ((1, state if state in ("delivered", "sending") else "superseded"), (2, "pending"))
    ]


def test_every_person_and_date_has_a_number_of_its_own_that_stays(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(MONDAY, "08:00", user_id="1002"))
    process(store, MONDAY)
    ingest(store, "Gate", *on(MONDAY, "09:00", user_id="1000"), *on(MONDAY, "17:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    numbers = "SELECT user_id, work_date, id FROM daily_attendance ORDER BY id"
    assert rows(store, numbers) == [
        ("1001", MONDAY, 1),
        ("1002", MONDAY, 2),
        ("1000", MONDAY, 3),
        ("1001", TUESDAY, 4),
    ]


def test_a_device_that_moves_to_another_site_retracts_the_old_days_and_makes_new_ones(store: Store) -> None:
    store.devices.add(device(site="Old"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    process(store, MONDAY)
    store.devices.update("Gate", site="New")
    done = process(store, MONDAY)
    assert done.written == [DateWritten(MONDAY, rows=1, added=1, changed=0, unchanged=0, retracted=1)]
    assert rows(store, DAYS) == [("New", "Gate", "1001", MONDAY, "08:00:00", "17:00:00", 2)]
    assert rows(
        store,
        "SELECT site, revision, is_retracted, clock_in, punch_count FROM daily_attendance_revisions ORDER BY 1, 2",
    ) == [("New", 3, False, at(8), 2), ("Old", 1, False, at(8), 2), ("Old", 2, True, None, 0)]
    assert rows(store, DELIVERIES) == [
        ("New", "1001", 3, "pending"),
        ("Old", "1001", 1, "superseded"),
    ]
    assert process(store, MONDAY).written == [DateWritten(MONDAY, 1, 0, 0, 1, 0)]


def test_a_day_that_comes_back_goes_on_with_its_number_and_revisions(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device(site="Old"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    for site in ("Old", "New", "Old"):
        store.devices.update("Gate", site=site)
        process(store, MONDAY)
        clock.go(hours=1)
    assert rows(store, "SELECT site, id, revision, created_at FROM daily_attendance") == [("Old", 1, 5, LONG_AFTER)]
    held = rows(store, "SELECT revision, is_retracted FROM daily_attendance_revisions WHERE site = 'New' ORDER BY 1")
    assert held == [(3, False), (4, True)]


def test_another_zone_makes_a_new_revision_with_the_same_wall_clocks(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    process(store, MONDAY)
    store.devices.update("Gate", timezone="Europe/Istanbul")
    process(store, MONDAY)
    assert rows(store, "SELECT revision, clock_in, clock_in_local, timezone FROM daily_attendance") == [
        (2, at(5), datetime.fromisoformat("2026-03-02 08:00"), "Europe/Istanbul")
    ]


def test_a_day_with_a_clock_change_is_as_long_as_it_was(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2027, 1, 1, tzinfo=UTC)
    store.devices.add(device(timezone="Europe/Berlin"))
    minutes = [(date(2026, 3, 29), 7 * 60), (date(2026, 5, 4), 8 * 60), (date(2026, 10, 25), 9 * 60)]
    ingest(store, "Gate", *(punch for day, _ in minutes for punch in on(day, "01:00", "09:00")))
    process(store, *(day for day, _ in minutes))
    assert rows(store, "SELECT work_date, worked_minutes FROM daily_attendance ORDER BY 1") == minutes


def test_the_processed_view_shows_the_day_with_the_delivery_of_its_current_revision(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    process(store, MONDAY)
    delivered_once = (
        "UPDATE crm_deliveries SET state = 'delivered', attempts = 2, last_attempt_at = ? WHERE revision = 1"
    )
    execute(store, delivered_once, [LONG_AFTER])
    view = (
        "SELECT device, device_name, date, revision, synced_to_crm, sync_state, sync_attempts, last_sync_attempt "
        "FROM processed_attendance"
    )
    assert rows(store, view) == [(1, "Gate", MONDAY, 1, True, "delivered", 2, LONG_AFTER)]
    ingest(store, "Gate", *on(MONDAY, "17:00"))
    process(store, MONDAY)
    assert rows(store, view) == [(1, "Gate", MONDAY, 2, False, "pending", 0, None)]
