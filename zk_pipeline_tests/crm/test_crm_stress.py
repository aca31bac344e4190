"""Delivery under fire: kills at any instant, errors and lost answers, concurrent revisions. Counts are printed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.crm.faults import Fault, ReceivedRequest, any_of, no_fault, refusal, sometimes, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Where
from zk_pipeline_tests.crm.crm_doubles import TOKEN, make_certificate
from zk_pipeline_tests.crm.due_days import (
    ANNEX,
    GATE,
    add_punches,
    copied_store,
    dates_from,
    delivery_states,
    leave,
    make_due,
    person,
    remake,
    revise,
    whole_days,
)
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS, ONCE, outcome_of
from zk_pipeline_tests.crm.sync_children import start_sync
from zk_pipeline_tests.store.store_fixtures import rows
from zk_pipeline_tests.waiting import until

Record = Callable[[str, object], None]
AGAIN = SyncScope(states=("retry",))


def variables(folder: Path, receiver: CrmReceiver, concurrency: int = 8) -> dict[str, str]:
    return {
        "ZK_PIPELINE_HOME": str(folder),
        "CRM_API_URL": receiver.url,
        "CRM_API_TOKEN": TOKEN,
        "CRM_CA_BUNDLE": str(folder / "ca.pem"),
        "CRM_CONCURRENCY": str(concurrency),
    }


def receiver_over_tls(folder: Path) -> CrmReceiver:
    certificate = make_certificate(folder, ends=datetime.now(UTC) + timedelta(days=365))
    return CrmReceiver(token=TOKEN, tls=certificate.tls)


EARLY_HINTS = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@dataclass
class Fire:
    """Faults of the CRM by the clock: an outage, a rate limit, users whose records fail."""

    outage: tuple[float, float]  # seconds after the first request: from, until
    poison: frozenset[str]  # they get 500 until `until`
    until: float
    began: float | None = None
    rng: random.Random = field(default_factory=lambda: random.Random(3))

    @property
    def is_over(self) -> bool:
        return self.began is not None and time.monotonic() > self.began + self.until

    def __call__(self, received: ReceivedRequest) -> Fault | None:
        self.began = self.began or time.monotonic()
        now = time.monotonic() - self.began
        if self.outage[0] <= now < self.outage[1]:
            return Fault(drop="before") if self.rng.random() < 0.5 else refusal(503)
        if received.user_ids & self.poison and now < self.until:
            return refusal(500)
        if self.rng.random() < 0.02:
            return refusal(429)
        return Fault(interim=EARLY_HINTS) if self.rng.random() < 0.02 else None


def _has_grown(receiver: CrmReceiver, posts: int) -> bool:
    return receiver.posts > posts


@pytest.mark.parametrize(
    ("people_and_dates", "kills_and_outage"),
    [
        pytest.param((20, 5), (5, 3), id="scaled"),
        pytest.param((100, 100), (200, 60), id="full", marks=[pytest.mark.stress, pytest.mark.timeout(900)]),
    ],
)
def test_whatever_is_killed_refused_or_lost_each_days_latest_revision_arrives_once_and_in_order(
    empty_store_file: Where,
    tmp_path: Path,
    record_property: Record,
    people_and_dates: tuple[int, int],
    kills_and_outage: tuple[int, int],
) -> None:
    (people, dates), (kills, outage) = people_and_dates, kills_and_outage
    rng = random.Random(6)
    store, days = copied_store(empty_store_file, tmp_path / "store.duckdb"), dates_from(dates)
    due = make_due(store, people=people, dates=days)
    both = [person(n) for n in range(0, people, 5)]  # they punch at another site, too
    store.devices.add(Device(name=ANNEX, ip_address="192.0.2.11"))
    add_punches(store, ((user, day, time) for day in days for user in both for time in ("07:30", "12:00")), gate=ANNEX)
    remake(store, days)
    killed, ended, revised, left_behind = 0, 0, 0, 0
    with receiver_over_tls(tmp_path) as receiver:
        poison = frozenset(person(n) for n in range(people // 10, people // 10 + 3 * people // 10))
        fire = Fire(outage=(5, 5 + outage), poison=poison, until=10 + outage)
        receiver.fault_rule = any_of(
            fire, sometimes(0.05, refusal(503), seed=1), sometimes(0.05, Fault(drop="after"), seed=2)
        )
        for turn in range(3 * kills):
            if killed == kills:
                break
            child = start_sync(store, variables(tmp_path, receiver), AGAIN)
            if turn % 4 == 1:
                moment = f"{18 + turn // 240:02}:{turn // 4 % 60:02}"
                some = {(person(rng.randrange(people)), rng.choice(days[:3])) for _ in range(30)}
                revise(store, some, moment)
                revised += len(some)
            if turn % 12 == 2:
                some = {(rng.choice(both), rng.choice(days[:3])) for _ in range(5)}
                revise(store, some, f"{18 + turn // 240:02}:{turn // 4 % 60:02}:30", gate=ANNEX)
            if turn % 12 == 6:
                gone = {(rng.choice(both), rng.choice(days[:3]))}
                leave(store, gone, gate=rng.choice((GATE, ANNEX)))
            if turn % 3:  # most at work at the CRM, the others anywhere between their start and there
                with suppress(AssertionError):
                    until(partial(_has_grown, receiver, receiver.posts), seconds=10)
            was_killed = child.kill(after=rng.uniform(0.02, 0.9))
            killed, ended = killed + was_killed, ended + (not was_killed)
            left_behind += was_killed and "sending" in delivery_states(store)
        under_fire = receiver.posts
        for _ in range(20):
            start_sync(store, variables(tmp_path, receiver), AGAIN if fire.is_over else SyncScope()).wait(300)
            if set(delivery_states(store)) <= {"delivered", "superseded"}:
                break
        ledger = receiver.ledger
        latest = ledger.latest()
        held = {
            day: tuple(
                None if record[name] is None else datetime.fromisoformat(str(record[name]))
                for name in ("clock_in", "clock_out")
            )
            for day, record in latest.items()
            if record["clock_in"] is not None
        }
        applied = [ledger.revisions(user, day) for user, day in latest]
        replays = sum(ledger.attempts.values()) - sum(map(len, applied))
        record_property(
            CRM_COUNTS,
            f"{due:,} days ({len(both) * dates:,} at two sites), {revised:,} revised during it, "
            f"{killed} kills ({left_behind} left deliveries behind; "
            f"{ended} runs ended first), {receiver.posts:,} requests ({under_fire:,} under fire), "
            f"{sum(map(len, applied)):,} revisions applied, {replays:,} replays, {len(ledger.anomalies)} anomalies; "
            f"store: {delivery_states(store)}",
        )
        assert killed == kills
        assert held == whole_days(store)
        assert all(revisions == sorted(set(revisions)) for revisions in applied)
        assert ledger.anomalies == []
        assert outcome_of(store, receiver) == ONCE


@pytest.mark.parametrize(
    ("people", "outage"),
    [pytest.param(30, 4, id="scaled"), pytest.param(500, 60, id="full", marks=pytest.mark.stress)],
)
def test_an_outage_costs_few_requests_and_no_attempt_and_is_made_up_for_soon(
    empty_store_file: Where, tmp_path: Path, record_property: Record, people: int, outage: float
) -> None:
    """The arithmetic of an outage in the middle of a run: what it costs, and how long after it the last day arrives."""
    store = copied_store(empty_store_file, tmp_path / "store.duckdb")
    due = make_due(store, people=people, dates=dates_from(10))
    with receiver_over_tls(tmp_path) as receiver:
        times: list[float] = []
        down: list[float] = []

        def fault_rule(received: ReceivedRequest) -> Fault | None:
            now = time.monotonic()
            if received.number == due // 2:
                down.append(now)
            is_down = bool(down) and now < down[0] + outage
            times.append(now)
            return refusal(503) if is_down else None

        receiver.fault_rule = fault_rule
        ended = start_sync(store, variables(tmp_path, receiver)).wait(200)
        recovered = down[0] + outage
        alone = (down[0] - times[0]) + (times[-1] - min(at for at in times if at >= recovered))
        late = times[-1] - recovered
        ((attempts, rounds),) = rows(
            store, "SELECT sum(attempts)::INTEGER, sum(retry_rounds)::INTEGER FROM crm_deliveries"
        )
        record_property(
            CRM_COUNTS,
            f"{due:,} due, {outage:.0f} s down: {receiver.posts - due} requests more than days, {attempts - due} "
            f"attempts and {rounds} rounds spent; last day {late:.1f} s after recovery, deliveries alone {alone:.1f} s",
        )
        assert (ended.summary.delivered, ended.summary.stopped) == (due, None)
        assert (attempts, rounds) == (due, 0)
        assert receiver.posts - due <= 16 + 8 + 3 + outage
        assert late < max(2 * alone, alone + 3.5), "the longest pause between two probes, and the days themselves"
        assert outcome_of(store, receiver) == ONCE


def test_an_outage_longer_than_the_patience_spends_nothing(
    empty_store_file: Where, tmp_path: Path, record_property: Record
) -> None:
    concurrency = 8
    store = copied_store(empty_store_file, tmp_path / "store.duckdb")
    due = make_due(store, people=20, dates=dates_from(5))
    with receiver_over_tls(tmp_path) as receiver:
        receiver.fault_rule = whenever(lambda _: True, refusal(503))
        without = variables(tmp_path, receiver, concurrency) | {"CRM_OUTAGE_PATIENCE": "0"}
        ended = start_sync(store, without).wait()
        requests = receiver.posts
        record_property(CRM_COUNTS, f"{due:,} due: {requests} requests, no attempts; {ended.summary.stopped}")
        assert ended.summary.stopped is not None
        assert requests <= 3 * concurrency + 13
        assert rows(store, "SELECT DISTINCT state, attempts, retry_rounds FROM crm_deliveries") == [("pending", 0, 0)]
        receiver.fault_rule = no_fault
        assert start_sync(store, variables(tmp_path, receiver)).wait(120).summary.delivered == due
        assert receiver.posts == requests + due
        assert outcome_of(store, receiver) == ONCE
