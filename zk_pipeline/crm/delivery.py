"""The delivery service: takes what is due from the outbox, sends it in parallel, records what came of it.

The meaning of an answer is in `responses`, whether the workers may send and whose fault a failure is in
`circuit_breaker`, one request in `request`, and when the outbox is asked in `claim_buffer`.
"""

from __future__ import annotations

import heapq
import random
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from itertools import count

from zk_pipeline.crm.circuit_breaker import AHEAD, CircuitBreaker, Decision
from zk_pipeline.crm.claim_buffer import ClaimBuffer
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.models import Outbox, Verdict
from zk_pipeline.crm.request import Batch, QueuedDelivery, RequestWorker, Sender
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.crm.signal_safe import run_signal_safe
from zk_pipeline.crm.summary import DeliverySummary

PATIENCE = 600.0  # seconds a run waits in an outage, unless it is told otherwise
DRAIN = 8.0  # seconds that requests under way still get when a run is cancelled
LONG = 1.0  # seconds from which a pause is worth a transaction: what has ended is recorded before it
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
    patience: float = PATIENCE,
    paused_until: datetime | None = None,
    keep_pause: Callable[[datetime], None] | None = None,
    sleep: Callable[[float], None] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    progress: Callable[[DeliverySummary], None] | None = None,
) -> DeliverySummary:
    """Deliver what is due, at most `limit` records, until the outbox has no more.

    A record gets at most `max_attempts` attempts of its own, with exponential back-off and full jitter. A fault
    of the destination costs it none (`CircuitBreaker`): the run pauses and probes, at most `patience` seconds
    without a success, and then ends early. `stopped` says why; what was tried is settled WAITING, and the rest
    UNSENT.

    A pause that the CRM asks for holds for all, also the one until `paused_until` that it asked an earlier run for;
    `keep_pause` is told of one that is to hold for the next run. A set-up that cannot work raises CrmMisconfigured,
    carrying the summary, and spends no attempt. Every claimed record is settled before this returns or raises, also on
    KeyboardInterrupt, when requests under way get DRAIN seconds, and none more on a second one; only a failing outbox
    or a kill leaves records claimed, to be sent again under the same key.

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
        patience=patience,
        paused_until=paused_until,
        keep_pause=keep_pause or (lambda _: None),
        sleep=sleep,
        monotonic=monotonic,
        rng=rng or random.Random(),  # noqa: S311 - jitter, not a secret
        progress=progress or (lambda _: None),
    )
    summary = run_signal_safe(run.run, interrupted=run.interrupt, name="crm-delivery")
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
        patience: float,
        paused_until: datetime | None,
        keep_pause: Callable[[datetime], None],
        sleep: Callable[[float], None] | None,
        monotonic: Callable[[], float],
        rng: random.Random,
        progress: Callable[[DeliverySummary], None],
    ) -> None:
        self.client, self.concurrency, self.max_attempts = client, concurrency, max_attempts
        self.batch_size, self.monotonic, self.rng = batch_size, monotonic, rng
        self.clock, self.keep_pause = clock, keep_pause
        self.gate = CircuitBreaker(concurrency=concurrency, patience=patience, monotonic=monotonic, rng=rng)
        if paused_until is not None and paused_until > clock():
            self.gate.pause((paused_until - clock()).total_seconds())
        self.kept_until = self.gate.asked_until
        self.sleep = sleep or self.gate.wait
        self.poster = RequestWorker(client, self.gate, batch_size > 1, clock, outbox.sending)
        self.claims = ClaimBuffer(
            outbox,
            in_requests=concurrency * batch_size,
            limit=limit,
            clock=clock,
            monotonic=monotonic,
            progress=progress,
        )
        self.ready: deque[Batch] = deque()
        self.waiting: list[tuple[float, int, Batch]] = []  # heap by the moment of the next attempt
        self.numbers = count()  # keeps the heap from comparing jobs
        self.in_flight: dict[Future[list[DeliveryResult] | None], Batch] = {}
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
                self._keep_pause()
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
        self._enqueue(self.claims.keep_up(is_idle=not (self.ready or self.waiting or self.in_flight)), self.batch_size)
        return bool(self.claims.open)

    def _enqueue(self, items: list[QueuedDelivery], size: int) -> None:
        self.ready.extend(items[i : i + size] for i in range(0, len(items), size))

    def _launch(self, pool: ThreadPoolExecutor) -> None:
        """Hand jobs to the workers, some ahead so that none idles while this thread is with the outbox."""
        while self.waiting and self.waiting[0][0] <= self.monotonic():
            self.ready.append(heapq.heappop(self.waiting)[2])
        if self.gate.is_open:
            if not self.in_flight and self.gate.may_send(is_probe=True) and (probe := self._probe()):
                self._submit(pool, probe, is_probe=True)
            return
        while self.ready and self._has_room() and self.gate.may_send():
            job = self._next_job()
            if len(job) > self.batch_size:  # made before arrays of that size proved too large
                self.ready.appendleft(job[self.batch_size :])
                job = job[: self.batch_size]
            self._submit(pool, job)
        if not (self.ready or self.waiting or self.in_flight):
            self.gate.nobody_else()
            self._follow(self.gate.decisions())

    def _next_job(self) -> Batch:
        """The next of the queue; one from anywhere in it, of others, while records are refused: people who stand
        together may be refused together.
        """
        if not self.gate.in_doubt:
            return self.ready.popleft()
        others = self._of_nobody_doubted()
        chosen = self.rng.choice(others) if others else 0
        job = self.ready[chosen]
        del self.ready[chosen]
        return job

    def _of_nobody_doubted(self) -> list[int]:
        """Positions in the queue of jobs whose first record is of a person who has not failed."""
        doubted = self.gate.doubted()
        return [n for n, job in enumerate(self.ready) if job[0].delivery.user_id not in doubted]

    def _submit(self, pool: ThreadPoolExecutor, job: Batch, *, is_probe: bool = False) -> None:
        self.in_flight[pool.submit(self.poster.send, job, is_probe=is_probe)] = job

    def _has_room(self) -> bool:
        """Jobs are handed out ahead only while all goes well: what is handed out is not chosen any more."""
        is_going_well = self.gate.width == self.concurrency and self.gate.has_succeeded and not self.gate.in_doubt
        return len(self.in_flight) < (AHEAD * self.concurrency if is_going_well else self.gate.width)

    def _probe(self) -> Batch | None:
        """One record of somebody who has not failed, from anywhere in the queue: people who stand together may fail
        together. Where there is none, the CRM is down, and what failed longest ago is tried after a pause.
        """
        good = self._of_nobody_doubted()
        if not good and not self.gate.is_down:
            self.gate.nobody_else()
            return None
        if not good and (failed := self.gate.take_failed()):
            return [failed]
        if not self.ready:
            return None
        chosen = self.rng.choice(good) if good else 0
        first, *rest = self.ready[chosen]
        if rest:
            self.ready[chosen] = rest
        else:
            del self.ready[chosen]
        return [first]

    def _wait(self) -> None:
        """Until a request has ended or the next one is due."""
        due = [self.gate.opens_at] if self.ready or self.gate.is_open else []
        due += [self.waiting[0][0]] if self.waiting else []
        pause = max(0.0, min(due) - self.monotonic()) if due else None
        if self.in_flight:
            done, _ = wait(self.in_flight, timeout=pause or None, return_when=FIRST_COMPLETED)
            self._collect(done)
        elif pause and self.gate.stopped is None:
            if pause >= LONG:
                self.claims.record()
                self._keep_pause()
            self.sleep(pause)

    def _keep_pause(self) -> None:
        """Tell of a pause that the CRM asked for and that is not over: the next run keeps it, too."""
        left = self.gate.asked_until - self.monotonic()
        if self.gate.asked_until > self.kept_until and left >= LONG:
            self.kept_until = self.gate.asked_until
            self.keep_pause(self.clock() + timedelta(seconds=left))

    def _collect(self, done: set[Future[list[DeliveryResult] | None]]) -> None:
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
            elif answers[0].meaning is ResponseClass.BATCH_REFUSED:
                # While it is not known that arrays are taken at all, one record shows it soonest.
                middle = len(job) // 2 if self.poster.arrays_are_taken else 1
                if answers[0].status == 413:
                    self.batch_size = max(1, min(self.batch_size, len(job) // 2))
                self.ready.extendleft([job[middle:], job[:middle]])
            else:
                for item, answer in zip(job, answers, strict=True):
                    if answer.meaning in _SETTLED:
                        item.attempts += 1
                        self.claims.finish(item, _SETTLED[answer.meaning])
        self._follow(self.gate.decisions())

    def _follow(self, decisions: list[Decision]) -> None:
        """What failed goes again: at once, after what is in the queue, where it was not at fault; or else after a
        back-off, in smaller arrays and at last alone, until its attempts are spent.
        """
        for decision in decisions:
            if not decision.is_own:
                for item in decision.items:
                    item.was_let_off = True
                self._enqueue(decision.items, self.batch_size)
                continue
            again: Batch = []
            for item in decision.items:
                item.attempts += 1
                if item.attempts >= self.max_attempts:
                    self.claims.finish(item, Verdict.RETRY)
                else:
                    again.append(item)
            is_last = any(item.attempts + 1 >= self.max_attempts for item in again)
            size = 1 if is_last else max(1, len(again) // 4)
            for start in range(0, len(again), size):
                job = again[start : start + size]
                heapq.heappush(self.waiting, (self.monotonic() + self._delay(job), next(self.numbers), job))

    def _delay(self, job: Batch) -> float:
        ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (min(item.attempts for item in job) - 1))
        return self.rng.uniform(0, ceiling)

    def _drain(self) -> None:
        """Let what is under way end, then account for everything that was claimed."""
        self._collect(wait(self.in_flight).done)
        if self.gate.is_misconfigured:
            for item in self.claims.open:
                if item.last and item.last.meaning in (ResponseClass.UNCLEAR, ResponseClass.MISCONFIGURED):
                    item.attempts = 0  # it was not the record's fault
        self.claims.close()


_SETTLED = {ResponseClass.DELIVERED: Verdict.DELIVERED, ResponseClass.REJECTED: Verdict.FAILED}
