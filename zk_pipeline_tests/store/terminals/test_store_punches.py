"""Punches of polls: stored once, counted, and their work dates marked stale."""

from __future__ import annotations

from datetime import date, time, timedelta

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
    MONDAY,
    TUESDAY,
    StoppedClock,
    User,
    device,
    ingest,
    on,
    process,
    reading,
    rows,
    stale,
)

PUNCHES = "SELECT device, user_id, punched_at_local::VARCHAR FROM raw_punches ORDER BY ALL"
ANNA: User = ("1001", 1, "Anna", 0, 0)
ZOE: User = ("1002", 2, "Zoë", 14, 77)


@pytest.fixture(autouse=True)
def gate(store: Store) -> None:
    store.devices.add(device())


def test_storing_the_same_log_again_stores_nothing_new(store: Store) -> None:
    log = on(MONDAY, "08:00", "12:00", "17:00")
    first, again = ingest(store, "Gate", *log), ingest(store, "Gate", *log)
    assert (first.fetched, first.stored, first.new, first.touched) == (3, 3, 3, {MONDAY: 3})
    assert (again.fetched, again.stored, again.new, again.touched) == (3, 3, 0, {})
    assert (first.poll_id, again.poll_id) == (1, 2)
    assert rows(store, "SELECT count(*), max(first_poll_id) FROM raw_punches") == [(3, 1)]


def test_a_longer_log_brings_what_is_new_wherever_in_time_it_lies(store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"))
    longer = [*on(MONDAY, "08:00", "12:00", "17:00"), *on(TUESDAY, "08:00"), *on(date(2025, 12, 31), "23:59:59")]
    assert ingest(store, "Gate", *longer).touched == {date(2025, 12, 31): 1, MONDAY: 1, TUESDAY: 1}
    assert len(rows(store, PUNCHES)) == 5


def test_a_record_that_the_log_repeats_is_one_punch_but_was_read_twice(store: Store) -> None:
    done = ingest(store, "Gate", *on(MONDAY, "08:00", "08:00", "17:00"), rejected=[b"bad"])
    assert (done.fetched, done.stored, done.new, done.quarantined) == (4, 2, 2, 1)
    assert rows(store, 'SELECT reported, fetched, stored, "new", quarantined FROM device_polls') == [(4, 4, 2, 2, 1)]


def test_people_who_punch_in_the_same_second_are_all_kept(store: Store) -> None:
    ingest(store, "Gate", ("1001", f"{MONDAY} 08:00:00"))
    late = ingest(store, "Gate", *((str(user), f"{MONDAY} 08:00:00") for user in range(1001, 1006)))
    assert (late.stored, late.new) == (5, 4)


def test_the_same_punch_at_two_devices_is_two_punches(store: Store) -> None:
    store.devices.add(device("Back door", site="Gate"))
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    assert ingest(store, "Back door", *on(MONDAY, "08:00")).new == 1
    assert rows(store, PUNCHES) == [
        ("Back door", "1001", "2026-03-02 08:00:00"),
        ("Gate", "1001", "2026-03-02 08:00:00"),
    ]


def test_an_empty_log_is_a_poll_too(store: Store) -> None:
    done = ingest(store, "Gate")
    assert (done.fetched, done.stored, done.new, done.touched) == (0, 0, 0, {})
    assert rows(store, "SELECT status, fetched, run_id FROM device_polls") == [("success", 0, "poll run")]


def test_the_sequence_number_grows_with_every_punch_and_every_work_date_knows_its_highest(store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "17:00", "08:00"), *on(TUESDAY, "08:00"))
    ingest(store, "Gate", *on(MONDAY, "12:00"))
    assert rows(store, "SELECT seq, punched_at_local::TIME::VARCHAR FROM raw_punches ORDER BY 1") == [
        (1, "08:00:00"),
        (2, "17:00:00"),
        (3, "08:00:00"),
        (4, "12:00:00"),
    ]
    assert rows(store, "SELECT work_date, latest_punch_seq, processed_seq FROM work_dates ORDER BY 1") == [
        (MONDAY, 4, 0),
        (TUESDAY, 3, 0),
    ]


def test_the_sequence_number_never_goes_back_even_where_the_newest_punches_are_deleted(store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(TUESDAY, "08:00"))
    with store.database.write("delete") as connection:
        connection.execute("DELETE FROM raw_punches")
    ingest(store, "Gate", *on(MONDAY, "09:00"))
    assert rows(store, "SELECT seq FROM raw_punches") == [(3,)]


def test_a_work_date_begins_where_the_store_says(store: Store) -> None:
    store.punches.apply_workday_start(time(14))
    done = ingest(store, "Gate", *on(TUESDAY, "13:59:59", "14:00:00"))
    assert done.touched == {MONDAY: 1, TUESDAY: 1}
    assert stale(store) == [MONDAY, TUESDAY]


