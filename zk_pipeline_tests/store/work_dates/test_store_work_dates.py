"""Stale work dates: exactly those whose rows do not follow from their punches."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import pytest

from zk_pipeline.attendance.evaluate import evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    ALL,
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    ingest,
    on,
    process,
    rows,
    stale,
)

WEDNESDAY = date(2026, 3, 4)
DAYS = "SELECT user_id, work_date, clock_in_local::VARCHAR, clock_out_local::VARCHAR FROM daily_attendance ORDER BY ALL"


def test_exactly_the_dates_with_new_punches_are_stale_and_processing_settles_them(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(WEDNESDAY, "08:00"))
    assert stale(store) == [MONDAY, WEDNESDAY]
    process(store, MONDAY, WEDNESDAY)
    assert stale(store) == []
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(WEDNESDAY, "08:00"))
    assert stale(store) == []


def test_late_and_backdated_punches_make_their_own_dates_stale_and_no_others(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(TUESDAY, "08:00"), *on(WEDNESDAY, "08:00"))
    process(store, MONDAY, TUESDAY, WEDNESDAY)
    ingest(store, "Gate", *on(TUESDAY, "07:00"), *on(date(2021, 5, 5), "09:00"))
    assert stale(store) == [date(2021, 5, 5), TUESDAY]


def test_a_person_of_the_same_second_makes_the_date_stale_again(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    process(store, MONDAY)
    ingest(store, "Gate", *on(MONDAY, "08:00", user_id="1002"))
    assert stale(store) == [MONDAY]


def test_a_date_before_the_first_partition_keeps_nothing_else_from_being_found(store: Store) -> None:
    store.devices.add(device())
    early = date(2019, 1, 1)
    ingest(store, "Gate", *on(early, "08:00"))
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    since_2020 = {"first": date(2020, 1, 1), "last": date(2026, 6, 2)}
    assert [item.work_date for item in store.days.stale(**since_2020)] == [MONDAY]
    assert store.days.dates_outside(**since_2020) == [early]
    assert store.days.dates_outside(**ALL) == []


@pytest.mark.parametrize("day", [date(2000, 1, 1), date(2099, 1, 1)])
def test_a_punch_of_a_clock_that_jumped_is_kept_and_marked_and_is_part_of_no_day(day: date, store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(day, "08:00"), *on(MONDAY, "08:00"))
    kept = rows(store, "SELECT punched_at_local::DATE, is_clock_suspect FROM raw_punches ORDER BY 2")
    assert kept == [(MONDAY, False), (day, True)]
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    ingest(store, "Gate", *on(TUESDAY, "08:00"))
    assert stale(store) == [TUESDAY]


def test_a_zone_set_right_frees_the_punches_that_the_wrong_one_put_into_the_future(
    store: Store, clock: StoppedClock
) -> None:
    clock.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    store.devices.add(device(timezone="Pacific/Pago_Pago"))
    ingest(store, "Gate", *on(MONDAY, "13:00"))
    assert stale(store) == []
    store.devices.update("Gate", timezone="Pacific/Kiritimati")
    assert stale(store) == [MONDAY]


def test_a_stale_date_is_told_with_its_newest_sequence_number(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    before = store.days.stale(**ALL)
    ingest(store, "Gate", *on(MONDAY, "17:00"))
    assert [item.latest_punch_seq for item in before + store.days.stale(**ALL)] == [1, 2]


def test_a_punch_that_comes_while_a_date_is_computed_leaves_it_stale(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    held = store.days.summarize([MONDAY], workday_starts_at=time(0), debounce_seconds=60)
    ingest(store, "Gate", *on(MONDAY, "17:00"))
    judged = evaluate_days(held.frame, WorkRules(), store.clock())
    store.days.write(judged.days, seq=held.seq, reprocess_after=judged.reprocess_after, run_id=None)
    assert stale(store) == [MONDAY]


def test_a_run_that_was_overtaken_by_one_with_newer_punches_changes_nothing(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(TUESDAY, "08:00"))
    slow = store.days.summarize([MONDAY, TUESDAY], workday_starts_at=time(0), debounce_seconds=60)
    ingest(store, "Gate", *on(MONDAY, "17:00"))
    process(store, MONDAY)
    before = rows(store, DAYS)
    judged = evaluate_days(slow.frame, WorkRules(), store.clock())
    written = store.days.write(judged.days, seq=slow.seq, reprocess_after=judged.reprocess_after, run_id="slow")
    assert [item.work_date for item in written] == [TUESDAY]
    assert rows(store, DAYS)[:1] == before
    assert stale(store) == []


def test_a_date_judged_before_it_was_over_is_judged_again_when_it_is(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device(timezone="Europe/Istanbul"))
    ingest(store, "Gate", *on(MONDAY, "09:00"))
    clock.now = datetime(2026, 3, 2, 15, tzinfo=UTC)
    process(store, MONDAY)
    codes = "SELECT revision, is_incomplete, outlier_codes FROM daily_attendance"
    assert rows(store, codes) == [(1, True, [])]
    assert stale(store) == []
    clock.now = datetime(2026, 3, 2, 20, 59, 59, tzinfo=UTC)
    assert stale(store) == []
    clock.go(seconds=1)  # midnight in Istanbul
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    assert rows(store, codes) == [(2, True, ["MISSING_CLOCK_OUT"])]
    assert stale(store) == []


def test_a_date_that_is_over_in_one_zone_only_is_judged_again_zone_by_zone(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Tokyo", timezone="Asia/Tokyo"))
    store.devices.add(device("New York", timezone="America/New_York"))
    for name in ("Tokyo", "New York"):
        ingest(store, name, *on(MONDAY, "09:00"))
    clock.now = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)
    process(store, MONDAY)
    clock.go(minutes=30)
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    codes = "SELECT site, outlier_codes FROM daily_attendance ORDER BY ALL"
    assert rows(store, codes) == [("New York", []), ("Tokyo", ["MISSING_CLOCK_OUT"])]
    clock.now = datetime(2026, 3, 3, 5, tzinfo=UTC)
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    assert rows(store, codes) == [("New York", ["MISSING_CLOCK_OUT"]), ("Tokyo", ["MISSING_CLOCK_OUT"])]


def test_a_complete_date_needs_no_second_look(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "09:00", "18:00"))
    clock.now = datetime(2026, 3, 2, 19, tzinfo=UTC)
    process(store, MONDAY)
    clock.go(days=3)
    assert stale(store) == []


def test_another_workday_start_regroups_every_punch(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "22:00"), *on(TUESDAY, "06:00", "22:00"), *on(WEDNESDAY, "06:00"))
    process(store, MONDAY, TUESDAY, WEDNESDAY)
    store.punches.apply_workday_start(time(14))
    assert stale(store) == [MONDAY, TUESDAY, WEDNESDAY]
    process(store, MONDAY, TUESDAY, WEDNESDAY, workday_starts_at=time(14))
    assert rows(store, DAYS) == [
        ("1001", MONDAY, "2026-03-02 22:00:00", "2026-03-03 06:00:00"),
        ("1001", TUESDAY, "2026-03-03 22:00:00", "2026-03-04 06:00:00"),
    ]
    retracted = "SELECT work_date FROM daily_attendance_revisions WHERE is_retracted"
    assert rows(store, retracted) == [(WEDNESDAY,)]
    assert stale(store) == []
    store.punches.apply_workday_start(time(14))
    assert stale(store) == []


def test_a_date_that_lost_all_its_punches_is_emptied_also_when_made_alone(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(TUESDAY, "02:00"))
    process(store, TUESDAY)
    store.punches.apply_workday_start(time(4))
    done = process(store, TUESDAY, workday_starts_at=time(4))
    assert (done.failed, done.written) == ({}, [DateWritten(TUESDAY, 0, 0, 0, 0, retracted=1)])
    assert rows(store, DAYS) == []


def test_another_workday_start_finds_dates_that_did_not_exist_before(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(TUESDAY, "02:00"))
    process(store, TUESDAY)
    store.punches.apply_workday_start(time(4))
    assert stale(store) == [MONDAY, TUESDAY]
    done = process(store, MONDAY, TUESDAY, workday_starts_at=time(4))
    assert done.written == [DateWritten(MONDAY, 1, 1, 0, 0, 0), DateWritten(TUESDAY, 0, 0, 0, 0, 1)]


def test_punches_in_any_order_and_any_split_end_in_the_same_days(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device())
    log = [*on(MONDAY, "08:00", "12:00", "17:00"), *on(TUESDAY, "07:00", "19:00", user_id="1002")]
    for number in (3, 0, 4, 1, 2):
        ingest(store, "Gate", log[number])
        process(store, *stale(store))
        clock.go(hours=1)
    assert rows(store, DAYS) == [
        ("1001", MONDAY, "2026-03-02 08:00:00", "2026-03-02 17:00:00"),
        ("1002", TUESDAY, "2026-03-03 07:00:00", "2026-03-03 19:00:00"),
    ]
    assert rows(store, "SELECT max(revision) FROM daily_attendance GROUP BY user_id ORDER BY user_id") == [(3,), (2,)]
