"""Outages, rate limits, and users whose records fail while others arrive: cost of each, and time until all arrive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from zk_pipeline.simulator.crm.faults import Fault, FaultRule, ReceivedRequest, refusal, whenever
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline_tests.crm.due_days import person
from zk_pipeline_tests.crm.matrix.conftest import AGAIN, DUE, Case
from zk_pipeline_tests.crm.matrix.crm_judge import CRM_COUNTS
from zk_pipeline_tests.store.store_fixtures import rows

SPENT = "SELECT sum(attempts)::INTEGER, sum(retry_rounds)::INTEGER FROM crm_deliveries"
FORCED = SyncScope(states=("delivered",))
FORMS = {"503": refusal(503), "500": refusal(500), "dropped": Fault(drop="before"), "429": refusal(429)}


def forms(*sample: str) -> list[Any]:
    """The faults of an outage; those outside of the sample under `matrix`."""
    return [
        pytest.param(fault, id=name, marks=() if name in sample else pytest.mark.matrix)
        for name, fault in FORMS.items()
    ]


def down_for(seconds: float, trouble: Fault, *, after: int) -> FaultRule:
    """Everything fails for so long, from request number `after` on."""
    began: list[float] = []

    def fault_rule(received: ReceivedRequest) -> Fault | None:
        if received.number >= after and not began:
            began.append(time.monotonic())
        return trouble if began and time.monotonic() < began[0] + seconds else None

    return fault_rule


@pytest.mark.parametrize("trouble", forms("dropped", "429"))
def test_a_blip_of_two_seconds_is_waited_for_and_everything_is_delivered_by_the_run_it_met(
    case: Case, trouble: Fault, record_property: Callable[[str, object], None]
) -> None:
    case.receiver.fault_rule = down_for(2.0, trouble, after=20)
    ended = case.sync(CRM_CONCURRENCY="8").summary
    assert (ended.delivered, ended.stopped) == (DUE, None)
    assert rows(case.store, SPENT) == [(DUE, 0)]
    assert case.receiver.posts < DUE + 40
    record_property(CRM_COUNTS, f"{DUE} days, 2 s down: {case.receiver.posts} requests, {DUE} attempts, 0 rounds")
    case.settle()


@pytest.mark.parametrize("trouble", forms("503", "429"))
def test_an_outage_longer_than_the_patience_spends_nothing_however_many_rounds_it_lasts(
    case: Case, trouble: Fault
) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, trouble)
    for _ in range(3):
        ended = case.sync(AGAIN, CRM_OUTAGE_PATIENCE="0.2").summary
        assert (ended.retry, ended.failed) == (0, 0)
        assert f"; {DUE} still wait: the next sync sends them" in str(ended.stopped)
    assert case.states() == {"pending": (DUE, 0)}
    assert rows(case.store, SPENT) == [(0, 0)]
    case.receiver.fault_rule = lambda _: None
    assert case.sync().summary.delivered == DUE
    case.settle()


@pytest.mark.parametrize("batch", [pytest.param("1", marks=pytest.mark.matrix), "25"])
def test_many_people_who_fail_together_wait_and_the_others_all_arrive_in_one_run(case: Case, batch: str) -> None:
    poison = {person(n) for n in range(2, 17)}
    case.receiver.fault_rule = whenever(lambda r: bool(r.user_ids & poison), refusal(500))
    ended = case.sync(CRM_BATCH_SIZE=batch, CRM_CONCURRENCY="8").summary
    assert (ended.delivered, ended.retry, ended.failed, ended.stopped) == (DUE - 30, 30, 0, None)
    waiting = rows(
        case.store, "SELECT DISTINCT user_id, attempts, retry_rounds FROM crm_deliveries WHERE state = 'retry'"
    )
    assert {user for user, _, _ in waiting} == poison
    assert {(attempts, rounds) for _, attempts, rounds in waiting} == {(3, 1)}
    case.settle()


def test_a_crm_that_takes_24_requests_at_a_time_is_asked_more_slowly_and_gets_everything(case: Case) -> None:
    taken: list[float] = []

    def limited(_: ReceivedRequest) -> Fault | None:
        now = time.monotonic()
        if sum(at > now - 2 for at in taken) >= 24:
            return refusal(429)
        taken.append(now)
        return None

    case.receiver.fault_rule = limited
    ended = case.sync(CRM_CONCURRENCY="8").summary
    assert (ended.delivered, ended.stopped) == (DUE, None)
    assert rows(case.store, SPENT) == [(DUE, 0)]
    assert case.receiver.posts < DUE + 30
    case.settle()


def test_a_pause_asked_for_survives_the_run_that_heard_of_it(case: Case) -> None:
    case.receiver.fault_rule = whenever(lambda r: r.number > 20, refusal(503, retry_after="4"))
    ended = case.sync(CRM_OUTAGE_PATIENCE="1", CRM_CONCURRENCY="1").summary
    asked = time.monotonic()
    assert (ended.delivered, ended.unsent) == (20, DUE - 20)
    assert f"{DUE - 20} still wait" in str(ended.stopped)
    assert "UTC, as the CRM asked" in str(ended.stopped)
    case.receiver.fault_rule = lambda _: None
    posts = case.receiver.posts
    early = case.sync(CRM_OUTAGE_PATIENCE="0").summary
    assert (early.delivered, case.receiver.posts) == (0, posts)
    assert "the CRM asks for a pause of" in str(early.stopped)
    assert case.sync().summary.delivered == DUE - 20
    assert time.monotonic() - asked >= 2.5
    assert rows(case.store, SPENT) == [(DUE, 0)]
    case.settle()


def test_forced_days_stay_delivered_when_the_crm_is_down(case: Case) -> None:
    case.sync()
    case.receiver.fault_rule = whenever(lambda _: True, refusal(503))
    assert case.sync(FORCED, CRM_OUTAGE_PATIENCE="0").summary.unsent == DUE
    assert case.states() == {"delivered": (DUE, DUE)}
    case.settle()
