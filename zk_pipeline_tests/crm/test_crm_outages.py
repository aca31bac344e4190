"""Random outages and users whose records fail: the cause found, its cost, and that the run ends."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.models import Delivery, DeliveryState
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline_tests.crm.crm_doubles import DAY, DELIVERED, FakeTime, MemoryOutbox, ToldSender, delivery

FAULT = DeliveryResult(meaning=ResponseClass.UNAVAILABLE, status=500, error="500")
FORMS = [
    FAULT,
    replace(FAULT, status=503),
    replace(FAULT, status=None),
    DeliveryResult(meaning=ResponseClass.UNKNOWN, error="timed out"),
    replace(FAULT, status=429),
    replace(FAULT, status=503, retry_after=2.0),
]


@settings(max_examples=40, deadline=None)
@given(
    people=st.integers(1, 60),
    poison=st.tuples(st.integers(0, 59), st.integers(0, 20)),
    outages=st.lists(st.tuples(st.floats(0, 2), st.floats(0.5, 40), st.sampled_from(FORMS)), max_size=2),
    concurrency=st.integers(1, 8),
    seed=st.integers(0, 99),
)
def test_whoever_does_not_fail_is_delivered_and_whoever_fails_gets_his_attempts_and_no_more(
    people: int,
    poison: tuple[int, int],
    outages: list[tuple[float, float, DeliveryResult]],
    concurrency: int,
    seed: int,
) -> None:
    time = FakeTime()
    start, count = poison
    bad = {f"EMP{n:05}" for n in range(start, start + min(count, people // 2))}

    def tell(one: Delivery, _: int) -> DeliveryResult:
        time.now += 0.02
        for begins, lasts, form in outages:
            if begins <= time.now - 1000 < begins + lasts:
                return form
        return FAULT if one.user_id in bad else DELIVERED

    days = [delivery(f"EMP{n:05}", work_date=DAY + timedelta(days=d)) for d in range(3) for n in range(people)]
    outbox, sender = MemoryOutbox(days), ToldSender(tell)
    summary = deliver(
        outbox,
        sender,
        concurrency=concurrency,
        max_attempts=3,
        batch_size=1,
        clock=time.clock,
        sleep=time.sleep,
        monotonic=time.monotonic,
        rng=random.Random(seed),
    )
    assert len(outbox.outcomes) == len(days)
    good = [o for o in outbox.outcomes.values() if o.delivery.user_id not in bad]
    own = [o for o in outbox.outcomes.values() if o.delivery.user_id in bad]
    assert all(o.attempts <= 3 for o in outbox.outcomes.values())
    # With only such records left after an outage, nothing shows that it is over: they wait, and nothing is spent.
    assert {o.state for o in own} <= {
        DeliveryState.RETRY,
        DeliveryState.DELIVERED,
        *([DeliveryState.WAITING] if outages else []),
    }
    assert all(o.attempts == 3 for o in own if o.state is DeliveryState.RETRY)
    if not outages:
        assert {(o.state, o.attempts) for o in good} <= {(DeliveryState.DELIVERED, 1)}
        assert summary.stopped is None
    is_told = all(form.status != 500 or not begins for begins, _, form in outages)  # 500 at the end of the queue is not
    if not bad and len(outages) < 2 and people > 1 and is_told:
        assert {(o.state, o.attempts) for o in good} == {(DeliveryState.DELIVERED, 1)}
    assert len(sender.sent) < 6 * len(days) + 300
