"""Each rule between the tables is silent about a good store, and speaks when it is broken."""

from __future__ import annotations

import time as time_module
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime, time
from pathlib import Path

import pytest

from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.store.engine.database import Connection, Database, Where
from zk_pipeline.store.quality import doctor
from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.quality.integrity_rules import PER_SPAN, WHOLE
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    busy,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
)
from zk_pipeline_tests.waiting import until

_MANUAL = (
    "INSERT INTO manual_punches (id, site, user_id, punched_at, punched_at_local, punch_state, reason, requested_by, "
    "requested_at, decision, device) VALUES (1, {}, '1001', now(), TIMESTAMP '2026-03-02 12:00', 0, 'power', 'ada', "
    "now(), {}, 'Gate')"
)
# What breaks a rule, and that rule alone where it can.
_TERMINAL = (
    "INSERT INTO push_terminals (serial_number, device, address, first_seen_at, last_seen_at) "
    "VALUES ('S1', {}, '192.0.2.1', now(), now())"
)
_CHECK = "INSERT INTO push_checks VALUES ('S1', '2026-03-02', '2026-03-02', {}, now())"
BREAK = {
    "tables": "ALTER TABLE alerts DROP COLUMN body",
    "doubled-keys": "INSERT INTO device_polls FROM device_polls",
    "delivery-keys-unique": "UPDATE crm_deliveries SET idempotency_key = 'same', state = 'pending'",
    "numbers": "UPDATE store_settings SET value = '1' WHERE name = 'last_seq'",
    "manual-punches": _MANUAL.format("'Elsewhere'", "'rejected'"),
    "punch-requests": _MANUAL.format("(SELECT site FROM devices)", "NULL"),
    "payroll-days": "INSERT INTO payroll_periods (period, first_date, last_date, state, opened_at, opened_by) VALUES "
    "('2026-03', '2026-03-01', '2026-03-31', 'open', now(), 'ada'); INSERT INTO payroll_days VALUES "
    "('2026-03', 'Gate', '1001', '2026-03-02', NULL, 1, 'present', NULL, 540, 0, 0, 0, 0, 0, 0, 0, NULL)",
    "dead-letters": "UPDATE crm_deliveries SET state = 'failed' WHERE work_date = '2026-03-02'",
    "quarantine": "INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at) "
    "VALUES ('Gate', 'x'::BLOB, 'impossible date', 1, now())",
    "clocks": "UPDATE raw_punches SET is_clock_suspect = true WHERE seq = 1",
    "clocks-unmarked": "UPDATE device_polls SET clock_drift_seconds = -7776000; UPDATE raw_punches SET "
    "punched_at = TIMESTAMPTZ '2026-06-01 12:05:00+00' - INTERVAL 90 DAY WHERE seq = 4",
    "registered-twice": "INSERT INTO devices SELECT * REPLACE (2 AS id, 'Other' AS name) FROM devices",
    "push-terminals": _TERMINAL.format("'Gate'") + "; UPDATE devices SET serial_number = 'other'",
    "push-pending": _TERMINAL.format("NULL"),
    "push-stamps": "INSERT INTO push_stamps VALUES ('S1', 'ATTLOG', '0', now())",
    "push-batches": "INSERT INTO push_batches VALUES (1, 'S1', 'Gate', 'ATTLOG', NULL, now(), 3, 1, 1, 0, 0, NULL)",
    "push-checks": _CHECK.format("'asked', NULL, NULL, NULL, 7"),
    "push-missing": _TERMINAL.format("'Gate'") + "; " + _CHECK.format("'differs', 5, 4, 3, NULL"),
    "punches-source": "UPDATE raw_punches SET source = 'guess' WHERE seq = 1",
    "states-corrected": "UPDATE devices SET trust_punch_states = true, log_layout = '16'; "
    "UPDATE work_dates SET processed_at = TIMESTAMPTZ '2020-01-01 00:00:00+00'",
    "left-locked": "UPDATE devices SET keypad_locked_at = now()",
    "punches-instant": "UPDATE raw_punches SET punched_at = punched_at + INTERVAL 1 HOUR WHERE seq = 1",
    "punches-person": "UPDATE device_polls SET layout = 8; INSERT INTO raw_punches SELECT * REPLACE ('2' AS user_id, "
    "2 AS first_poll_id) FROM raw_punches WHERE seq = 1",
    "punches-unique": "INSERT INTO raw_punches FROM raw_punches WHERE seq = 1",
    "punches-poll": "UPDATE raw_punches SET first_poll_id = 99 WHERE seq = 1",
    "punches-device": "UPDATE raw_punches SET device = 'Unknown' WHERE seq = 1",
    "punches-counted": "UPDATE work_dates SET latest_punch_seq = 0 WHERE work_date = '2026-03-03'",
    "inconsistent-dates": "INSERT INTO daily_attendance FROM daily_attendance WHERE work_date = '2026-03-02'",
    "one-open-delivery": "UPDATE crm_deliveries SET state = 'pending' WHERE work_date = '2026-03-03'",
    "days-history": "DELETE FROM daily_attendance WHERE work_date = '2026-03-02'",
    "deliveries-history": "DELETE FROM daily_attendance_revisions WHERE work_date = '2026-03-03' AND revision = 1",
    "history-deliveries": "DELETE FROM crm_deliveries WHERE work_date = '2026-03-02'",
    "after-midnight": "UPDATE daily_attendance SET is_incomplete = true WHERE work_date = '2026-03-02'; UPDATE "
    "daily_attendance SET clock_in_local = TIMESTAMP '2026-03-03 00:30', outlier_codes = ['CLOCK_IN_TOO_EARLY'] "
    "WHERE work_date = '2026-03-03'",
    "days-dates": "DELETE FROM work_dates WHERE work_date = '2026-03-02'",
    "several-sites": "INSERT INTO daily_attendance SELECT * REPLACE ('Annex' AS site) FROM daily_attendance; "
    "INSERT INTO daily_attendance_revisions SELECT * REPLACE ('Annex' AS site) FROM daily_attendance_revisions",
    "namesakes": "INSERT INTO devices SELECT * REPLACE (2 AS id, 'Annex' AS name, 'Annex' AS site, "
    "'2' AS serial_number) FROM devices; INSERT INTO device_users "
    "(device, user_id, uid, name, privilege, card, updated_at) VALUES "
    "('Gate', '1001', 1, 'Ali Kaya', 0, 0, now()), ('Annex', '1001', 1, 'Ben Stone', 0, 0, now())",
    "stale-dates": "UPDATE work_dates SET processed_seq = 0",
    "left-sending": "UPDATE crm_deliveries SET state = 'sending' WHERE work_date = '2026-03-02'",
}


