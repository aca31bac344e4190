"""Delivery runs against the real receiver, and, where time matters, against scripted answers."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from unittest.mock import ANY

import pytest

from zk_pipeline.crm.circuit_breaker import PROBES
from zk_pipeline.crm.claim_buffer import FIRST_SETTLE_COUNT, MIN_BUFFERED
from zk_pipeline.crm.client import CrmClient
from zk_pipeline.crm.delivery import OUTAGE_PATIENCE_SECONDS, deliver
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.models import MAX_ERRORS, Delivery, DeliveryState, DeliverySummary, Outcome
from zk_pipeline.crm.request_worker import Sender
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.simulator.crm.faults import Fault, any_of, first, refusal, sometimes, whenever
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline_tests.crm.crm_doubles import (
    DAY,
    DELIVERED,
    TOKEN,
    FakeTime,
    MemoryOutbox,
    ToldSender,
    client_of,
    deliveries,
    delivery,
)

UNAVAILABLE = DeliveryResult(meaning=ResponseClass.UNAVAILABLE, status=500, error="500")
DOWN = DeliveryResult(meaning=ResponseClass.UNAVAILABLE, error="cannot connect")
WRONG = DeliveryResult(meaning=ResponseClass.MISCONFIGURED, status=401, error="check CRM_API_TOKEN")


def run(
    outbox: MemoryOutbox,
    client: Sender,
    *,
    concurrency: int = 4,
    max_attempts: int = 3,
    batch_size: int = 1,
    limit: int | None = None,
    patience: float = OUTAGE_PATIENCE_SECONDS,
    time: FakeTime | None = None,
    progress: Callable[[DeliverySummary], None] | None = None,
    paused_until: datetime | None = None,
    save_pause: Callable[[datetime], None] | None = None,
) -> DeliverySummary:
    time = time or FakeTime()
    return deliver(
        outbox,
        client,
        concurrency=concurrency,
        max_attempts=max_attempts,
        batch_size=batch_size,
        limit=limit,
        patience=patience,
        paused_until=paused_until,
        save_pause=save_pause,
        clock=time.clock,
        sleep=time.sleep,
        monotonic=time.monotonic,
        rng=random.Random(1),
        progress=progress,
    )


@pytest.fixture
def receiver() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as running:
        yield running


@pytest.fixture
def client(receiver: CrmReceiver) -> Iterator[CrmClient]:
    with client_of(receiver) as ready:
        yield ready


@pytest.mark.parametrize(("concurrency", "batch_size"), [(1, 1), (8, 1), (4, 7), (2, 1000)])
def test_everything_due_is_delivered_once_and_settled_in_batches(
    client: CrmClient, receiver: CrmReceiver, concurrency: int, batch_size: int
) -> None:
    outbox = MemoryOutbox(deliveries(250))
    summary = run(outbox, client, concurrency=concurrency, batch_size=batch_size)
    assert summary == DeliverySummary(delivered=250)
    assert len(receiver.ledger.latest()) == 250
    assert set(receiver.ledger.attempts.values()) == {1}
    assert len(outbox.settlings) <= 5
    assert len(outbox.threads) == 1
    assert threading.get_ident() not in outbox.threads


def test_nothing_due_is_no_request(client: CrmClient, receiver: CrmReceiver) -> None:
    assert run(MemoryOutbox([]), client) == DeliverySummary()
    assert receiver.connections == 0


@pytest.mark.parametrize("limit", [0, 1, 130])
def test_a_limit_holds_for_claims_too(client: CrmClient, receiver: CrmReceiver, limit: int) -> None:
    outbox = MemoryOutbox(deliveries(200))
    assert run(outbox, client, limit=limit).delivered == limit == len(receiver.ledger.latest())
    assert sum(outbox.claims) == limit


def test_random_failures_and_lost_answers_end_in_exactly_once(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.fault_rule = any_of(
        sometimes(0.1, refusal(503), seed=1),
        sometimes(0.1, Fault(drop="after"), seed=2),
        sometimes(0.1, Fault(drop="before"), seed=3),
    )
    outbox = MemoryOutbox(deliveries(150))
    assert run(outbox, client, max_attempts=20) == DeliverySummary(delivered=150)
    assert len(receiver.ledger.latest()) == 150
    assert receiver.ledger.anomalies == []
    assert receiver.posts > 175
    assert 150 <= sum(o.attempts for o in outbox.outcomes.values()) <= receiver.posts


@pytest.mark.parametrize("batch_size", [1, 100])
def test_one_poison_record_fails_alone(client: CrmClient, receiver: CrmReceiver, batch_size: int) -> None:
    receiver.unknown_users = {"EMP00042"}
    outbox = MemoryOutbox(deliveries(100))
    summary = run(outbox, client, batch_size=batch_size)
    assert (summary.delivered, summary.failed) == (99, 1)
    poison = outbox.outcome_of("EMP00042")
    assert (poison.state, poison.attempts, poison.status) == (DeliveryState.FAILED, 1, 422)
    assert poison.error == "422: no employee EMP00042"


def test_a_batch_refused_as_a_whole_is_halved_until_the_culprit_stands_alone(
    client: CrmClient, receiver: CrmReceiver
) -> None:
    receiver.fault_rule = whenever(lambda r: "EMP00042" in r.user_ids, refusal(400, detail="bad day"))
    outbox = MemoryOutbox(deliveries(100))
    summary = run(outbox, client, batch_size=100)
    assert (summary.delivered, summary.failed) == (99, 1)
    assert outbox.outcome_of("EMP00042").error == "400: bad day"
    assert {o.attempts for o in outbox.outcomes.values()} == {1}
    assert receiver.posts <= 20


@pytest.mark.parametrize("status", [400, 422])
def test_a_crm_that_takes_no_arrays_stops_the_run_before_the_records_are_blamed(
    client: CrmClient, receiver: CrmReceiver, status: int
) -> None:
    receiver.fault_rule = whenever(lambda r: r.body.startswith(b"["), refusal(status, detail="not an object"))
    outbox = MemoryOutbox(deliveries(800))
    with pytest.raises(CrmMisconfigured, match=f"{status}: not an object.*CRM_BATCH_SIZE=1") as stopped:
        run(outbox, client, batch_size=100)
    assert stopped.value.summary is not None
    assert stopped.value.summary.failed == 0
    assert 1 <= stopped.value.summary.delivered <= 4
    assert receiver.posts < 30
    assert len(outbox.outcomes) == 800


def test_records_that_are_refused_in_an_array_and_alone_are_to_blame_themselves(
    client: CrmClient, receiver: CrmReceiver
) -> None:
    receiver.fault_rule = whenever(lambda r: "EMP00000" in r.user_ids, refusal(400, detail="bad day"))
    assert run(MemoryOutbox(deliveries(8)), client, batch_size=8, concurrency=1) == DeliverySummary(
        delivered=7, failed=1, errors=ANY
    )


def test_arrays_that_are_too_large_become_smaller_for_the_rest_of_the_run(
    client: CrmClient, receiver: CrmReceiver
) -> None:
    receiver.fault_rule = whenever(lambda r: len(r.user_ids) > 30, refusal(413))
    assert run(MemoryOutbox(deliveries(2000)), client, batch_size=100, concurrency=1).delivered == 2000
    assert receiver.posts < 2000 / 25 + 50


def test_a_day_revised_while_it_was_under_way_still_goes_out_in_this_run() -> None:
    class Revised(MemoryOutbox):
        def claim(self, limit: int) -> list[Delivery]:
            if not any(o.delivery.revision == 1 for o in self.outcomes.values()):
                return super().claim(limit) if not self.claims else []  # revision 2 waits for revision 1
            if len(self.outcomes) == 1:
                self.due = [delivery(revision=2)]
            return super().claim(limit)

    outbox = Revised([delivery()])
    assert run(outbox, ToldSender(lambda *_: DELIVERED)).delivered == 2
    assert [o.delivery.revision for o in outbox.outcomes.values()] == [1, 2]


def test_every_attempt_is_told_with_its_times_and_words() -> None:
    time = FakeTime()
    outbox = MemoryOutbox([delivery()])
    run(outbox, ToldSender(lambda _, before: DELIVERED if before else UNAVAILABLE), time=time)
    first_try, second = outbox.outcome_of("EMP001").tried
    assert (first_try.outcome, first_try.status, first_try.error) == ("unavailable", 500, "500")
    assert (second.outcome, second.status, second.error) == ("delivered", 201, None)
    assert first_try.finished_at < second.started_at <= time.clock()


def test_an_attempt_that_only_showed_a_wrong_set_up_is_told_but_not_counted() -> None:
    outbox = MemoryOutbox([delivery()])
    with pytest.raises(CrmMisconfigured):
        run(outbox, ToldSender(lambda *_: WRONG))
    outcome = outbox.outcome_of("EMP001")
    assert (outcome.state, outcome.attempts) == (DeliveryState.UNSENT, 0)
    assert [attempt.outcome for attempt in outcome.tried] == ["misconfigured"]


def test_a_short_batch_answer_delivers_the_rest_again_under_the_same_keys(
    client: CrmClient, receiver: CrmReceiver
) -> None:
    receiver.fault_rule = first(1, Fault(keep_results=4))
    outbox = MemoryOutbox(deliveries(10))
    assert run(outbox, client, batch_size=10).delivered == 10
    assert sorted(o.attempts for o in outbox.outcomes.values()) == [1] * 4 + [2] * 6
    assert receiver.ledger.anomalies == []


def test_a_wrong_token_stops_the_run_and_spends_nothing(client: CrmClient, receiver: CrmReceiver) -> None:
    receiver.token = "another"
    outbox = MemoryOutbox(deliveries(500))
    with pytest.raises(CrmMisconfigured, match="CRM_API_TOKEN") as caught:
        run(outbox, client)
    assert caught.value.summary is not None
    claimed = sum(outbox.claims)
    assert caught.value.summary.unsent == caught.value.summary.total == claimed <= MIN_BUFFERED
    assert {(o.state, o.attempts) for o in outbox.outcomes.values()} == {(DeliveryState.UNSENT, 0)}
    assert len(outbox.outcomes) == claimed


def test_a_token_that_stops_working_keeps_what_was_delivered() -> None:
    sender = ToldSender(lambda d, _: WRONG if d.user_id >= "EMP00010" else DELIVERED)
    outbox = MemoryOutbox(deliveries(50))
    with pytest.raises(CrmMisconfigured) as caught:
        run(outbox, sender, concurrency=1)
    assert caught.value.summary is not None
    assert (caught.value.summary.delivered, caught.value.summary.unsent) == (10, 40)
    assert sender.sent == [f"EMP{i:05}" for i in range(11)]


def test_after_a_pause_nothing_more_is_sent_where_somebody_else_may_be_sending() -> None:
    outbox = MemoryOutbox([delivery()])

    def tell(*_: object) -> DeliveryResult:
        outbox.has_sync_lock = False
        return replace(UNAVAILABLE, retry_after=30.0)

    sender, time = ToldSender(tell), FakeTime()
    with pytest.raises(ZkPipelineError, match="another run sends"):
        run(outbox, sender, time=time)
    assert sum(time.slept) >= 30
    assert sender.sent == ["EMP001"]
    assert outbox.outcomes == {}, "whose it is now is for the other one to say"


def test_a_failure_is_tried_again_after_a_growing_pause_with_jitter() -> None:
    time = FakeTime()
    sender = ToldSender(lambda _, before: DELIVERED if before == 4 else UNAVAILABLE)
    outbox = MemoryOutbox([delivery()])
    assert run(outbox, sender, max_attempts=5, time=time).delivered == 1
    assert outbox.outcome_of("EMP001").attempts == 5
    assert outbox.outcome_of("EMP001").finished_at == time.clock()
    assert len(time.slept) == 4
    assert all(0 < pause <= ceiling for pause, ceiling in zip(time.slept, [1, 2, 4, 8], strict=True))
    assert len({round(p / c, 3) for p, c in zip(time.slept, [1, 2, 4, 8], strict=True)}) == 4


def test_attempts_end_in_retry_with_the_last_words() -> None:
    outbox = MemoryOutbox([delivery()])
    summary = run(outbox, ToldSender(lambda *_: UNAVAILABLE), max_attempts=3)
    outcome = outbox.outcome_of("EMP001")
    assert (outcome.state, outcome.attempts, outcome.status, outcome.error) == (
        DeliveryState.RETRY,
        3,
        500,
        "500",
    )
    assert (summary.retry, summary.stopped, summary.errors[0].message) == (1, None, "500")


def test_an_answer_that_says_busy_to_everybody_is_never_called_failed_and_spends_nothing() -> None:
    busy = DeliveryResult(meaning=ResponseClass.UNKNOWN, status=409, error="409")
    outbox = MemoryOutbox(deliveries(30))
    summary = run(outbox, ToldSender(lambda *_: busy))
    assert (summary.retry, summary.failed, summary.unsent) == (0, 0, 30)
    assert {o.attempts for o in outbox.outcomes.values()} == {0}


def in_30_seconds() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)


@pytest.mark.parametrize("form", [lambda: "30", in_30_seconds])
def test_a_pause_asked_for_holds_for_every_worker(
    client: CrmClient, receiver: CrmReceiver, form: Callable[[], str]
) -> None:
    time = FakeTime()
    moments: list[float] = []

    def watch(_: object) -> Fault | None:
        moments.append(time.now)
        return refusal(429, retry_after=form()) if len(moments) == 1 else None

    receiver.fault_rule = watch
    assert run(MemoryOutbox(deliveries(40)), client, concurrency=1, time=time).delivered == 40
    assert moments[0] == 1000.0
    assert len(moments) == 41
    assert 1029.0 <= min(moments[1:]) <= 1030.0


def test_a_pause_closes_the_gate_for_requests_already_handed_to_workers() -> None:
    time = FakeTime()
    pause = DeliveryResult(meaning=ResponseClass.UNAVAILABLE, status=429, error="429", retry_after=60.0)
    sent_at: list[float] = []

    def tell(_: Delivery, __: int) -> DeliveryResult:
        sent_at.append(time.now)
        return pause if len(sent_at) == 1 else DELIVERED

    assert run(MemoryOutbox(deliveries(100)), ToldSender(tell), concurrency=1, time=time).delivered == 100
    assert sent_at[0] == 1000.0
    assert min(sent_at[1:]) >= 1060.0
    assert time.slept[0] == 60.0


def test_a_pause_longer_than_a_run_waits_ends_the_run_and_is_kept_for_the_next() -> None:
    time = FakeTime()
    pause = DeliveryResult(meaning=ResponseClass.UNAVAILABLE, status=503, error="503", retry_after=121)
    outbox = MemoryOutbox(deliveries(30))
    kept: list[datetime] = []
    summary = run(outbox, ToldSender(lambda *_: pause), concurrency=1, patience=120, time=time, save_pause=kept.append)
    assert (len(outbox.by_state(DeliveryState.WAITING)), len(outbox.by_state(DeliveryState.UNSENT))) == (1, 29)
    assert (summary.retry, summary.unsent) == (0, 30)
    assert "pause of 121 s" in (summary.stopped or "")
    assert time.slept == []
    assert kept == [time.clock() + timedelta(seconds=121)]


def test_a_pause_that_an_earlier_run_was_asked_for_is_waited_for_or_ends_the_run_at_once() -> None:
    time = FakeTime()
    sender = ToldSender(lambda *_: DELIVERED)
    until = time.clock() + timedelta(seconds=90)
    outbox = MemoryOutbox(deliveries(5))
    summary = run(outbox, sender, patience=60, time=time, paused_until=until)
    assert (sender.sent, outbox.outcomes, time.slept) == ([], {}, [])
    assert "pause of 90 s" in (summary.stopped or "")
    assert run(outbox, sender, patience=120, time=time, paused_until=until) == DeliverySummary(delivered=5)
    assert time.clock() == until


@pytest.mark.parametrize("concurrency", [1, 8, 32])
def test_a_crm_that_is_down_stops_a_run_without_patience_early_and_spends_nothing(concurrency: int) -> None:
    sender = ToldSender(lambda *_: DOWN)
    outbox = MemoryOutbox(deliveries(5000))
    summary = run(outbox, sender, concurrency=concurrency, patience=0)
    assert len(sender.sent) <= 3 * concurrency + 10 + PROBES
    assert "the CRM is down" in (summary.stopped or "")
    assert {o.delivery.user_id for o in outbox.by_state(DeliveryState.WAITING)} == set(sender.sent)
    assert summary.unsent == summary.total == len(outbox.outcomes) == sum(outbox.claims) <= MIN_BUFFERED
    assert {o.attempts for o in outbox.outcomes.values()} == {0}


FORMS = {
    "refused": DOWN,
    "timed out": DeliveryResult(meaning=ResponseClass.UNKNOWN, error="timeout"),
    "500": UNAVAILABLE,
    "503": replace(UNAVAILABLE, status=503),
    "429": replace(UNAVAILABLE, status=429),
}


@pytest.mark.parametrize("count", [1, 3, 300])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_outage_of_whatever_form_spends_neither_attempt_nor_round_and_is_waited_for(
    form: DeliveryResult, count: int
) -> None:
    if count == 1 and form.status == 500:
        return  # the record's own: test_attempts_end_in_retry_with_the_last_words
    time = FakeTime()
    sender = ToldSender(lambda *_: form if time.now < 1060 else DELIVERED)
    outbox = MemoryOutbox(deliveries(count))
    assert run(outbox, sender, concurrency=8, time=time) == DeliverySummary(delivered=count)
    assert {o.attempts for o in outbox.outcomes.values()} == {1}
    assert len(sender.sent) <= count + 16 + 70, "a probe now and then"
    assert 1060 <= time.now < 1064

    outbox, slept = MemoryOutbox(deliveries(count)), len(time.slept)
    summary = run(outbox, ToldSender(lambda *_: form), concurrency=8, patience=60, time=time)
    assert (summary.unsent, summary.total) == (count, count)
    assert summary.stopped is not None
    assert 59 < sum(time.slept[slept:]) < 61
    assert {o.attempts for o in outbox.outcomes.values()} == {0}


@pytest.mark.parametrize("concurrency", [1, 8])
def test_thirty_people_who_stand_together_and_fail_hold_up_nobody_else(concurrency: int) -> None:
    poison = {f"EMP{n:05}" for n in range(20, 50)}
    sender = ToldSender(lambda d, _: UNAVAILABLE if d.user_id in poison else DELIVERED)
    outbox = MemoryOutbox(
        [delivery(f"EMP{n:05}", work_date=DAY + timedelta(days=d)) for d in range(5) for n in range(100)]
    )
    summary = run(outbox, sender, concurrency=concurrency)
    assert (summary.delivered, summary.retry, summary.unsent, summary.stopped) == (350, 150, 0, None)
    assert {o.attempts for o in outbox.by_state(DeliveryState.RETRY)} == {3}
    assert len(sender.sent) <= 350 + 3 * 150 + 20


def test_people_at_the_end_of_the_queue_who_fail_are_no_outage() -> None:
    time = FakeTime()
    sender = ToldSender(lambda d, _: UNAVAILABLE if d.user_id >= "EMP00016" else DELIVERED)
    outbox = MemoryOutbox(deliveries(20))
    summary = run(outbox, sender, time=time)
    assert (summary.delivered, summary.retry, summary.stopped) == (16, 4, None)
    assert sum(time.slept) < 10


def test_what_an_array_failed_with_as_a_whole_is_told_apart_record_by_record() -> None:
    class Arrays(ToldSender):
        def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]:
            answers = super().post_batch(deliveries)
            return [UNAVAILABLE] * len(answers) if UNAVAILABLE in answers else answers

    sender = Arrays(lambda d, _: UNAVAILABLE if d.user_id == "EMP00042" else DELIVERED)
    outbox = MemoryOutbox(deliveries(200))
    summary = run(outbox, sender, batch_size=50)
    assert (summary.delivered, summary.retry, summary.stopped) == (199, 1, None)
    assert outbox.by_state(DeliveryState.RETRY)[0].delivery.user_id == "EMP00042"


def test_a_429_without_a_pause_slows_the_run_down_and_never_costs_an_attempt() -> None:
    time = FakeTime()
    taken: list[float] = []

    def tell(*_: object) -> DeliveryResult:  # 48 requests in 10 seconds
        if len([at for at in taken if at > time.now - 10]) >= 48:
            return replace(UNAVAILABLE, status=429)
        taken.append(time.now)
        return DELIVERED

    sender = ToldSender(tell)
    outbox = MemoryOutbox(deliveries(300))
    assert run(outbox, sender, concurrency=8, time=time) == DeliverySummary(delivered=300)
    assert {o.attempts for o in outbox.outcomes.values()} == {1}
    assert time.now - 1000 < 2 * 300 / 48 * 10
    assert len(sender.sent) < 2 * 300


def test_failures_between_successes_are_no_outage() -> None:
    sender = ToldSender(lambda d, before: UNAVAILABLE if int(d.user_id[3:]) % 2 and before == 0 else DELIVERED)
    summary = run(MemoryOutbox(deliveries(400)), sender, concurrency=1)
    assert summary == DeliverySummary(delivered=400)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, pytest.param(RuntimeError, marks=pytest.mark.matrix)])
def test_an_interrupted_run_settles_what_it_claimed(
    client: CrmClient, receiver: CrmReceiver, kind: type[BaseException]
) -> None:
    outbox = MemoryOutbox(deliveries(500))

    def interrupt(summary: DeliverySummary) -> None:
        if summary.delivered >= FIRST_SETTLE_COUNT:
            raise kind("stop")

    with pytest.raises(kind):
        run(outbox, client, progress=interrupt)
    assert len(outbox.outcomes) == sum(outbox.claims)
    applied = {user for user, _ in receiver.ledger.latest()}
    assert {o.delivery.user_id for o in outbox.by_state(DeliveryState.DELIVERED)} == applied
    assert len(applied) < 400
    outbox.due = [d for d in deliveries(500) if d.user_id not in applied]
    with client_of(receiver) as another:
        assert run(outbox_again := MemoryOutbox(outbox.due), another).delivered == len(outbox_again.outcomes)
    assert set(receiver.ledger.attempts.values()) == {1}
    assert len(receiver.ledger.latest()) == 500


def test_an_interrupted_run_gives_requests_under_way_a_bounded_time() -> None:
    sender = ToldSender(lambda *_: DELIVERED)

    def interrupt(_: DeliverySummary) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(MemoryOutbox(deliveries(300)), sender, progress=interrupt)
    assert sender.seconds_to_finish is not None
    assert sender.seconds_to_finish < 10


def test_a_defect_in_a_worker_is_raised_after_everything_else_is_settled() -> None:
    def tell(each: Delivery, _: int) -> DeliveryResult:
        if each.user_id == "EMP00005":
            raise ZeroDivisionError("a defect")
        return DELIVERED

    outbox = MemoryOutbox(deliveries(50))
    with pytest.raises(ZeroDivisionError):
        run(outbox, ToldSender(tell), concurrency=1)
    assert len(outbox.outcomes) == sum(outbox.claims)
    assert outbox.outcome_of("EMP00005").state is DeliveryState.UNSENT
    assert outbox.outcome_of("EMP00004").state is DeliveryState.DELIVERED


def test_an_outbox_that_fails_once_still_gets_its_outcomes() -> None:
    class Busy(MemoryOutbox):
        failures = 1

        def settle(self, outcomes: list[Outcome]) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("the store is busy")
            super().settle(outcomes)

    outbox = Busy(deliveries(300))
    with pytest.raises(OSError, match="busy"):
        run(outbox, ToldSender(lambda *_: DELIVERED))
    assert len(outbox.outcomes) == sum(outbox.claims)


def test_claims_stay_about_a_page_ahead_of_what_is_settled() -> None:
    open_now, most = 0, 0

    class Counting(MemoryOutbox):
        def claim(self, limit: int) -> list[Delivery]:
            nonlocal open_now, most
            claimed = super().claim(limit)
            open_now += len(claimed)
            most = max(most, open_now)
            return claimed

        def settle(self, outcomes: list[Outcome]) -> None:
            nonlocal open_now
            super().settle(outcomes)
            open_now -= len(outcomes)

    assert run(Counting(deliveries(5000)), ToldSender(lambda *_: DELIVERED)).delivered == 5000
    assert most <= 1.5 * MIN_BUFFERED


def test_a_slow_crm_is_settled_by_time() -> None:
    time = FakeTime()

    def tell(_: Delivery, __: int) -> DeliveryResult:
        time.now += 2.0
        return DELIVERED

    outbox = MemoryOutbox(deliveries(30))
    assert run(outbox, ToldSender(tell), concurrency=1, time=time).delivered == 30
    assert len(outbox.settlings) >= 3


def test_progress_counts_up_and_errors_stay_bounded() -> None:
    refused = DeliveryResult(meaning=ResponseClass.REJECTED, status=422, error="422: no")
    seen: list[int] = []
    summary = run(
        MemoryOutbox(deliveries(300)),
        ToldSender(lambda *_: refused),
        progress=lambda s: seen.append(s.failed),
    )
    assert seen == sorted(seen)
    assert seen[-1] == summary.failed == 300
    assert len(seen) >= 2
    assert len(summary.errors) == MAX_ERRORS
    assert (summary.errors[0].work_date, summary.errors[0].message) == (DAY, "422: no")
