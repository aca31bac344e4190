"""Delivery under fire: kills at any instant, errors and lost answers, days revised meanwhile. Counts are printed."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from zk_pipeline.simulator.crm_misbehaviour import Trouble, any_of, behave, refusal, sometimes, whenever
from zk_pipeline.simulator.crm_receiver import CrmReceiver
from zk_pipeline.store.outbox import Scope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.crm.crm_doubles import TOKEN, make_certificate
from zk_pipeline_tests.crm.due_days import dates_from, delivery_states, latest_revisions, make_due, person, revise
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS, ONCE, outcome_of
from zk_pipeline_tests.crm.sync_children import start_sync
from zk_pipeline_tests.engines import place
from zk_pipeline_tests.store.store_bench import rows

Record = Callable[[str, object], None]
AGAIN = Scope(states=("retry",))


def variables(folder: Path, receiver: CrmReceiver, concurrency: int = 8) -> dict[str, str]:
    return {
        "ZK_PIPELINE_HOME": str(folder),
        "CRM_API_URL": receiver.url,
        "CRM_API_TOKEN": TOKEN,
        "CRM_CA_BUNDLE": str(folder / "ca.pem"),
        "CRM_CONCURRENCY": str(concurrency),
    }


def receiver_over_tls(folder: Path) -> CrmReceiver:
    certificate = make_certificate(folder, ends=datetime.now(timezone.utc) + timedelta(days=365))
    return CrmReceiver(token=TOKEN, tls=certificate.tls)


@pytest.mark.parametrize(
    ("people", "dates", "kills"),
    [
        pytest.param(40, 10, 12, id="scaled"),
        pytest.param(100, 100, 200, id="full", marks=[pytest.mark.stress, pytest.mark.timeout(800)]),
    ],
)
def test_whatever_is_killed_refused_or_lost_each_days_latest_revision_arrives_once_and_in_order(
    tmp_path: Path, record_property: Record, people: int, dates: int, kills: int
) -> None:
    rng = random.Random(6)
    store, days = Store.at(place(tmp_path / "store.duckdb")), dates_from(dates)
    due = make_due(store, people=people, dates=days)
    killed, ended, revised, left_behind = 0, 0, 0, 0
    with receiver_over_tls(tmp_path) as receiver:
        receiver.misbehave = any_of(
            sometimes(0.05, refusal(503), seed=1), sometimes(0.05, Trouble(drop="after"), seed=2)
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
            was_killed = child.kill(after=rng.uniform(0.02, 0.9))
            killed, ended = killed + was_killed, ended + (not was_killed)
            left_behind += was_killed and "sending" in delivery_states(store)
        under_fire = receiver.posts
        for _ in range(10):
            start_sync(store, variables(tmp_path, receiver), AGAIN).wait(300)
            if set(delivery_states(store)) <= {"delivered", "superseded"}:
                break
        ledger = receiver.ledger
        latest = {day: int(str(record["revision"])) for day, record in ledger.latest().items()}
        applied = [ledger.revisions(user, day) for user, day in latest]
        replays = sum(ledger.attempts.values()) - sum(map(len, applied))
        record_property(
            CRM_COUNTS,
            f"{due:,} days, {revised:,} revised meanwhile, {killed} kills ({left_behind} left deliveries behind; "
            f"{ended} runs ended first), {receiver.posts:,} requests ({under_fire:,} under fire), "
            f"{sum(map(len, applied)):,} revisions applied, {replays:,} replays, {len(ledger.anomalies)} anomalies; "
            f"store: {delivery_states(store)}",
        )
        assert killed == kills
        assert latest == latest_revisions(store)
        assert all(revisions == sorted(set(revisions)) for revisions in applied)
        assert ledger.anomalies == []
        assert outcome_of(store, receiver) == ONCE


@pytest.mark.parametrize(
    "people", [pytest.param(60, id="scaled"), pytest.param(500, id="full", marks=pytest.mark.stress)]
)
def test_an_outage_costs_few_requests_and_no_attempts_of_what_was_not_sent(
    tmp_path: Path, record_property: Record, people: int
) -> None:
    concurrency = 8
    store = Store.at(place(tmp_path / "store.duckdb"))
    due = make_due(store, people=people, dates=dates_from(10))
    with receiver_over_tls(tmp_path) as receiver:
        receiver.misbehave = whenever(lambda _: True, refusal(503))
        ended = start_sync(store, variables(tmp_path, receiver, concurrency)).wait()
        requests = receiver.posts
        ((attempts, sent),) = rows(
            store, "SELECT sum(attempts)::INTEGER, count(*) FILTER (attempts > 0) FROM crm_deliveries"
        )
        record_property(
            CRM_COUNTS, f"{due:,} due: {requests} requests, {sent} records attempted; {ended.summary.stopped}"
        )
        assert ended.summary.stopped is not None
        assert requests <= 3 * concurrency + 10
        assert attempts == requests
        assert rows(store, "SELECT DISTINCT state FROM crm_deliveries WHERE attempts = 0") == [("pending",)]
        receiver.misbehave = behave
        assert start_sync(store, variables(tmp_path, receiver), AGAIN).wait(120).summary.delivered == due
        assert receiver.posts == requests + due
        assert outcome_of(store, receiver) == ONCE
