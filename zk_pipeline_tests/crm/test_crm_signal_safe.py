"""Signals during a delivery run: it ends soon, and no step is interrupted."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from zk_pipeline.crm.delivery import DRAIN_TIMEOUT_SECONDS, deliver
from zk_pipeline.crm.models import Delivery, DeliveryState, Outcome
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.crm.signal_safe import run_signal_safe
from zk_pipeline_tests.crm.crm_doubles import DELIVERED, FakeTime, MemoryOutbox, ToldSender, deliveries
from zk_pipeline_tests.waiting import until


class Cancelled(BaseException):
    """What the handler of these tests raises, as Dagster's does in a run that is cancelled."""


@pytest.fixture
def cancel() -> Iterator[Callable[[], None]]:
    """Sends this process a signal whose handler raises Cancelled, in the main thread as always."""

    def handler(_number: int, _frame: object) -> None:
        raise Cancelled

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_the_work_is_done_in_another_thread_and_its_result_or_error_comes_back() -> None:
    assert run_signal_safe(lambda: threading.current_thread().name, interrupted=lambda _: None, name="mine") == "mine"
    with pytest.raises(ZeroDivisionError):
        run_signal_safe(lambda: 1 / 0, interrupted=lambda _: None, name="at work")


def test_a_signal_is_told_at_once_and_raised_when_the_work_has_ended(cancel: Callable[[], None]) -> None:
    reported: list[bool] = []
    steps: list[str] = []

    def work() -> None:
        for times in (1, 2):
            cancel()
            until(lambda times=times: len(reported) >= times, seconds=10)  # type: ignore[misc]
            steps.append(f"after signal {times}")

    with pytest.raises(Cancelled):
        run_signal_safe(work, interrupted=reported.append, name="at work")
    assert reported == [False, True]
    assert steps == ["after signal 1", "after signal 2"]


def test_an_error_of_the_work_is_not_hidden_by_the_signal(cancel: Callable[[], None]) -> None:
    reported: list[bool] = []

    def work() -> None:
        cancel()
        until(lambda: bool(reported), seconds=10)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full") as caught:
        run_signal_safe(work, interrupted=reported.append, name="at work")
    assert isinstance(caught.value.__cause__, Cancelled)


def test_a_thread_that_cannot_be_had_is_said_and_the_work_never_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    begun: list[int] = []
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        run_signal_safe(lambda: begun.append(1), interrupted=lambda _: None, name="at work")
    assert not begun


class CancellingOutbox(MemoryOutbox):
    """Cancels during a transaction."""

    def __init__(self, due: list[Delivery], cancel: Callable[[], None]) -> None:
        super().__init__(due)
        self.cancel = cancel

    def settle_and_claim(self, outcomes: list[Outcome], wanted: int) -> list[Delivery]:
        claimed = super().settle_and_claim(outcomes, wanted)
        self.cancel()
        time.sleep(0.2)  # an exception would come before the run has noted what it claimed
        return claimed


def send(outbox: MemoryOutbox, sender: ToldSender) -> None:
    """With pauses of real time."""
    deliver(outbox, sender, concurrency=8, max_attempts=3, batch_size=1, clock=FakeTime().clock)


def send_while(timer: threading.Timer, outbox: MemoryOutbox, sender: ToldSender) -> None:
    timer.start()  # under load this takes so long that the signal may come in it
    send(outbox, sender)


def test_a_signal_in_a_transaction_of_the_outbox_leaves_nothing_claimed(cancel: Callable[[], None]) -> None:
    outbox = CancellingOutbox(deliveries(300), cancel)
    with pytest.raises(Cancelled):
        send(outbox, ToldSender(lambda *_: DELIVERED))
    assert len(outbox.outcomes) == sum(outbox.claims) > 0


def test_a_signal_ends_a_pause_that_the_crm_asked_for(cancel: Callable[[], None]) -> None:
    outbox = MemoryOutbox(deliveries(20))
    busy = DeliveryResult(meaning=ResponseClass.UNAVAILABLE, status=503, error="503", retry_after=100)
    timer = threading.Timer(1.0, cancel)
    timer.start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        send(outbox, ToldSender(lambda *_: busy))
    timer.join()
    assert time.monotonic() - started < 20
    assert len(outbox.outcomes) == sum(outbox.claims) == 20
    assert {o.state for o in outbox.outcomes.values()} == {DeliveryState.WAITING, DeliveryState.UNSENT}


def test_signals_at_any_moment_neither_hang_the_run_nor_lose_an_answer(cancel: Callable[[], None]) -> None:
    """Those that came within `concurrent.futures.wait` of the main thread left a run that hung without end."""
    rng = random.Random(4370)
    for _ in range(10):
        outbox = MemoryOutbox(deliveries(1500))
        answered: list[str] = []

        def tell(each: Delivery, _: int, answered: list[str] = answered) -> DeliveryResult:
            time.sleep(0.002)
            answered.append(each.user_id)
            return DELIVERED

        timer = threading.Timer(rng.uniform(0.0, 0.2), cancel)
        with pytest.raises(Cancelled):
            send_while(timer, outbox, ToldSender(tell))
        timer.join()
        assert len(outbox.outcomes) == sum(outbox.claims)
        assert {o.delivery.user_id for o in outbox.by_state(DeliveryState.DELIVERED)} == set(answered)


def test_a_second_signal_gives_requests_under_way_no_more_time(cancel: Callable[[], None]) -> None:
    outbox = MemoryOutbox(deliveries(1))
    sender = ToldSender(lambda *_: DELIVERED)
    given: list[float | None] = []

    def tell(*_: object) -> DeliveryResult:
        for seconds in (DRAIN_TIMEOUT_SECONDS, 0.0):
            cancel()
            until(lambda seconds=seconds: sender.seconds_to_finish == seconds, seconds=10)  # type: ignore[misc]
            given.append(sender.seconds_to_finish)
        return DELIVERED

    sender.tell = tell
    with pytest.raises(Cancelled):
        send(outbox, sender)
    assert given == [DRAIN_TIMEOUT_SECONDS, 0.0]
    assert [o.state for o in outbox.outcomes.values()] == [DeliveryState.DELIVERED]