def test_an_impossible_record_is_quarantined_once_per_device(store: Store) -> None:
    store.devices.add(device("Other"))
    for name in ("Gate", "Gate", "Other"):
        ingest(store, name, *on(MONDAY, "08:00"), rejected=[b"\x00\xff", b"\x00\xff", b"\x01"])
    held = rows(store, "SELECT device, raw, reason, first_poll_id FROM quarantined_records ORDER BY ALL")
    assert held == [
        ("Gate", b"\x00\xff", "impossible date", 1),
        ("Gate", b"\x01", "impossible date", 1),
        ("Other", b"\x00\xff", "impossible date", 3),
        ("Other", b"\x01", "impossible date", 3),
    ]


def test_people_enrolled_are_replaced_by_the_list_read_last(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Other"))
    ingest(store, "Other", users=[ANNA])
    ingest(store, "Gate", users=[ANNA, ZOE])
    clock.go(days=1)
    ingest(store, "Gate", users=[ANNA, ("1002", 2, "Zoë Z.", 14, 77), ("1003", 3, "New", 0, 0)])
    people = (
        "SELECT user_id, uid, name, privilege, card, updated_at FROM device_users WHERE device = 'Gate' ORDER BY uid"
    )
    assert rows(store, people) == [
        (*ANNA, LONG_AFTER),
        ("1002", 2, "Zoë Z.", 14, 77, clock.now),
        ("1003", 3, "New", 0, 0, clock.now),
    ]
    ingest(store, "Gate", users=[ZOE])
    assert [row[:5] for row in rows(store, people)] == [ZOE]
    ingest(store, "Gate", users=None)  # the terminal refused its list: what is known stays
    assert [row[:5] for row in rows(store, people)] == [ZOE]
    ingest(store, "Gate", users=[])
    assert rows(store, "SELECT device FROM device_users") == [("Other",)]


def test_a_success_is_on_record_with_the_device(store: Store, clock: StoppedClock) -> None:
    store.punches.ingest(
        store.devices.get("Gate"),
        reading(on(MONDAY, "08:00")),
        started_at=clock.now,
        finished_at=clock.now + timedelta(seconds=3),
        run_id="abc",
    )
    known = store.devices.get("Gate")
    assert (known.serial_number, known.last_sync) == ("CEXA230760001", clock.now + timedelta(seconds=3))
    assert rows(
        store,
        "SELECT device, finished_at - started_at, status, reported, record_count_after, clock_drift_seconds, "
        "transport, layout, bytes_read, run_id, error FROM device_polls",
    ) == [("Gate", timedelta(seconds=3), "success", 1, 1, 1.5, "tcp", 40, 40, "abc", None)]


def test_a_failure_is_on_record_and_is_no_success_of_the_device(store: Store, clock: StoppedClock) -> None:
    failed = FailedPoll("Gate", clock.now, clock.now, "no_answer", "Gate: it fell silent")
    assert store.punches.record_failures([failed], run_id="abc") == [1]
    assert rows(store, "SELECT status, fetched, error_code, error FROM device_polls") == [
        ("failed", None, "no_answer", "Gate: it fell silent")
    ]
    assert store.devices.get("Gate").last_sync is None
    assert ingest(store, "Gate").poll_id == 2


def test_a_preview_shows_the_newest_of_what_one_poll_brought(store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    second = ingest(store, "Gate", *on(MONDAY, "08:00", "09:00", "10:00", "11:00"))
    shown = store.punches.preview("Gate", second.poll_id, limit=2)
    assert [str(at) for at in shown["punched_at_local"]] == ["2026-03-02 11:00:00", "2026-03-02 10:00:00"]


def test_a_clock_change_neither_aborts_nor_loses_anything(store: Store) -> None:
    store.devices.update("Gate", timezone="Europe/Berlin")
    gap, fold = date(2026, 3, 29), date(2026, 10, 25)
    log = [*on(gap, "01:59:59", "02:30:00", "03:00:00"), *on(fold, "02:30:00", "03:00:00")]
    assert ingest(store, "Gate", *log).new == 5
    instants = rows(store, "SELECT punched_at::VARCHAR FROM raw_punches ORDER BY punched_at_local")
    assert [instant for (instant,) in instants] == [
        "2026-03-29 00:59:59+00",
        "2026-03-29 01:30:00+00",
        "2026-03-29 01:00:00+00",
        "2026-10-25 00:30:00+00",
        "2026-10-25 02:00:00+00",
    ]


def test_a_crash_between_storing_and_processing_loses_no_work_date(store: Store) -> None:
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY)  # and then the process died before Tuesday
    assert stale(store) == [TUESDAY]
    ingest(store, "Gate", *on(MONDAY, "17:00"))
    assert stale(store) == [MONDAY, TUESDAY]
