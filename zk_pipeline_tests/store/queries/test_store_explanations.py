"""Explanations of a day and its revisions; records released from quarantine; pairs of punch states."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from zk_pipeline.devices.protocol.record_layouts import LOG_40, Layout, encode_time
from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, push
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
    reading,
    rows,
    stale,
)


def test_what_was_said_then_is_told_apart_from_what_is_said_now(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device(site="HQ"))
    ingest(store, "Gate", *on(MONDAY, "11:30"))
    process(store, MONDAY, run_id="first run")
    clock.go(days=2)
    ingest(store, "Gate", *on(MONDAY, "08:00"))
    process(store, MONDAY, run_id="second run")
    now = store.explanations.explain("1001", MONDAY)
    then = store.explanations.explain("1001", MONDAY, as_of=LONG_AFTER + timedelta(days=1))
    assert [(one.revision, one.run_id, one.outlier_codes) for one in now.revisions] == [
        (1, "first run", ["CLOCK_IN_TOO_LATE", "MISSING_CLOCK_OUT"]),
        (2, "second run", ["CLOCK_OUT_TOO_EARLY"]),
    ]
    assert [one.delivery for one in now.revisions] == ["superseded", "pending"]
    assert [f"{one.punched_at_local:%H:%M}" for one in now.punches] == ["08:00", "11:30"]
    assert ([one.revision for one in then.revisions], len(then.punches)) == ([1], 1)
    assert store.explanations.explain("1001", TUESDAY).revisions == []


def test_records_of_the_date_that_count_on_no_day_are_named(store: Store) -> None:
    store.devices.add(device(site="HQ"))
    adopt(store, "Dock", "SN2")
    ingest(store, "Gate", *on(MONDAY, "08:00", "09:00"), *on(TUESDAY, "08:00"))
    ingest(store, "Gate", *on(MONDAY, "08:00", user_id="1002"))
    execute(
        store, "UPDATE raw_punches SET is_clock_suspect = true WHERE user_id = '1002' OR hour(punched_at_local) = 9"
    )
    line, others = b"1001\t2026-03-02 25:00:00\t0", [b"11001\t2026-03-02 25:00:00", b"1001\t2026-03-03 25:00:00"]
    push(store, name="Dock", serial="SN2", rejected=[line, b"pin=1001\xff\ttime=2026-03-02 25:00:00", *others])
    explained = store.explanations.explain("1001", MONDAY)
    assert [one.sentence for one in explained.left_out] == [
        "punch at 2026-03-02 09:00:00, Gate (the clock of the terminal was wrong)",
        r"line in quarantine of Dock: '1001\t2026-03-02 25:00:00\t0' (impossible date)",
    ]
    assert [len(explained.at(site).left_out) for site in explained.sites] == [1, 1]
    assert store.explanations.explain("1001", MONDAY, as_of=LONG_AFTER - timedelta(days=1)).is_empty
    execute(store, "UPDATE quarantined_records SET released_at = created_at + INTERVAL 1 DAY")
    assert len(store.explanations.explain("1001", MONDAY).left_out) == 1
    assert len(store.explanations.explain("1001", MONDAY, as_of=LONG_AFTER).left_out) == 2


def record(layout: Layout, local: str, **fields: Any) -> bytes:
    one = np.zeros(1, layout.dtype)
    one["time"] = encode_time(pd.Timestamp(local).to_pydatetime())
    for name, value in fields.items():
        one[name] = value
    return one.tobytes()


def test_a_record_that_can_be_read_after_all_becomes_a_punch_and_makes_its_date_stale(store: Store) -> None:
    store.devices.add(device())
    raw = record(LOG_40, "2026-03-02 08:00", user_id="Çağrı".encode("cp1254"), state=1)
    hopeless = record(LOG_40, "2026-03-02 09:00", user_id=b"")
    ingest(store, "Gate", *on(TUESDAY, "08:00"), rejected=[raw, hopeless])
    process(store, TUESDAY)
    assert [(one.records, one.new, one.left) for one in release_quarantine(store)] == [(0, 0, 2)]
    store.devices.update("Gate", encoding="cp1254")
    assert [(one.records, one.new, one.left) for one in release_quarantine(store, ["Gate"])] == [(1, 1, 1)]
    assert stale(store) == [MONDAY]
    assert rows(store, "SELECT user_id, punched_at_local::VARCHAR, punch_state FROM raw_punches WHERE seq > 1") == [
        ("Çağrı", "2026-03-02 08:00:00", 1)
    ]
    assert [one.released_at is None for one in store.quarantine.all()].count(False) == 1
    assert [(one.records, one.new, one.left) for one in release_quarantine(store)] == [(0, 0, 1)]


def test_a_record_that_names_only_a_slot_is_released_once_the_user_list_could_be_read(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", slots=[(7, "2026-03-02 08:00")])
    assert release_quarantine(store)[0].left == 1
    ingest(store, "Gate", users=[("EMP7", 7, "Bo", 0, 0)])
    assert release_quarantine(store)[0].new == 1
    assert rows(store, "SELECT user_id, uid FROM raw_punches") == [("EMP7", 7)]


STATES: list[tuple[list[tuple[str, int]], tuple[int | None, str | None]]] = [
    ([("08:00", 0), ("12:00", 2), ("12:30", 3), ("17:00", 1)], (510, "punch_states")),
    ([("08:00", 0), ("12:00", 1), ("13:00", 0), ("17:00", 1), ("18:00", 4), ("19:30", 5)], (570, "punch_states")),
    ([("08:00:00", 0), ("08:00:30", 0), ("17:00", 1)], (540, "punch_states")),  # pressed twice
    ([("08:00", 0), ("12:00", 0), ("17:00", 1)], (540, "unmatched")),
    ([("08:00", 0), ("12:00", 1), ("17:00", 0)], (540, "unmatched")),
    ([("08:00", 1), ("17:00", 0)], (540, "unmatched")),
    ([("08:00", 255), ("17:00", 1)], (540, "unmatched")),
    ([("08:00", 0)], (None, None)),
]


def test_trusted_states_say_how_long_somebody_worked_and_what_does_not_pair_is_seen(store: Store) -> None:
    """Each of `STATES` is the day of another user."""
    store.devices.add(device())
    punched = [(str(user), at, state) for user, (states, _) in enumerate(STATES) for at, state in states]
    read = reading([(user, f"{MONDAY} {at}") for user, at, _ in punched])
    read.punches["punch_state"] = np.array([state for *_, state in punched], "uint8")
    gate = store.devices.get("Gate")
    store.punches.ingest(gate, read, started_at=store.clock(), finished_at=store.clock(), run_id=None)
    worked = "SELECT worked_minutes, worked_minutes_source FROM daily_attendance ORDER BY user_id"
    process(store, MONDAY)
    assert {source for _, source in rows(store, worked)} == {None}
    store.devices.update("Gate", trust_punch_states=True)
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    assert rows(store, worked) == [expected for _, expected in STATES]
    store.devices.add(device("Other", site="Gate"))
    ingest(store, "Other", *((str(user), f"{MONDAY} 17:30") for user in range(len(STATES))))
    process(store, MONDAY)
    assert {source for _, source in rows(store, worked)} == {None}, "not trusted: then the row is not"


def test_the_source_of_each_punch_is_named(store: Store) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate", ("1001", f"{MONDAY} 08:00"))
    serial = str(store.devices.get("Gate").serial_number)
    adopt(store, "Gate", serial)
    push(store, ("1001", f"{MONDAY} 08:00"), ("1001", f"{MONDAY} 12:00"), serial=serial)
    execute(store, f"UPDATE raw_punches SET source = 'live' WHERE punched_at_local = '{MONDAY} 08:00'")
    live, pushed = store.explanations.explain("1001", MONDAY).punches
    assert (live.source, live.origin) == ("live", "live capture")
    assert (pushed.source, pushed.origin) == ("push", "pushed")
    execute(store, "UPDATE raw_punches SET source = 'poll'")
    polled = store.explanations.explain("1001", MONDAY).punches[0]
    assert polled.origin == f"polled (poll {polled.poll_id})"
