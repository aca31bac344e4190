"""Runs that are killed at each point, concurrent runs, days that change and clocks that fall during a run."""

from __future__ import annotations

import socket
import threading

from zk_pipeline.simulator.crm.faults import Fault, ReceivedRequest, first, refusal, whenever
from zk_pipeline_tests.crm.due_days import FIRST, person, revise
from zk_pipeline_tests.crm.matrix.conftest import DUE, PEOPLE, Case
from zk_pipeline_tests.waiting import until


def test_a_run_killed_before_its_post_is_made_up_for_under_the_same_keys(case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        child = case.start(CRM_API_URL=f"https://127.0.0.1:{silent.getsockname()[1]}/")
        until(lambda: "sending" in case.states())
        assert child.kill()
    assert case.receiver.posts == 0
    assert case.sync().summary.delivered == DUE
    assert case.replays() == 0
    case.settle()


def test_a_run_killed_after_the_crm_committed_is_replayed_and_applied_once(case: Case) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, Fault(delay_after=60))
    child = case.start()
    until(lambda: case.applied() == 4)
    assert child.kill()
    case.receiver.fault_rule = first(0, Fault())
    assert case.sync().summary.delivered == DUE
    assert case.replays() == 4
    assert case.applied() == DUE
    case.settle()


def test_a_run_killed_before_it_settles_is_replayed_and_applied_once(case: Case) -> None:
    go = threading.Event()

    def stand_still(_: ReceivedRequest) -> None:
        go.wait(30)

    case.receiver.fault_rule = stand_still
    child = case.start()
    until(lambda: case.receiver.posts == 4)
    with case.store.database.write("keep the run from settling"):
        go.set()
        until(lambda: case.applied() == DUE)
        assert child.kill()
    assert set(case.states()) == {"sending"}
    assert case.sync().summary.delivered == DUE
    assert case.replays() == DUE
    case.settle()


def test_two_runs_at_once_send_each_revision_once(case: Case) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, Fault(delay_before=0.05))
    children = [case.start(), case.start()]
    ended = [child.wait() for child in children]
    assert sorted(str(one.kind) for one in ended) == ["None", "SyncAlreadyRunning"]
    assert sum(one.summary.delivered for one in ended) == DUE
    assert case.replays() == 0
    case.settle()


def test_a_day_revised_between_claim_and_settling_is_delivered_again_in_order(case: Case) -> None:
    go, reached = threading.Event(), threading.Event()

    def hold(received: ReceivedRequest) -> None:
        if person(0) in received.user_ids:
            reached.set()
            go.wait(30)

    case.receiver.fault_rule = hold
    child = case.start()
    assert reached.wait(30)
    revise(case.store, [(person(n), FIRST) for n in range(PEOPLE)], "18:00")
    go.set()
    child.wait()
    case.settle()
    assert case.receiver.ledger.revisions(person(0), FIRST) == [1, 2]


def test_a_day_revised_after_an_unknown_outcome_never_goes_back(case: Case) -> None:
    case.receiver.fault_rule = whenever(lambda _: True, Fault(drop="after"))
    case.sync(CRM_MAX_RETRIES="1", CRM_OUTAGE_PATIENCE="0")
    assert "delivered" not in case.states()
    case.receiver.fault_rule = first(0, Fault())
    revise(case.store, [(person(n), FIRST) for n in range(PEOPLE)], "18:00")
    case.sync()
    assert case.receiver.ledger.latest()[person(0), FIRST]["revision"] == 2
    assert case.receiver.ledger.anomalies == []


def test_a_clock_set_back_an_hour_loses_doubles_and_disorders_nothing(case: Case) -> None:
    case.receiver.fault_rule = first(6, refusal(503))
    case.start(clock_falls=True, CRM_MAX_RETRIES="1").wait()
    revise(case.store, [(person(n), FIRST) for n in range(10)], "18:00")
    case.start(clock_falls=True).wait()
    case.settle()
    assert case.receiver.ledger.latest()[person(0), FIRST]["revision"] == 2
