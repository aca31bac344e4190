"""Figures of work dates: from which punches, how many outliers, which rows are shown."""

from __future__ import annotations

from datetime import date, time, timedelta

from zk_pipeline.store.days.day_statistics import DateStatistics
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, device, ingest, on, process

SUNDAY = MONDAY - timedelta(days=1)


def test_a_date_says_what_it_was_made_from_and_what_is_unusual(store: Store) -> None:
    store.devices.add(device("Gate", site="Plant"))
    store.devices.add(device("Yard", site="Plant"))
    ingest(store, "Gate", *on(MONDAY, "08:00"), *on(MONDAY, "06:00", user_id="1002"), *on(TUESDAY, "12:00"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "18:00"))
    ingest(store, "Yard", *on(MONDAY, "12:00"), *on(SUNDAY, "06:00"))
    process(store, SUNDAY, MONDAY, TUESDAY)
    shown = store.days.statistics(MONDAY, TUESDAY, workday_starts_at=time(0))

    hours = {6: 1, 8: 1, 12: 1, 18: 1}
    assert shown.dates[MONDAY] == DateStatistics(
        punches=4,
        devices=2,
        hours=tuple(hours.get(hour, 0) for hour in range(24)),
        incomplete=1,
        outliers=1,
        codes={"CLOCK_IN_TOO_EARLY": 1, "MISSING_CLOCK_OUT": 1},
    )
    assert (shown.dates[TUESDAY].punches, shown.dates[TUESDAY].codes["CLOCK_IN_TOO_LATE"]) == (1, 1)
    assert list(shown.dates) == [MONDAY, TUESDAY]
    assert shown.outliers == {SUNDAY: 1, MONDAY: 1, TUESDAY: 1}, "the days before are there to compare"
    assert list(shown.previews[MONDAY]["user_id"]) == ["1002", "1001"], "the outlier first"


def test_punches_count_for_the_work_date_they_belong_to(store: Store) -> None:
    store.devices.add(device())
    ingest(store, "Gate", *on(MONDAY, "21:00"), *on(TUESDAY, "05:00", "11:59", "12:00"))
    process(store, MONDAY, TUESDAY, workday_starts_at=time(12))
    shown = store.days.statistics(MONDAY, TUESDAY, workday_starts_at=time(12))
    assert {day: one.punches for day, one in shown.dates.items()} == {MONDAY: 3, TUESDAY: 1}


def test_as_many_rows_as_asked_are_shown_of_each_date(store: Store) -> None:
    store.devices.add(device())
    for number in range(5):
        ingest(store, "Gate", *on(MONDAY, "09:00", "18:00", user_id=f"1{number}"))
        ingest(store, "Gate", *on(TUESDAY, "09:00", "18:00", user_id=f"1{number}"))
    process(store, MONDAY, TUESDAY)
    shown = store.days.statistics(MONDAY, TUESDAY, workday_starts_at=time(0), rows=3)
    assert {day: len(rows) for day, rows in shown.previews.items()} == {MONDAY: 3, TUESDAY: 3}


def test_dates_with_nothing_have_no_figures(store: Store) -> None:
    shown = store.days.statistics(date(2020, 1, 1), date(2020, 1, 31), workday_starts_at=time(0))
    assert (shown.dates, shown.outliers, shown.previews) == ({}, {}, {})
