"""The delivery service: takes what is due from the outbox, sends it in parallel, records what came of it.

What an answer means is in `answers`, whether the pool may send in `gate`, one request in `posting`, and when the
outbox is asked in `claims`.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from itertools import count

from zk_pipeline.crm.answers import Meaning
from zk_pipeline.crm.claims import Claims
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.gate import Gate
from zk_pipeline.crm.models import Outbox, Verdict
from zk_pipeline.crm.posting import Job, Poster, Sender, Sent
from zk_pipeline.crm.summary import DeliverySummary
from zk_pipeline.crm.undisturbed import undisturbed

LONGEST_WAIT = 120.0  # seconds a run waits when the CRM asks for a pause; asked for more, it ends
DRAIN = 8.0  # seconds that requests under way still get when a run is cancelled
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0  # seconds, bounds of the exponential back-off before jitter


def deliver(
    outbox: Outbox,
    client: Sender,
    *,
    concurrency: int,
    max_attempts: int,
    batch_size: int,
    clock: Callable[[], datetime],
    limit: int | None = None,
    sleep: Callable[[float], None] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    progress: Callable[[DeliverySummary], None] | None = None,
) -> DeliverySummary:
    """Deliver what is due, at most `limit` records, until the outbox has no more.

    A record gets at most `max_attempts` attempts, with exponential back-off and full jitter; a pause that the
    CRM asks for holds for all. A CRM that is down, or that asks for a long pause, ends the run early:
    `stopped` says why, and what had not been attempted is settled UNSENT. A set-up that cannot work raises
    CrmMisconfigured likewise, carrying the summary, and spends no attempt. Every claimed record is settled
    before this returns or raises, also on KeyboardInterrupt, when requests under way get DRAIN seconds, and none
    more on a second one; only a failing outbox or a kill leaves records claimed, to be sent again under the same key.

    The outbox and `progress` (the counts so far, after each settling) are called in one thread, not the caller's,
    so that no signal interrupts them. `sleep` is told the seconds of a pause; by default it ends with the run.
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
    summary = undisturbed(run.run, interrupted=run.interrupt, name="crm-delivery")
    if run.gate.is_misconfigured:
        raise CrmMisconfigured(str(summary.stopped), summary=summary)
    return summary


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
        sleep: Callable[[float], None] | None,
        monotonic: Callable[[], float],
        rng: random.Random,
        progress: Callable[[DeliverySummary], None],
    ) -> None:
        self.client, self.concurrency, self.max_attempts = client, concurrency, max_attempts
        self.batch_size, self.monotonic, self.rng = batch_size, monotonic, rng
        # One burst of failures, a request of each worker, must not look like an outage.
        self.gate = Gate(breaker=max(10, 2 * concurrency), longest_wait=LONGEST_WAIT, monotonic=monotonic)
        self.sleep = sleep or self.gate.wait
        self.poster = Poster(client, self.gate, batch_size > 1, clock, outbox.sending)
        self.claims = Claims(
            outbox,
            in_requests=concurrency * batch_size,
            limit=limit,
            clock=clock,
            monotonic=monotonic,
            progress=progress,
        )
        self.ready: deque[Job] = deque()
        self.waiting: list[tuple[float, int, Job]] = []  # heap by the moment of the next attempt
        self.numbers = count()  # keeps the heap from comparing jobs
        self.in_flight: dict[Future[Sent | None], Job] = {}
        self.broken: BaseException | None = None  # an exception in a worker: a defect, not an answer

    def run(self) -> DeliverySummary:
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="crm") as pool:
            try:
                while self._is_going_on():
                    self._launch(pool)
                    self._wait()
            except BaseException:
                self.interrupt(again=False)
                raise
            finally:
                self._drain()
        if self.broken:
            raise self.broken
        return self.claims.tally.summary(self.gate.stopped)

    def interrupt(self, again: bool) -> None:
        """Have the run end soon; `again`: at once. From any thread."""
        self.gate.stop("the run was interrupted")
        self.client.finish_within(0.0 if again else DRAIN)

    def _is_going_on(self) -> bool:
        """Settle and claim as far as it is time to. Whether there is anything left to do."""
        if self.gate.stopped:
            return False
        items = self.claims.keep_up(is_idle=not (self.ready or self.waiting or self.in_flight))
        self.ready.extend(items[i : i + self.batch_size] for i in range(0, len(items), self.batch_size))
        return bool(self.claims.open)

    def _launch(self, pool: ThreadPoolExecutor) -> None:
        """Hand jobs to the workers, some ahead so that none idles while this thread is with the outbox."""
        while self.waiting and self.waiting[0][0] <= self.monotonic():
            self.ready.append(heapq.heappop(self.waiting)[2])
        while self.ready and len(self.in_flight) < 4 * self.concurrency and self.gate.may_send():
            job = self.ready.popleft()
            if len(job) > self.batch_size:  # made before arrays of that size proved too large
                self.ready.appendleft(job[self.batch_size :])
                job = job[: self.batch_size]
            self.in_flight[pool.submit(self.poster.send, job)] = job

    def _wait(self) -> None:
        """Until a request has ended or the next one is due."""
        due = [self.gate.opens_at] if self.ready else []
        due += [self.waiting[0][0]] if self.waiting else []
        pause = max(0.0, min(due) - self.monotonic()) if due else None
        if self.in_flight:
            done, _ = wait(self.in_flight, timeout=pause or None, return_when=FIRST_COMPLETED)
            self._collect(done)
        elif pause:
            self.claims.record()  # nobody should wait for these words as long as the CRM wants us to
            self.sleep(pause)

    def _collect(self, done: set[Future[Sent | None]]) -> None:
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
                middle = len(job) // 2 if self.poster.arrays_are_taken else 1
                if sent.answers[0].status == 413:
                    self.batch_size = max(1, min(self.batch_size, len(job) // 2))
                self.ready.extendleft([job[middle:], job[:middle]])
            else:
                self._sort(job, sent)

    def _sort(self, job: Job, sent: Sent) -> None:
        again: Job = []
        for item, answer in zip(job, sent.answers, strict=True):
            item.last = answer
            item.tried.append(sent.attempt(answer))
            if answer.meaning is Meaning.MISCONFIGURED:
                continue  # the gate has stopped; the item stays open and is accounted for at the end
            item.attempts += 1
            if answer.meaning is Meaning.DELIVERED:
                self.claims.finish(item, Verdict.DELIVERED)
            elif answer.meaning is Meaning.REFUSED:
                self.claims.finish(item, Verdict.FAILED)
            elif item.attempts >= self.max_attempts:
                self.claims.finish(item, Verdict.RETRY)
            else:
                again.append(item)
        if again:
            heapq.heappush(self.waiting, (self.monotonic() + self._delay(again), next(self.numbers), again))

    def _delay(self, job: Job) -> float:
        ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (min(item.attempts for item in job) - 1))
        asked = max((item.last.retry_after or 0.0 for item in job if item.last), default=0.0)
        return max(asked, self.rng.uniform(0, ceiling))

    def _drain(self) -> None:
        """Let what is under way end, then account for everything that was claimed."""
        self._collect(wait(self.in_flight).done)
        self.claims.close()
