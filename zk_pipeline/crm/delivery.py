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
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from typing import Protocol

from zk_pipeline.crm.answers import Answer, Meaning
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.gate import Gate
from zk_pipeline.crm.models import Attempt, Delivery, Outbox, Outcome, Verdict
from zk_pipeline.crm.summary import DeliverySummary, Tally

# A transaction of the store costs as much CPU as twenty to forty requests, however few rows it is about. A run records
# its first outcomes soon, so that one that is killed again and again gets on all the same, and then ever more at once.
PAGE = 2000  # records claimed at a time, if eight rounds of full requests are not more
SETTLE_AT = 200  # outcomes that a run records first; twice as many each time after that, up to half a page
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
    tried: list[Attempt] = field(default_factory=list)


_Job = list[_Item]  # what goes into one request


@dataclass(frozen=True)
class _Sent:
    """One request that was made: an answer for each record of its job."""

    answers: list[Answer]
    started_at: datetime
    finished_at: datetime


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
        self.uses_arrays = batch_size > 1
        self.page = max(PAGE, 8 * concurrency * batch_size)
        self.settle_at = max(SETTLE_AT, concurrency * batch_size)
        self.left_to_claim = limit
        self.is_exhausted = False  # the last claim brought less than was wanted
        self.arrays_are_taken = False  # the CRM has answered a batch record by record
        self.open: dict[_Item, None] = {}  # claimed without an outcome yet, in order: accounted for at the end
        self.ready: deque[_Job] = deque()
        self.waiting: list[tuple[float, int, _Job]] = []  # heap by the moment of the next attempt
        self.numbers = count()  # keeps the heap from comparing jobs
        self.in_flight: dict[Future[_Sent | None], _Job] = {}
        self.finished: list[Outcome] = []
        self.settled_at = monotonic()
        self.tally = Tally()
        self.broken: BaseException | None = None  # an exception in a worker: a defect, not an answer

    def run(self) -> DeliverySummary:
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="crm") as pool:
            try:
                while self._is_going_on():
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

    def _is_going_on(self) -> bool:
        """Settle and claim as far as it is time to. Whether there is anything left to do."""
        if self.gate.stopped:
            return False
        is_late = self.monotonic() - self.settled_at >= SETTLE_AFTER
        is_idle = not (self.ready or self.waiting or self.in_flight)
        if len(self.finished) >= self.settle_at or (self.finished and (is_late or is_idle)):
            # What waited for an outcome of ours, such as a day revised while it was under way, is due now.
            self.is_exhausted &= not is_idle
            self._turn(self._wanted())
        elif not self.is_exhausted and len(self.open) <= self.page // 2:
            self._turn(self._wanted())
        return bool(self.open)

    def _wanted(self) -> int:
        room = 0 if self.is_exhausted or self.gate.stopped else self.page - len(self.open)
        return room if self.left_to_claim is None else min(room, self.left_to_claim)

    def _turn(self, wanted: int) -> None:
        """Record what has ended and claim up to `wanted`, in one transaction."""
        self.settled_at = self.monotonic()
        claimed = self.outbox.turn(self.finished, wanted) if self.finished or wanted > 0 else []
        self.is_exhausted = self.is_exhausted or len(claimed) < wanted or wanted == 0 == self.left_to_claim
        if self.left_to_claim is not None:
            self.left_to_claim -= len(claimed)
        items = [_Item(delivery) for delivery in claimed]
        self.open.update(dict.fromkeys(items))
        self.ready.extend(items[i : i + self.batch_size] for i in range(0, len(items), self.batch_size))
        if self.finished:
            self.settle_at = min(2 * self.settle_at, self.page // 2)
            ended, self.finished = self.finished, []
            for outcome in ended:
                self.tally.add(outcome)
            self.progress(self.tally.summary())

    def _launch(self, pool: ThreadPoolExecutor) -> None:
        """Hand jobs to the workers, some ahead so that none idles while this thread is with the outbox."""
        while self.waiting and self.waiting[0][0] <= self.monotonic():
            self.ready.append(heapq.heappop(self.waiting)[2])
        while self.ready and len(self.in_flight) < 4 * self.concurrency and self.gate.may_send():
            job = self.ready.popleft()
            if len(job) > self.batch_size:  # made before arrays of that size proved too large
                self.ready.appendleft(job[self.batch_size :])
                job = job[: self.batch_size]
            self.in_flight[pool.submit(self._send, job)] = job

    def _send(self, job: _Job) -> _Sent | None:
        """In a worker: one request, or None where the gate has closed since the job was handed out."""
        if not self.gate.may_send():
            return None
        started_at = self.clock()
        answers = self._post_array(job) if self.uses_arrays else [self.client.post_one(job[0].delivery)]
        for answer in set(answers):  # a whole request's fate comes as one answer per record, and counts once
            self.gate.observe(answer)
        return _Sent(answers, started_at, self.clock())

    def _post_array(self, job: _Job) -> list[Answer]:
        """One array. Where even an array of one is refused as a whole, and none was taken before, the same record by
        itself shows whose fault that is: its own, or that of arrays, which this CRM then does not take at all.
        """
        answers = self.client.post_batch([item.delivery for item in job])
        refused = answers[0]
        if refused.meaning is not Meaning.BATCH_REFUSED:
            self.arrays_are_taken |= any(a.meaning in (Meaning.DELIVERED, Meaning.REFUSED) for a in answers)
            return answers
        if len(job) > 1:
            return answers
        if self.arrays_are_taken:
            return [replace(refused, meaning=Meaning.REFUSED)]
        alone = self.client.post_one(job[0].delivery)
        if alone.meaning is Meaning.DELIVERED:
            self.gate.misconfigured(
                f"the CRM takes single records but refuses arrays of them ({refused.error}): set CRM_BATCH_SIZE=1"
            )
        return [alone]

    def _wait(self) -> None:
        """Until a request has ended or the next one is due."""
        due = [self.gate.opens_at] if self.ready else []
        due += [self.waiting[0][0]] if self.waiting else []
        pause = max(0.0, min(due) - self.monotonic()) if due else None
        if self.in_flight:
            done, _ = wait(self.in_flight, timeout=pause or None, return_when=FIRST_COMPLETED)
            self._collect(done)
        elif pause:
            if self.finished:
                self._turn(0)  # nobody should wait for these words as long as the CRM wants us to
            self.sleep(pause)

    def _collect(self, done: set[Future[_Sent | None]]) -> None:
        for future in done:
            job = self.in_flight.pop(future)
            if error := future.exception():
                # Raised once everything else is settled; the job counts as unsent and keeps its key.
                self.broken = self.broken or error
                self.gate.stop("the run was interrupted")
                continue
            sent = future.result()
            if sent is None:
                self.ready.appendleft(job)
            elif sent.answers[0].meaning is Meaning.BATCH_REFUSED:
                # While it is not known that arrays are taken at all, one record shows it soonest.
                middle = len(job) // 2 if self.arrays_are_taken else 1
                if sent.answers[0].status == 413:
                    self.batch_size = max(1, min(self.batch_size, len(job) // 2))
                self.ready.extendleft([job[middle:], job[:middle]])
            else:
                self._sort(job, sent)

    def _sort(self, job: _Job, sent: _Sent) -> None:
        again: _Job = []
        for item, answer in zip(job, sent.answers, strict=True):
            item.last = answer
            item.tried.append(_attempt(sent, answer))
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
                tried=tuple(item.tried),
            )
        )
        self.open.pop(item)

    def _drain(self) -> None:
        """Let what is under way end, then account for everything that was claimed."""
        if self.in_flight:
            self.gate.stop("the run was interrupted")
            self._collect(wait(self.in_flight).done)
        for item in list(self.open):
            self._finish(item, Verdict.RETRY if item.attempts else Verdict.UNSENT)
        if self.finished:
            self._turn(0)


def _attempt(sent: _Sent, answer: Answer) -> Attempt:
    return Attempt(
        started_at=sent.started_at,
        finished_at=sent.finished_at,
        verdict=answer.meaning.name.lower(),
        status=answer.status,
        error=answer.error,
    )
