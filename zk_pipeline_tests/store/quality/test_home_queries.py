"""Facts of the home page: punches of the usual day, polls and deliveries by hour, delays."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.store.quality.home import Delay, HomeFacts, HourlyDeliveries, HourlyPolls
from zk_pipeline.store.store import Store
from zk_pipeline.store.terminals.poll_results import FailedPoll
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import ALL, StoppedClock, device, execute, ingest, on, process

TODAY = date(2026, 6, 1)  # a Monday
NONE = Delay(0, None, None)


def facts_of(store: Store, zone: str = "UTC") -> HomeFacts:
    return store.home.read(WorkRules(), **ALL, now=store.clock(), zone=zone)


def test_an_empty_store_has_neither_punches_nor_delays_nor_problems(store: Store) -> None:
    facts = facts_of(store)
    assert (facts.devices, facts.terminals, facts.alerts, facts.stale, facts.outside) == (0, [], [], [], [])
    assert (facts.punches.today, facts.punches.days, sum(facts.punches.usual)) == ({}, 0, 0)
    assert (facts.delays.to_store, facts.delays.altogether, facts.sent) == (NONE, NONE, {})


def test_the_usual_day_is_the_median_of_the_same_weekdays_with_punches_of_the_last_eight_weeks(
    store: Store, clock: StoppedClock
) -> None:
    clock.now = datetime(2026, 6, 1, 10, 20, tzinfo=UTC)
    store.devices.add(device("Gate", site="Works"))
    store.devices.add(device("Island", timezone="Pacific/Kiritimati"))  # UTC+14: Tuesday 00:20
    weeks = [TODAY - timedelta(weeks=number) for number in (1, 2, 8, 9)]
    ingest(
        store, "Gate", *on(TODAY, "08:00", "08:30"), *on(weeks[0], "08:00", "08:10", "08:20", "08:59", "17:00"),
        *on(weeks[1], "08:00"), *on(weeks[2], "08:00", "08:01"), *on(weeks[3], "08:00", "03:00"),
        *on(TODAY - timedelta(days=1), "08:00", "09:00"),
    )  # fmt: skip
    ingest(store, "Island", *on(TODAY, "08:00"), *on(date(2026, 6, 2), "00:10"), *on(date(2026, 5, 26), "08:05"))
    punches = facts_of(store).punches
    assert {site: {hour: one for hour, one in enumerate(counts) if one} for site, counts in punches.today.items()} == {
        "Works": {8: 2}, "Island": {0: 1}
    }  # fmt: skip
    assert {hour: one for hour, one in enumerate(punches.usual) if one} == {8: 2}  # of 5, 1 and 2 punches
    assert (punches.days, punches.weekday, punches.last_hour) == (3, None, 10)
    store.devices.remove("Island")
    assert facts_of(store).punches.weekday == "Monday"


def test_polls_and_uploads_are_counted_by_hour_of_the_zone(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 6, 1, 10, 20, tzinfo=UTC)
    for name in ("Gate", "Door", "Gone"):
        store.devices.add(device(name))
    store.devices.remove("Gone")
    ingest(store, "Gate")
    store.punches.record_failures([FailedPoll("Gate", clock.now, clock.now, "no_answer", "silent")], run_id=None)
    adopt(store, "Yard", "CJ0V1", family="A")
    push(store, ("1001", "2026-06-01 10:00"), name="Yard", serial="CJ0V1")
    begin = facts_of(store, "Asia/Kolkata").begin  # 15:50 there
    assert begin == datetime(2026, 5, 31, 10, 30, tzinfo=UTC)
    clock.now = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
    contact(store, "CJ0V2")
    facts = facts_of(store)
    assert {one.name: (one.connection, dict(one.hours), one.failed) for one in facts.terminals} == {
        "Door": ("polls", {}, 0),
        "Gate": ("polls", {21: HourlyPolls(read=1, failed=1)}, 1),
        "Yard": ("pushes", {21: HourlyPolls(uploads=1)}, 0),
    }
    assert (facts.devices, facts.pending_terminals) == (3, 1)
    clock.now += timedelta(days=1)
    assert [dict(one.hours) for one in facts_of(store).terminals] == [{}, {}, {}]


def test_delays_are_those_of_each_punch_stored_today_of_its_day_and_of_its_delivery(
    store: Store, clock: StoppedClock
) -> None:
    clock.now = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)
    store.devices.add(device("Gate"))
    ingest(store, "Gate", *on(TODAY, "08:00", "08:50"), *on(TODAY - timedelta(days=3), "08:00"))
    clock.go(minutes=10)
    process(store, TODAY, TODAY - timedelta(days=3))
    clock.go(minutes=5)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered', delivered_at = ?", [clock.now])
    execute(
        store,
        """
        INSERT INTO crm_attempts BY NAME
        SELECT site, user_id, work_date, revision, idempotency_key, ?::TIMESTAMPTZ AS finished_at,
               unnest(['delivered', 'unknown']) AS outcome
        FROM crm_deliveries WHERE work_date = ?
        """,
        [clock.now, TODAY],
    )
    clock.go(minutes=5)
    process(store, TODAY)  # again, unchanged
    facts = facts_of(store)
    assert facts.delays.to_store == Delay(2, 35 * 60, 57.5 * 60)  # of 10 and 60 minutes
    assert facts.delays.to_day == Delay(1, 600, 600)
    assert facts.delays.to_crm == Delay(1, 300, 300)
    assert facts.delays.altogether == Delay(1, 25 * 60, 25 * 60)
    assert (facts.sent, facts.deliveries) == ({23: HourlyDeliveries(1, 1)}, {"delivered": 2})
    execute(store, "UPDATE raw_punches SET source = 'file'")
    assert facts_of(store).delays.to_store == NONE
