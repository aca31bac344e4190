"""Records that name only a slot: each keeps the person who held it when it was made, or waits in quarantine."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from zk_pipeline.devices.protocol.events import LivePunch
from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    SlotPunch,
    StoppedClock,
    User,
    device,
    execute,
    ingest,
    reading,
    rows,
)

OLD: User = ("1002", 5, "Ann", 0, 0)
NEW: User = ("777001", 5, "Bo", 0, 0)
OTHER: User = ("1003", 6, "Cy", 0, 0)
LOG: list[SlotPunch] = [(5, f"2026-03-{day:02} 08:00") for day in range(1, 22)]
ONE_MORE: SlotPunch = (5, "2026-03-30 08:00")


@pytest.fixture(autouse=True)
def gate(store: Store) -> None:
    store.devices.add(device())


def people(store: Store) -> dict[str, int]:
    return dict(rows(store, "SELECT user_id, count(*) FROM raw_punches WHERE voided_at IS NULL GROUP BY 1"))


def waiting(store: Store) -> list[tuple[str, int]]:
    sql = "SELECT reason, count(*) FROM quarantined_records WHERE released_at IS NULL GROUP BY 1 ORDER BY 1"
    return [(reason, count) for reason, count in rows(store, sql)]


def test_records_stay_those_of_a_person_whose_slot_another_has_now(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD, OTHER])
    ingest(store, "Gate", slots=[ONE_MORE], users=[NEW, OTHER])  # only what is new
    for _ in range(2):
        ingest(store, "Gate", slots=[*LOG, ONE_MORE], users=[NEW, OTHER])
    assert people(store) == {"1002": 21, "777001": 1}
    assert waiting(store) == []


def test_records_of_a_person_deleted_since_are_known_and_need_no_quarantine(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    last = ingest(store, "Gate", slots=[*LOG, ONE_MORE], users=[])  # punched, and was deleted before the next poll
    assert (people(store), waiting(store), last.quarantined) == ({"1002": 22}, [], 0)


def test_records_of_somebody_deleted_before_the_first_poll_never_become_the_newcomers(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OTHER])
    assert waiting(store) == [("uid 5 had no known user", 21)]
    for _ in range(2):
        ingest(store, "Gate", slots=[*LOG, ONE_MORE], users=[NEW, OTHER])
        assert [one.new for one in release_quarantine(store)] == [0]
    assert people(store) == {"777001": 1}
    assert waiting(store) == [("uid 5 had no known user", 21)]


def test_records_that_waited_for_a_list_are_attributed_by_the_first_one(store: Store) -> None:
    ingest(store, "Gate", slots=LOG)
    assert waiting(store) == [("uid 5 has no user id: the user list could not be read", 21)]
    ingest(store, "Gate", users=[OLD])
    ingest(store, "Gate", users=[NEW])  # too late to have made them
    assert [(one.records, one.new, one.left) for one in release_quarantine(store)] == [(21, 21, 0)]
    assert (people(store), waiting(store)) == ({"1002": 21}, [])


def test_a_reading_takes_out_of_quarantine_what_it_can_attribute(store: Store) -> None:
    ingest(store, "Gate", slots=LOG)
    done = ingest(store, "Gate", slots=LOG, users=[OLD])
    assert (done.new, people(store), waiting(store)) == (21, {"1002": 21}, [])


def test_a_slot_that_changed_hands_in_a_long_gap_makes_its_records_wait(store: Store, clock: StoppedClock) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    clock.go(hours=1, seconds=1)
    ingest(store, "Gate", slots=[*LOG, ONE_MORE], users=[NEW])
    assert people(store) == {"1002": 21}
    reason = (
        "uid 5 passed from 1002 to 777001 between 2026-06-01 12:00 and 2026-06-01 13:00 UTC: "
        "either can have made the record"
    )
    assert waiting(store) == [(reason, 1)]
    ingest(store, "Gate", slots=[*LOG, ONE_MORE, (5, "2026-03-31 08:00")], users=[NEW])
    assert people(store) == {"1002": 21, "777001": 1}  # the new one is unambiguous
    assert waiting(store) == [(reason, 1)]


def test_a_slot_that_a_list_names_twice_is_held_by_nobody_known(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD, NEW])
    assert (people(store), waiting(store)) == ({}, [("uid 5 had no known user", 21)])


def test_a_list_read_before_the_newest_one_changes_nothing(store: Store, clock: StoppedClock) -> None:
    gate = store.devices.get("Gate")
    ingest(store, "Gate", users=[NEW])
    earlier = clock.now - timedelta(minutes=5)
    old = reading(users=[OLD], serial=serial_number_of("Gate"))
    store.punches.ingest(gate, old, started_at=earlier, finished_at=earlier, run_id=None)
    assert rows(store, "SELECT user_id, last_list FROM device_slots") == [("777001", None)]
    assert rows(store, "SELECT user_id FROM device_users") == [("777001",)]


def test_another_terminal_under_the_name_has_slots_of_its_own(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    store.devices.forget_serial("Gate")
    store.punches.ingest(
        store.devices.get("Gate"),
        reading(slots=[ONE_MORE], users=[NEW], serial="another"),
        started_at=store.clock(),
        finished_at=store.clock() + timedelta(days=1),
        run_id=None,
    )
    assert people(store) == {"1002": 21, "777001": 1}


def live_punch(store: Store, at: str, users: list[User] | None) -> LivePunch:
    return LivePunch(
        user_id=None,
        uid=5,
        punched_at_local=datetime.fromisoformat(at),
        verify_type=1,
        punch_state=0,
        received_at=store.clock(),
        users=None if users is None else reading(users=users).users,
    )


def ingest_live(store: Store, *punches: LivePunch) -> int:
    return store.punches.ingest_live(store.devices.get("Gate"), punches, poll_id=store.punches.begin_live("Gate"))


def live(store: Store, at: str, users: list[User] | None) -> int:
    return ingest_live(store, live_punch(store, at, users))


def test_a_live_punch_is_of_who_holds_the_slot_after_it_and_its_record_is_the_same_punch(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    assert live(store, "2026-03-30 08:00", [NEW]) == 1
    assert ingest(store, "Gate", slots=[*LOG, ONE_MORE], users=[NEW]).new == 0
    assert people(store) == {"1002": 21, "777001": 1}


def test_a_live_punch_without_a_list_is_left_to_the_next_poll(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    assert live(store, "2026-03-30 08:00", None) == 0
    assert ingest(store, "Gate", slots=[*LOG, ONE_MORE], users=[OLD]).new == 1


def test_a_list_that_a_live_punch_brought_does_not_hide_who_held_the_slot_before_it(
    store: Store, clock: StoppedClock
) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    clock.go(hours=2)
    live(store, "2026-03-30 08:00", [NEW])
    unseen: SlotPunch = (5, "2026-03-29 08:00")  # made without a live capture, maybe before the slot had a new holder
    ingest(store, "Gate", slots=[*LOG, unseen, ONE_MORE], users=[NEW])
    assert people(store) == {"1002": 21, "777001": 1}
    assert [count for reason, count in waiting(store) if "passed from 1002 to 777001" in reason] == [1]


def test_live_punches_stored_together_are_each_of_who_held_the_slot_right_after_it(store: Store) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    morning, noon = "2026-03-30 08:00", "2026-03-30 12:00"
    before, again, after = (live_punch(store, at, [who]) for at, who in ((morning, OLD), (morning, OLD), (noon, NEW)))
    assert ingest_live(store, before, again, after) == 2
    assert ingest(store, "Gate", slots=[*LOG, (5, morning), (5, noon)], users=[NEW]).new == 0
    assert people(store) == {"1002": 22, "777001": 1}
    assert waiting(store) == []


def test_a_live_punch_stored_after_a_later_list_is_left_to_the_poll_that_read_it(
    store: Store, clock: StoppedClock
) -> None:
    ingest(store, "Gate", slots=LOG, users=[OLD])
    late = live_punch(store, "2026-03-30 08:00", [OLD])
    clock.go(minutes=1)
    ingest(store, "Gate", slots=LOG, users=[NEW])
    assert ingest_live(store, late) == 0
    assert rows(store, "SELECT user_id FROM device_users") == [("777001",)]


def test_punches_stored_before_slots_were_keep_their_person_and_learn_their_slot(store: Store) -> None:
    ingest(store, "Gate", slots=[*LOG, (6, "2026-03-01 08:00")], users=[OLD, OTHER])
    execute(store, "UPDATE raw_punches SET uid = NULL WHERE user_id = '1002'")
    execute(store, "UPDATE device_slots SET user_id = '777001' WHERE uid = 5")  # who has it by all that is known
    done = ingest(store, "Gate", slots=[*LOG, (6, "2026-03-01 08:00")], users=[NEW, OTHER])
    assert (done.new, people(store)) == (0, {"1002": 21, "1003": 1})
    assert rows(store, "SELECT DISTINCT user_id, uid FROM raw_punches ORDER BY 1") == [("1002", 5), ("1003", 6)]


def test_two_people_in_the_same_second_are_both_kept_where_one_was_stored_before_slots_were(store: Store) -> None:
    ingest(store, "Gate", slots=[(5, "2026-03-01 08:00")], users=[OLD, OTHER])
    execute(store, "UPDATE raw_punches SET uid = NULL")
    ingest(store, "Gate", slots=[(5, "2026-03-01 08:00"), (6, "2026-03-01 08:00")], users=[OLD, OTHER])
    assert people(store) == {"1002": 1, "1003": 1}


def test_a_log_may_be_cleared_while_records_that_nobody_is_known_for_wait_in_quarantine(store: Store) -> None:
    gate = store.devices.get("Gate")
    ingest(store, "Gate", slots=LOG, users=[OTHER])
    held = reading(slots=[*LOG, ONE_MORE], users=[OTHER])
    assert store.punches.missing(gate, held) == 1
