"""Series of charts: polls and uploads of a device by date, punches of a site by hour; effects of runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from zk_pipeline.store.queries.device_history import DAYS, DeviceDate, device_history
from zk_pipeline.store.queries.run_effects import DateEffect, RunEffects, run_effects
from zk_pipeline.store.queries.site_details import punches_per_hour
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.push.push_fixtures import adopt, push
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    device,
    execute,
    ingest,
    on,
    process,
)


def test_a_date_has_the_polls_new_punches_and_the_worst_measurements(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Gate", timezone="Europe/Istanbul"))
    clock.now = datetime(2026, 3, 2, 20, tzinfo=UTC)  # 23:00 there
    ingest(store, "Gate", *on(MONDAY, "09:00", "17:30"))
    clock.go(hours=2)  # the next date there
    ingest(store, "Gate", *on(MONDAY, "09:00", "17:30", "18:00"))
    execute(store, "UPDATE device_polls SET clock_drift_seconds = -75 WHERE id = 2")
    failure = FailedPoll("Gate", clock.now, clock.now, "unreachable", "no answer")
    listening = replace(failure, mode="live")  # no poll
    store.punches.record_failures([failure, listening], run_id=None)
    history = device_history(store.database, "Gate", "Europe/Istanbul", TUESDAY)
    assert len(history) == DAYS
    assert history[-2:] == [
        DeviceDate(MONDAY, polls=1, punches=2, drift_seconds=1.5, records=2),
        DeviceDate(TUESDAY, polls=2, failed=1, punches=1, drift_seconds=-75, records=3),
    ]
    assert history[0] == DeviceDate(TUESDAY - timedelta(days=DAYS - 1))


def test_uploads_count_once_with_their_longest_lag(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    adopt(store, "Yard", "CJ0V1", family="A")
    push(store, ("1001", f"{MONDAY} 11:00"), ("1001", f"{MONDAY} 11:30"), name="Yard", serial="CJ0V1")
    (newest,) = device_history(store.database, "Yard", "UTC", MONDAY)[-1:]
    assert (newest.polls, newest.uploads, newest.punches, newest.lag_seconds) == (0, 1, 2, 1800)


def test_punches_per_hour_have_the_median_of_the_same_weekday(store: Store) -> None:
    store.devices.add(device("Gate", site="Plant"))
    store.devices.add(device("Yard", site="Depot"))
    earlier = [MONDAY - timedelta(weeks=weeks) for weeks in (1, 2, 8, 9)]
    punches = [*on(MONDAY, "08:59", "09:01", "09:59"), *on(TUESDAY - timedelta(weeks=1), "09:00")]
    for day in earlier:
        punches += on(day, "09:00")
    punches += on(earlier[0], "09:30", "10:00")
    ingest(store, "Gate", *punches)
    ingest(store, "Yard", *on(MONDAY, "09:00"))
    hours = {one.hour: (one.punches, one.usual) for one in punches_per_hour(store.database, "Plant", MONDAY)}
    assert len(hours) == 24
    assert (hours[8], hours[9], hours[10], hours[11]) == ((1, 0), (2, 1), (0, 0), (0, 0))
    assert {one.usual for one in punches_per_hour(store.database, "Depot", MONDAY)} == {None}


def test_the_effects_of_a_run_are_its_revisions_by_date(store: Store, clock: StoppedClock) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate", *on(MONDAY, "09:00"), *on(TUESDAY, "09:00"), *on(TUESDAY, "10:00", user_id="1002"))
    since = clock.now
    process(store, MONDAY, TUESDAY, run_id="first")
    ingest(store, "Gate", *on(TUESDAY, "09:00", "18:00"), *on(MONDAY, "09:00"))
    process(store, TUESDAY, run_id="second")
    both = [DateEffect(TUESDAY, 2, 0), DateEffect(MONDAY, 1, 0)]
    assert run_effects(store.database, ["first"], since) == RunEffects(both, 2, {})
    assert run_effects(store.database, ["second"], since).dates == [DateEffect(TUESDAY, 1, 0)]
    assert run_effects(store.database, ["first"], since + timedelta(hours=1)).dates == []
