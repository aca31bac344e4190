"""Directions of punches and their work codes. `operations/test_any_company` compares the view with the plain loop."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.devices.protocol.events import LivePunch
from zk_pipeline.operations.process import process_dates
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import PunchRequest
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    device,
    execute,
    ingest,
    on,
    process,
    reading,
    rows,
    stale,
)

DIRECTIONS = """
SELECT strftime(punched_at_local, '%H:%M:%S'), work_date, punch_direction, direction_source
FROM punch_directions ORDER BY punched_at, device
"""


def test_a_punch_has_the_direction_of_its_gate_its_state_or_its_turn(store: Store) -> None:
    store.devices.add(replace(device("Entry", site="HQ"), direction="in"))
    store.devices.add(replace(device("Turnstile", site="HQ"), trust_punch_states=True))
    store.devices.add(device("Door", site="HQ"))
    ingest(store, "Entry", *on(MONDAY, "08:00"))
    ingest(store, "Turnstile", *on(MONDAY, "12:00"))
    ingest(store, "Door", *on(MONDAY, "12:30:00", "12:30:40", "17:00"))
    execute(store, "UPDATE raw_punches SET punch_state = CASE device WHEN 'Turnstile' THEN 1 ELSE 255 END")
    assert rows(store, DIRECTIONS) == [
        ("08:00:00", None, "in", "device"),
        ("12:00:00", None, "out", "punch_state"),
        *((at, None, None, None) for at in ("12:30:00", "12:30:40", "17:00:00")),
    ]
    process(store, MONDAY)
    assert rows(store, DIRECTIONS) == [
        ("08:00:00", MONDAY, "in", "device"),
        ("12:00:00", MONDAY, "out", "punch_state"),
        ("12:30:00", MONDAY, "in", "alternation"),
        ("12:30:40", MONDAY, "in", "alternation"),
        ("17:00:00", MONDAY, "out", "alternation"),
    ]
    explained = store.explanations.explain("1001", MONDAY).punches
    assert [(one.punch_direction, one.direction_source) for one in explained] == [
        row[2:] for row in rows(store, DIRECTIONS)
    ]


def test_repeated_presses_are_one_punch_also_on_a_day_without_a_clock_out(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00:00", "08:00:50", "08:01:40", "08:02:41"))
    execute(store, "UPDATE raw_punches SET is_clock_suspect = true WHERE punched_at_local >= '2026-03-02 08:02:00'")
    process(store, MONDAY)
    execute(store, "UPDATE raw_punches SET is_clock_suspect = false")
    assert [row[1:] for row in rows(store, DIRECTIONS)] == [(MONDAY, "in", "alternation")] * 3 + [(None, None, None)]


def test_the_debounce_time_of_the_last_processing_counts(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00:00", "08:00:50", "17:00"))
    for seconds, expected in ((60, ["in", "in", "out"]), (30, ["in", "out", "in"]), (60, ["in", "in", "out"])):
        rules = WorkRules(debounce_seconds=seconds)
        store.punches.apply_settings(rules)
        assert process_dates(store, [MONDAY], rules, run_id=None).failed == {}
        assert [row[2] for row in rows(store, DIRECTIONS)] == expected
        assert [one.punch_direction for one in store.explanations.explain("1001", MONDAY).punches] == expected


def test_a_changed_direction_makes_exactly_the_affected_dates_stale(store: Store) -> None:
    store.devices.add(device("Entry", site="HQ"))
    store.devices.add(device("Old", site="HQ"))
    ingest(store, "Entry", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    ingest(store, "Old", *on(TUESDAY, "17:00"))
    process(store, MONDAY, TUESDAY)
    store.devices.update("Entry", direction="in")
    assert stale(store) == [MONDAY]  # on Tuesday a punch without direction decides
    process(store, MONDAY)
    minutes = "SELECT work_date, worked_minutes, worked_minutes_source FROM daily_attendance ORDER BY 1"
    assert rows(store, minutes) == [(MONDAY, 540, "unmatched"), (TUESDAY, 540, None)]
    store.devices.update("Entry", trust_punch_states=True)
    assert stale(store) == []  # the direction decides
    store.devices.update("Entry", direction="out")
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    store.devices.update("Old", direction="out")
    assert stale(store) == [TUESDAY]


def test_a_manual_punch_keeps_its_state_at_a_site_with_gates(store: Store) -> None:
    store.devices.add(replace(device("Entry", site="HQ"), direction="in"))
    ingest(store, "Entry", *on(MONDAY, "08:00"))
    asked = PunchRequest("1001", "HQ", datetime.fromisoformat(f"{MONDAY} 17:00"), "out", "exit gate without power")
    store.manual_punches.request([asked], "cli:ada", approve=True)
    process(store, MONDAY)
    assert rows(store, DIRECTIONS)[1:] == [("17:00:00", MONDAY, "out", "punch_state")]
    assert rows(store, "SELECT worked_minutes, worked_minutes_source FROM daily_attendance") == [(540, "punch_states")]
    now = datetime(2026, 3, 2, 18, tzinfo=UTC)
    assert [one.direction for one in store.muster.read(now, debounce_seconds=60).people()] == ["out"]


def test_a_live_punch_gets_the_work_code_that_only_the_log_has(store: Store) -> None:
    gate = store.devices.add(device())
    live = LivePunch(
        user_id="1001", punched_at_local=datetime.fromisoformat(f"{MONDAY} 08:00"), verify_type=1, punch_state=0,
        received_at=store.clock(),
    )  # fmt: skip
    store.punches.ingest_live(gate, [live], poll_id=store.punches.begin_live("Gate"))
    codes = "SELECT strftime(punched_at_local, '%H:%M'), work_code FROM raw_punches ORDER BY 1"
    assert rows(store, codes) == [("08:00", None)]
    log = reading(on(MONDAY, "08:00", "17:00"))
    log.punches["work_code"] = log.punches["work_code"].fillna(7)
    store.punches.ingest(gate, log, started_at=store.clock(), finished_at=store.clock(), run_id=None)
    assert rows(store, codes) == [("08:00", 7), ("17:00", 7)]
    ingest(store, "Gate", *on(MONDAY, "08:00"))  # a record without the field
    assert rows(store, codes) == [("08:00", 7), ("17:00", 7)]
    assert [one.work_code for one in store.explanations.explain("1001", MONDAY).punches] == [7, 7]
    assert rows(store, "SELECT DISTINCT work_code FROM punch_directions") == [(7,)]
