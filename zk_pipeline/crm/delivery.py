"""The delivery service: takes what is due from the outbox, sends it in parallel, records what came of it.

What an answer means is in `answers`, whether the pool may send in `gate`; the outbox is the store's.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Protocol

from zk_pipeline.crm.answers import Answer, Meaning
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.gate import Gate
from zk_pipeline.crm.models import Delivery, Outbox, Outcome, Verdict
from zk_pipeline.crm.summary import DeliverySummary, Tally

PAGE = 100  # records claimed at a time, if a round of full batches is not more
SETTLE_AT = 100  # outcomes recorded in one transaction
SETTLE_AFTER = 5.0  # seconds after which fewer are recorded, so that a slow CRM shows progress
LONGEST_WAIT = 120.0  # seconds a run waits when the CRM asks for a pause; asked for more, it ends
DRAIN = 8.0  # seconds that requests under way still get when a run is cancelled
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0  # seconds, bounds of the exponential back-off before jitter


class Sender(Protocol):
    """What the service needs of a `CrmClient`."""

    def post_one(self, delivery: Delivery) -> Answer: ...

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[Answer]: ...

    def finish_within(self, seconds: float) -> None: ...


def deliver(
    outbox: Outbox,
    client: Sender,
    *,
    concurrency: int,
    max_attempts: int,
    batch_size: int,
    clock: Callable[[], datetime],
    limit: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    progress: Callable[[DeliverySummary], None] | None = None,
) -> DeliverySummary:
    """Deliver what is due, at most `limit` records, until the outbox has no more.

    A record gets at most `max_attempts` attempts, with exponential back-off and full jitter; a pause that the
    CRM asks for holds for all. A CRM that is down, or that asks for a long pause, ends the run early:
    `stopped` says why, and what had not been attempted is settled UNSENT. A set-up that cannot work raises
    CrmMisconfigured likewise, carrying the summary, and spends no attempt. Every claimed record is settled
    before this returns or raises, also on KeyboardInterrupt, when requests under way get DRAIN seconds; only
    a failing outbox or a kill leaves records claimed, to be sent again under the same key.

    The outbox and `progress` (the counts so far, after each settling) are called in the calling thread only.
    """
    run = _Run(
        outbox,
        client,
        concurrency=concurrency,
        max_attempts=max_attempts,
        batch_size=batch_size,
        clock=clock,
        limit=limit,
        sleep=sleep,
        monotonic=monotonic,
        rng=rng or random.Random(),  # noqa: S311 - jitter, not a secret
        progress=progress or (lambda _: None),
    )
    summary = run.run()
    if run.gate.is_misconfigured:
        raise CrmMisconfigured(str(summary.stopped), summary=summary)
    return summary


@dataclass(eq=False)
class _Item:
    """A claimed record on its way."""

    delivery: Delivery
    attempts: int = 0
    last: Answer | None = None


_Job = list[_Item]  # what goes into one request


class _Run:
    def __init__(
        self,
        outbox: Outbox,
        client: Sender,
        *,
        concurrency: int,
        max_attempts: int,
        batch_size: int,
        clock: Callable[[], datetime],
        limit: int | None,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float],
        rng: random.Random,
        progress: Callable[[DeliverySummary], None],
    ) -> None:
        self.outbox, self.client = outbox, client
        self.concurrency, self.max_attempts, self.batch_size = concurrency, max_attempts, batch_size
        self.clock, self.sleep, self.monotonic = clock, sleep, monotonic
        self.rng, self.progress = rng, progress
        # One burst of failures, a request of each worker, must not look like an outage.
        self.gate = Gate(breaker=max(10, 2 * concurrency), longest_wait=LONGEST_WAIT, monotonic=monotonic)
        self.page = max(PAGE, concurrency * batch_size)
        self.left_to_claim = limit
        self.outbox_is_empty = False
        self.open: dict[_Item, None] = {}  # claimed without an outcome yet, in order: accounted for at the end
        self.ready: deque[_Job] = deque()
        self.waiting: list[tuple[float, int, _Job]] = []  # heap by the moment of the next attempt
        self.numbers = count()  # keeps the heap from comparing jobs
        self.in_flight: dict[Future[list[Answer] | None], _Job] = {}
        self.finished: list[Outcome] = []
        self.settled_at = monotonic()
        self.tally = Tally()
        self.broken: BaseException | None = None  # an exception in a worker: a defect, not an answer

    def run(self) -> DeliverySummary:
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="crm") as pool:
            try:
                while self._claim() or self.ready or self.waiting or self.in_flight:
                    if self.gate.stopped:
                        break
                    self._launch(pool)
                    self._wait()
            except BaseException:
                self.gate.stop("the run was interrupted")
                self.client.finish_within(DRAIN)
                raise
            finally:
                self._drain()
        if self.broken:
            raise self.broken
        return self.tally.summary(self.gate.stopped)

    def _claim(self) -> bool:
        """Keep about a page of records at hand. Whether any were claimed."""
        if self.outbox_is_empty or self.gate.stopped or len(self.open) > self.page // 2:
            return False
        wanted = self.page if self.left_to_claim is None else min(self.page, self.left_to_claim)
        claimed = self.outbox.claim(wanted) if wanted > 0 else []
        if self.left_to_claim is not None:
            self.left_to_claim -= len(claimed)
        self.outbox_is_empty = not claimed
        items = [_Item(delivery) for delivery in claimed]
        self.open.update(dict.fromkeys(items))
        self.ready.extend(items[i : i + self.batch_size] for i in range(0, len(items), self.batch_size))
        return bool(claimed)

    def _launch(self, pool: ThreadPoolExecutor) -> None:
        """Hand jobs to the workers, some ahead so that none idles while this thread is with the outbox."""
        while self.waiting and self.waiting[0][0] <= self.monotonic():
            self.ready.append(heapq.heappop(self.waiting)[2])
        while self.ready and len(self.in_flight) < 4 * self.concurrency and self.gate.may_send():
            job = self.ready.popleft()
            self.in_flight[pool.submit(self._send, job)] = job

    def _send(self, job: _Job) -> list[Answer] | None:
        """In a worker: one request, or None where the gate has closed since the job was handed out."""
        if not self.gate.may_send():
            return None
        if self.batch_size == 1:
            answers = [self.client.post_one(job[0].delivery)]
        else:
            answers = self.client.post_batch([item.delivery for item in job])
        for answer in set(answers):  # a whole request's fate comes as one answer per record, and counts once
            self.gate.observe(answer)
        return answers

    def _wait(self) -> None:
        """Until a request has ended or the next one is due."""
        due = [self.gate.opens_at] if self.ready else []
        due += [self.waiting[0][0]] if self.waiting else []
        pause = max(0.0, min(due) - self.monotonic()) if due else None
        if not self.in_flight:
            if pause:
                self.sleep(pause)
            return
        done, _ = wait(self.in_flight, timeout=pause or None, return_when=FIRST_COMPLETED)
        self._collect(done)
        if len(self.finished) >= SETTLE_AT or self.monotonic() - self.settled_at >= SETTLE_AFTER:
            self._settle()

    def _collect(self, done: set[Future[list[Answer] | None]]) -> None:
        for future in done:
            job = self.in_flight.pop(future)
            if error := future.exception():
                # Raised once everything else is settled; the job counts as unsent and keeps its key.
                self.broken = self.broken or error
                self.gate.stop("the run was interrupted")
                continue
            answers = future.result()
            if answers is None:
                self.ready.appendleft(job)
            elif answers[0].meaning is Meaning.BATCH_REFUSED:
                middle = len(job) // 2
                self.ready.extendleft([job[middle:], job[:middle]])
            else:
                self._sort(job, answers)

    def _sort(self, job: _Job, answers: list[Answer]) -> None:
        again: _Job = []
        for item, answer in zip(job, answers, strict=True):
            item.last = answer
            if answer.meaning is Meaning.MISCONFIGURED:
                continue  # the gate has stopped; the item stays open and is accounted for at the end
            item.attempts += 1
            if answer.meaning is Meaning.DELIVERED:
                self._finish(item, Verdict.DELIVERED)
            elif answer.meaning is Meaning.REFUSED:
                self._finish(item, Verdict.FAILED)
            elif item.attempts >= self.max_attempts:
                self._finish(item, Verdict.RETRY)
            else:
                again.append(item)
        if again:
            heapq.heappush(self.waiting, (self.monotonic() + self._delay(again), next(self.numbers), again))

    def _delay(self, job: _Job) -> float:
        ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (min(item.attempts for item in job) - 1))
        asked = max((item.last.retry_after or 0.0 for item in job if item.last), default=0.0)
        return max(asked, self.rng.uniform(0, ceiling))

    def _finish(self, item: _Item, verdict: Verdict) -> None:
        last = None if verdict is Verdict.UNSENT else item.last
        self.finished.append(
            Outcome(
                delivery=item.delivery,
                verdict=verdict,
                attempts=item.attempts,
                finished_at=self.clock(),
                status=last.status if last else None,
                error=last.error if last else None,
            )
        )
        self.open.pop(item)

    def _settle(self) -> None:
        self.settled_at = self.monotonic()
        while self.finished:
            batch = self.finished[:SETTLE_AT]
            self.outbox.settle(batch)
            del self.finished[:SETTLE_AT]
            for outcome in batch:
                self.tally.add(outcome)
            self.progress(self.tally.summary())

    def _drain(self) -> None:
        """Let what is under way end, then account for everything that was claimed."""
        if self.in_flight:
            self.gate.stop("the run was interrupted")
            self._collect(wait(self.in_flight).done)
        for item in list(self.open):
            self._finish(item, Verdict.RETRY if item.attempts else Verdict.UNSENT)
        self._settle()
