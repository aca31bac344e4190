"""Users who have punched today, by site, and the details of one terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from zk_pipeline.store.queries.device_details import device_details
from zk_pipeline.store.queries.site_details import SitePresence, presence
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.store_fixtures import StoppedClock, device, execute, ingest


def test_each_site_has_its_own_today_and_people_count_once(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)  # the third has begun in Istanbul
    store.devices.add(device("North", site="Works"))
    store.devices.add(device("South", site="Works"))
    store.devices.add(device("Bosporus", timezone="Europe/Istanbul"))
    store.devices.add(replace(device("Off"), enabled=False))
    people = [("1", 1, "One", 0, 0), ("2", 2, "Two", 0, 0)]
    ingest(store, "North", ("1", "2026-03-02 08:00"), ("2", "2026-03-01 08:00"), users=people)
    ingest(store, "South", ("1", "2026-03-02 17:00"), ("9", "2030-01-01 00:00"), users=people)
    ingest(store, "Bosporus", ("1", "2026-03-02 23:00"), ("2", "2026-03-03 00:30"), ("3", "2026-03-03 01:00"))
    assert presence(store.database, clock.now) == [
        SitePresence("Bosporus", date(2026, 3, 3), 2, 0, datetime(2026, 3, 2, 22, tzinfo=UTC)),
        SitePresence("Works", date(2026, 3, 2), 1, 2, datetime(2026, 3, 2, 17, tzinfo=UTC)),
    ]


def test_today_begins_where_the_settings_let_work_dates_begin(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 3, 3, 2, tzinfo=UTC)
    store.devices.add(device("Gate"))
    ingest(store, "Gate", ("1", "2026-03-02 22:00"))
    assert [(one.today, one.people) for one in presence(store.database, clock.now)] == [(date(2026, 3, 3), 0)]
    execute(store, "INSERT INTO store_settings VALUES ('workday_starts_at', '14:00:00')")
    assert [(one.today, one.people) for one in presence(store.database, clock.now)] == [(date(2026, 3, 2), 1)]


def test_without_terminals_nobody_is_present(store: Store) -> None:
    assert presence(store.database, store.clock()) == []


def test_a_terminal_is_known_by_what_it_brought_and_by_its_polls_the_newest_first(store: Store) -> None:
    store.devices.add(device("Gate"))
    assert device_details(store.database, "Gate").polls == []
    assert device_details(store.database, "Gate").fill is None
    ingest(store, "Gate", ("1", "2026-03-02 08:00"), rejected=[b"\0" * 40], users=[("1", 1, "One", 0, 0)])
    now = store.clock()
    failed = FailedPoll(device="Gate", started_at=now, finished_at=now, error_code="refused", error="nothing listens")
    store.punches.record_failures([failed], run_id="second")
    story = device_details(store.database, "Gate")
    assert (story.punches, story.quarantined, story.enrolled, story.records) == (1, 1, 1, 2)
    assert (story.last_punch_local, story.drift_seconds) == (datetime.fromisoformat("2026-03-02 08:00"), 1.5)
    assert story.fill == pytest.approx(0.002)
    assert [(poll.status, poll.new, poll.run_id, poll.error) for poll in story.polls] == [
        ("failed", None, "second", "nothing listens"),
        ("success", 1, "poll run", None),
    ]