@pytest.fixture(scope="module")
def two_delivered_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    """Two days, the second in two revisions, all delivered; each date is a span of its own."""
    store = copied(empty_store_file, tmp_path_factory.mktemp("template"))
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    ingest(store, "Gate", *on(TUESDAY, "17:00"))
    process(store, TUESDAY)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered' WHERE state = 'pending'")
    return store.database.where


@pytest.fixture
def store(two_delivered_days: Where, tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(doctor, "_ROWS_AT_ONCE", 1)
    return copied(two_delivered_days, tmp_path, clock)


def found(store: Store) -> dict[str, str]:
    return {one.name: one.what for one in Doctor(store.database).examine(store.clock())}


def test_a_good_store_has_no_findings(store: Store) -> None:
    assert found(store) == {}


def test_the_advice_on_a_punch_after_midnight_makes_it_the_clock_out_of_the_day_before(store: Store) -> None:
    store.shifts.add(Shift(name="office", start=time(9), end=time(18)))
    store.shifts.assign(Assignment(shift="office", target=Target(user_id="1002")))
    ingest(store, "Gate", *on(MONDAY, "09:00", user_id="1002"), *on(TUESDAY, "00:30", "09:00", "18:00", user_id="1002"))
    process(store, MONDAY, TUESDAY)
    assert "2026-03-02 1002" in found(store)["after-midnight"]
    store.shifts.update(replace(store.shifts.get("office"), workday_starts_at=time(4)))
    process(store, MONDAY, TUESDAY)
    assert "after-midnight" not in found(store)
    assert rows(store, "SELECT clock_out_local::VARCHAR FROM daily_attendance WHERE user_id = '1002' ORDER BY 1") == [
        ("2026-03-03 00:30:00",),
        ("2026-03-03 18:00:00",),
    ]


def test_a_day_that_was_retracted_is_no_finding(store: Store) -> None:
    store.devices.update("Gate", site="Elsewhere")
    process(store, MONDAY, TUESDAY)
    assert found(store) == {}


@pytest.mark.parametrize("name", BREAK)
def test_what_is_broken_is_found(name: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for rules in ("WHOLE", "PER_SPAN"):  # the others take time, and are silent about a good store
        monkeypatch.setattr(doctor, rules, [one for one in getattr(doctor, rules) if one.name == name])
    monkeypatch.setattr(doctor, "_ROWS_AT_ONCE", 100)  # one span
    execute(store, BREAK[name])
    assert name in found(store)


@pytest.mark.parametrize(
    "broken",
    [
        "INSERT INTO devices FROM devices",
        "INSERT INTO work_dates FROM work_dates WHERE work_date = '2026-03-02'",
        "INSERT INTO daily_attendance_revisions FROM daily_attendance_revisions",
        "INSERT INTO crm_deliveries FROM crm_deliveries WHERE state = 'delivered'",
        "UPDATE daily_attendance SET payload_hash = 'other' WHERE work_date = '2026-03-02'",
    ],
)
def test_what_the_checks_of_the_data_find_doctor_finds_once(broken: str, store: Store) -> None:
    execute(store, broken)
    names = {name for name in found(store) if name not in ("history-deliveries", "deliveries-history")}
    assert names in ({"doubled-keys"}, {"inconsistent-dates"})


def test_what_was_put_right_is_no_finding(store: Store) -> None:
    execute(store, BREAK["quarantine"])
    execute(store, BREAK["clocks"])
    assert {"quarantine", "clocks"} <= found(store).keys()
    execute(store, "UPDATE quarantined_records SET released_at = now()")
    reading = datetime.combine(MONDAY, time(8))
    store.clock_corrections.add("Gate", from_local=reading, to_local=reading, add_seconds=60)
    assert not {"quarantine", "clocks"} & found(store).keys()


def test_a_date_whose_punches_retention_has_deleted_waits_for_none(store: Store) -> None:
    execute(store, BREAK["punches-counted"])
    execute(store, "UPDATE work_dates SET raw_purged_at = now() WHERE work_date = '2026-03-03'")
    assert "punches-counted" not in found(store)


def test_every_rule_is_tried() -> None:
    assert {rule.name for rule in (*WHOLE, *PER_SPAN)} <= BREAK.keys()


def test_a_finding_counts_over_all_spans_and_shows_one(store: Store) -> None:
    execute(store, "UPDATE raw_punches SET device = 'Unknown'")
    assert found(store)["punches-device"] == "punches refer to a device that is not stored: 4 (such as Unknown)"


def test_deliveries_of_a_run_that_lives_are_no_finding(store: Store) -> None:
    execute(store, BREAK["left-sending"])
    with store.database.engine.acquire_sync_lock():
        assert "left-sending" not in found(store)


@pytest.mark.file_engine  # it does not wait for a shared store
def test_a_sync_can_begin_while_the_doctor_waits_for_the_store(store: Store) -> None:
    execute(store, BREAK["left-sending"])
    with ThreadPoolExecutor() as pool:
        with busy(store, "store a poll"):
            waiting = pool.submit(lambda: list(Doctor(store.database).left_sending()))
            until(waiting.running)
            for _ in range(20):
                with store.deliveries.acquire_sync_lock():
                    time_module.sleep(0.01)
            assert not waiting.done()
        assert [one.name for one in waiting.result(30)] == ["left-sending"]


@pytest.mark.file_engine
def test_many_free_blocks_are_noted(store: Store) -> None:
    execute(
        store,
        "INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at) "
        "SELECT 'G', repeat(uuid()::VARCHAR, 9)::BLOB, i, 1, now() FROM range(400000) t(i)",
    )
    execute(store, "DELETE FROM quarantined_records")
    with store.database.maintenance("checkpoint") as connection:
        connection.execute("CHECKPOINT")
    assert "free blocks" in found(store)["free-blocks"]


def test_each_read_is_of_a_bounded_span(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    holds: list[str] = []
    read = type(store.database).read

    def watched(database: Database, purpose: str, about: str = "") -> AbstractContextManager[Connection]:
        holds.append(f"{purpose}: {about}")
        return read(database, purpose, about)

    monkeypatch.setattr(Database, "read", watched)
    assert found(store) == {}
    assert [one for one in holds if one.startswith("doctor: a span")] == [
        f"doctor: a span of dates: {day} to {day}" for day in (MONDAY, TUESDAY)
    ]
