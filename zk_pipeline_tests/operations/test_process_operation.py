"""Processing of work dates: a bad date does not affect others."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pandas as pd
import pytest

from zk_pipeline.attendance.evaluate import EvaluatedDays, evaluate_days
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.config.settings import load_settings
from zk_pipeline.operations import process as operation
from zk_pipeline.operations.process import process_dates
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.days.days import DateWritten
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, device, execute, ingest, on, process, rows, stale

WEDNESDAY, THURSDAY, FRIDAY = (TUESDAY + timedelta(days=number) for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def three_days(store: Store) -> None:
    store.devices.add(device())
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        ingest(store, "Gate", *on(day, "08:00", "17:00"))


def test_one_bad_date_leaves_the_others_done_and_says_why(store: Store) -> None:
    # A device with a zone that no longer exists breaks whatever its punches are part of.
    store.devices.add(device("Broken"))
    ingest(store, "Broken", *on(TUESDAY, "07:00"))
    execute(store, "UPDATE devices SET timezone = 'Mars/Olympus' WHERE name = 'Broken'")
    done = process(store, MONDAY, TUESDAY, WEDNESDAY)
    assert [item.work_date for item in done.written] == [MONDAY, WEDNESDAY]
    assert list(done.failed) == [TUESDAY]
    assert "Mars/Olympus" in done.failed[TUESDAY]
    assert "\n" not in done.failed[TUESDAY]
    assert done.overtaken == []
    assert stale(store) == [TUESDAY]
    assert rows(store, "SELECT DISTINCT work_date FROM daily_attendance ORDER BY 1") == [(MONDAY,), (WEDNESDAY,)]


def test_an_error_without_words_is_told_by_its_class(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def speechless(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(operation, "evaluate_days", speechless)
    assert process(store, MONDAY, TUESDAY).failed == {MONDAY: "ZeroDivisionError", TUESDAY: "ZeroDivisionError"}


def busy(*_: object) -> None:
    raise StoreBusy("held by process 7")


def test_a_store_that_is_busy_is_nobodys_bad_date(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation, "evaluate_days", busy)
    with pytest.raises(StoreBusy):
        process(store, MONDAY)
    assert stale(store) == [MONDAY, TUESDAY, WEDNESDAY]


def test_many_dates_are_made_in_parts_each_of_which_is_told_once_it_is_stored(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed: list[tuple[list[date], list[date]]] = []

    def note(part: Sequence[DateWritten]) -> None:
        committed.append(([item.work_date for item in part], stale(store)))
        if len(committed) == 2:
            monkeypatch.setattr(operation, "evaluate_days", busy)

    monkeypatch.setattr(operation, "_FIRST_BATCH", 2)
    monkeypatch.setattr(operation, "_MAX_ROWS", 1)  # each date has one
    ingest(store, "Gate", *on(THURSDAY, "08:00"))
    with pytest.raises(StoreBusy):
        process_dates(store, [MONDAY, TUESDAY, WEDNESDAY, THURSDAY], WorkRules(), run_id=None, on_committed=note)
    assert committed == [([MONDAY, TUESDAY], [WEDNESDAY, THURSDAY]), ([WEDNESDAY], [THURSDAY])]
    assert stale(store) == [THURSDAY]


def test_punches_that_arrive_during_a_long_run_do_not_wait_for_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed: list[list[date]] = []

    def note(part: Sequence[DateWritten]) -> None:
        committed.append([item.work_date for item in part])

    def newer(without: Collection[date]) -> list[date]:
        if len(committed) == 1:
            ingest(store, "Gate", *on(WEDNESDAY, "19:00"), *on(FRIDAY, "08:00"))
        return [day for day in stale(store) if day in (WEDNESDAY, FRIDAY) and day not in without]

    monkeypatch.setattr(operation, "_FIRST_BATCH", 1)
    monkeypatch.setattr(operation, "_MAX_ROWS", 1)
    done = process_dates(store, [MONDAY, TUESDAY, WEDNESDAY], WorkRules(), run_id=None, on_committed=note, newer=newer)
    assert committed == [[MONDAY], [WEDNESDAY, FRIDAY], [TUESDAY]]
    assert [item.work_date for item in done.written] == [MONDAY, WEDNESDAY, FRIDAY, TUESDAY]
    assert (done.failed, done.overtaken, stale(store)) == ({}, [], [])


def test_newer_punches_that_cannot_be_processed_fail_neither_the_run_nor_other_dates(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[set[date]] = []

    def newer(without: Collection[date]) -> list[date]:
        if not asked:
            ingest(store, "Gate", *on(THURSDAY, "08:00"))
            ingest(store, "Broken", *on(FRIDAY, "08:00"))
            execute(store, "UPDATE devices SET timezone = 'Mars/Olympus' WHERE name = 'Broken'")
        asked.append(set(without))
        return [day for day in (THURSDAY, FRIDAY) if day not in without and day in stale(store)]

    store.devices.add(device("Broken"))
    monkeypatch.setattr(operation, "_GROUP", 1)
    done = process_dates(store, [MONDAY, TUESDAY, WEDNESDAY], WorkRules(), run_id=None, newer=newer)
    assert [item.work_date for item in done.written] == [MONDAY, TUESDAY, WEDNESDAY, THURSDAY]
    assert (done.failed, stale(store)) == ({}, [FRIDAY])  # a run of its own says why
    assert asked == [set(), {FRIDAY}]  # not tried between any two groups


def test_dates_that_another_run_made_from_newer_punches_are_told_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(summaries: pd.DataFrame, rules: WorkRules, now: datetime, shifts: Mapping[str, Shift]) -> EvaluatedDays:
        monkeypatch.setattr(operation, "evaluate_days", evaluate_days)
        ingest(store, "Gate", *on(MONDAY, "18:00"))
        process(store, MONDAY, run_id="faster run")
        return evaluate_days(summaries, rules, now, shifts)

    monkeypatch.setattr(operation, "evaluate_days", slowly)
    done = process(store, MONDAY, TUESDAY, run_id="slower run")
    assert [item.work_date for item in done.written] == [TUESDAY]
    assert (done.overtaken, done.failed) == ([MONDAY], {})
    assert rows(store, "SELECT run_id FROM daily_attendance ORDER BY work_date") == [("faster run",), ("slower run",)]


def test_the_rules_are_those_of_the_settings(tmp_path: Path) -> None:
    chosen = {
        "WORK_START_TIME": "22:00",
        "WORK_END_TIME": "06:00",
        "OUTLIER_EARLY_CLOCK_IN_HOURS": "0.5",
        "OUTLIER_LATE_CLOCK_IN_HOURS": "1",
        "OUTLIER_EARLY_CLOCK_OUT_HOURS": "1.5",
        "OUTLIER_LATE_CLOCK_OUT_HOURS": "4",
        "DEBOUNCE_SECONDS": "5",
    }
    assert work_rules(load_settings({"ZK_PIPELINE_HOME": str(tmp_path), **chosen})) == WorkRules(
        start=time(22),
        end=time(6),
        workday_starts_at=time(14),
        early_clock_in=timedelta(minutes=30),
        late_clock_in=timedelta(hours=1),
        early_clock_out=timedelta(minutes=90),
        late_clock_out=timedelta(hours=4),
        debounce_seconds=5,
    )
    assert work_rules(load_settings({"ZK_PIPELINE_HOME": str(tmp_path)})) == WorkRules()


def test_rules_reach_the_days(store: Store) -> None:
    strict = WorkRules(early_clock_in=timedelta(), debounce_seconds=3600 * 10)
    process_dates(store, [MONDAY], strict, run_id=None)
    assert rows(store, "SELECT punch_count, outlier_codes FROM daily_attendance") == [
        (1, ["CLOCK_IN_TOO_EARLY", "MISSING_CLOCK_OUT"])
    ]
    assert process(store, date(2020, 1, 1)).failed == {}
