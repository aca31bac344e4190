"""Delivery run: claims due deliveries from the outbox, sends them in parallel with retries, settles their outcomes.

Response classification is in `responses`, outage detection in `circuit_breaker`, a single request in
`request_worker`, claims and settlements in `claim_buffer`.
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

from zk_pipeline.crm.circuit_breaker import QUEUED_PER_WORKER, CircuitBreaker, Decision
from zk_pipeline.crm.claim_buffer import ClaimBuffer
from zk_pipeline.crm.errors import CrmMisconfigured
from zk_pipeline.crm.models import DeliveryState, DeliverySummary, Outbox
from zk_pipeline.crm.request_worker import Batch, QueuedDelivery, RequestWorker, Sender
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.crm.signal_safe import run_signal_safe

OUTAGE_PATIENCE_SECONDS = 600.0  # default wait of a run in an outage
DRAIN_TIMEOUT_SECONDS = 8.0  # for requests in progress when a run is cancelled
LONG_PAUSE_SECONDS = 1.0  # outcomes are settled before a pause of this length: it is worth a transaction
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 1.0, 60.0  # exponential back-off before jitter


def deliver(
    outbox: Outbox,
    client: Sender,
    *,
    concurrency: int,
    max_attempts: int,
    batch_size: int,
    clock: Callable[[], datetime],
    limit: int | None = None,
    patience: float = OUTAGE_PATIENCE_SECONDS,
    paused_until: datetime | None = None,
    save_pause: Callable[[datetime], None] | None = None,
    sleep: Callable[[float], None] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
    progress: Callable[[DeliverySummary], None] | None = None,
) -> DeliverySummary:
    """Send due deliveries, at most `limit` records, until the outbox has no more.

    A record has at most `max_attempts` attempts, with exponential back-off and full jitter. A fault of the CRM costs
    no attempt (`CircuitBreaker`): the run pauses and probes, at most `patience` seconds without a success, then stops.
    `stopped` has the reason; attempted records are settled WAITING, the others UNSENT.

    A pause that the CRM asks for applies to all records, also the one until `paused_until` from an earlier run;
    `save_pause` receives the end of a pause for the next run. Wrong settings raise CrmMisconfigured, with the summary,
    and cost no attempt. Every claimed record is settled before this returns or raises, also on KeyboardInterrupt:
    requests in progress get DRAIN_TIMEOUT_SECONDS then, and are aborted on a second one. Only a failing outbox or a
    kill leaves records claimed, to be sent again under the same key.

    The outbox and `progress` (counts after each settlement) are called in one thread, not the caller's, so that no
    signal interrupts them. `sleep` receives the seconds of a pause; the default ends with the run.
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
        save_pause=save_pause or (lambda _: None),
        sleep=sleep,
        monotonic=monotonic,
        rng=rng or random.Random(),  # noqa: S311 - jitter, not a secret
        progress=progress or (lambda _: None),
    )
    summary = run_signal_safe(run.run, interrupted=run.interrupt, name="crm-delivery")
    if run.breaker.is_misconfigured:
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
        save_pause: Callable[[datetime], None],
        sleep: Callable[[float], None] | None,
        monotonic: Callable[[], float],
        rng: random.Random,
        progress: Callable[[DeliverySummary], None],
    ) -> None:
        self.client, self.concurrency, self.max_attempts = client, concurrency, max_attempts
        self.batch_size, self.monotonic, self.rng = batch_size, monotonic, rng
        self.clock, self.save_pause = clock, save_pause
        self.breaker = CircuitBreaker(concurrency=concurrency, patience=patience, monotonic=monotonic, rng=rng)
        if paused_until is not None and paused_until > clock():
            self.breaker.pause((paused_until - clock()).total_seconds())
        self.saved_until = self.breaker.retry_after_until
        self.sleep = sleep or self.breaker.wait
        self.worker = RequestWorker(client, self.breaker, batch_size > 1, clock, outbox.mark_sending)
        self.buffer = ClaimBuffer(
            outbox,
            in_requests=concurrency * batch_size,
            limit=limit,
            clock=clock,
            monotonic=monotonic,
            progress=progress,
        )
        self.ready: deque[Batch] = deque()
        self.waiting: list[tuple[float, int, Batch]] = []  # heap by the time of the next attempt
        self.numbers = count()  # tie-breaker: the heap cannot compare jobs
        self.in_progress: dict[Future[list[DeliveryResult] | None], Batch] = {}
        self.worker_error: BaseException | None = None  # an exception in a worker: a defect, not a response

    def run(self) -> DeliverySummary:
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="crm") as pool:
            try:
                while self._has_work():
                    self._launch(pool)
                    self._wait()
            except BaseException:
                self.interrupt(again=False)
                raise
            finally:
                self._drain()
                self._save_pause()
        if self.worker_error:
            raise self.worker_error
        return self.buffer.tally.summary(self.breaker.stopped)

    def interrupt(self, again: bool) -> None:
        """Stop the run soon; with `again`, at once. Thread-safe."""
        self.breaker.stop("the run was interrupted")
        self.client.finish_within(0.0 if again else DRAIN_TIMEOUT_SECONDS)

    def _has_work(self) -> bool:
        """Settle and claim if it is time to. Returns whether any delivery is unsettled."""
        if self.breaker.stopped:
            return False
        self._enqueue(self.buffer.refill(is_idle=not (self.ready or self.waiting or self.in_progress)), self.batch_size)
        return bool(self.buffer.unsettled)

    def _enqueue(self, items: list[QueuedDelivery], size: int) -> None:
        self.ready.extend(items[i : i + size] for i in range(0, len(items), size))

    def _launch(self, pool: ThreadPoolExecutor) -> None:
        """Submit jobs to the workers, some ahead so that no worker idles while this thread uses the outbox."""
        while self.waiting and self.waiting[0][0] <= self.monotonic():
            self.ready.append(heapq.heappop(self.waiting)[2])
        if self.breaker.is_open:
            if not self.in_progress and self.breaker.may_send(is_probe=True) and (probe := self._probe()):
                self._submit(pool, probe, is_probe=True)
            return
        while self.ready and self._has_room() and self.breaker.may_send():
            job = self._next_job()
            if len(job) > self.batch_size:  # queued before the CRM answered 413 to such a batch
                self.ready.appendleft(job[self.batch_size :])
                job = job[: self.batch_size]
            self._submit(pool, job)
        if not (self.ready or self.waiting or self.in_progress):
            self.breaker.decide_without_comparison()
            self._requeue(self.breaker.decisions())

    def _next_job(self) -> Batch:
        """First job of the queue; while records are rejected, a random one of another user, since neighbours in the
        queue may be rejected for the same reason.
        """
        if not self.breaker.has_recent_rejections:
            return self.ready.popleft()
        others = self._unsuspected_positions()
        chosen = self.rng.choice(others) if others else 0
        job = self.ready[chosen]
        del self.ready[chosen]
        return job

    def _unsuspected_positions(self) -> list[int]:
        """Positions in the queue of jobs whose first record is of a user without failures."""
        suspected = self.breaker.suspected_users()
        return [n for n, job in enumerate(self.ready) if job[0].delivery.user_id not in suspected]

    def _submit(self, pool: ThreadPoolExecutor, job: Batch, *, is_probe: bool = False) -> None:
        self.in_progress[pool.submit(self.worker.send, job, is_probe=is_probe)] = job

    def _has_room(self) -> bool:
        """Whether a job may be submitted. Jobs are queued ahead only without failures: a submitted job cannot be
        replaced by a probe.
        """
        is_going_well = (
            self.breaker.width == self.concurrency
            and self.breaker.has_succeeded
            and not self.breaker.has_recent_rejections
        )
        return len(self.in_progress) < (QUEUED_PER_WORKER * self.concurrency if is_going_well else self.breaker.width)

    def _probe(self) -> Batch | None:
        """A random record of a user without failures, since neighbours in the queue may fail together. Without one the
        CRM is down, and the record that failed longest ago is sent after a pause.
        """
        good = self._unsuspected_positions()
        if not good and not self.breaker.is_down:
            self.breaker.decide_without_comparison()
            return None
        if not good and (failed := self.breaker.pop_oldest_failure()):
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
        """Wait until a request has ended or the next one is due."""
        due = [self.breaker.resumes_at] if self.ready or self.breaker.is_open else []
        due += [self.waiting[0][0]] if self.waiting else []
        pause = max(0.0, min(due) - self.monotonic()) if due else None
        if self.in_progress:
            done, _ = wait(self.in_progress, timeout=pause or None, return_when=FIRST_COMPLETED)
            self._collect(done)
        elif pause and self.breaker.stopped is None:
            if pause >= LONG_PAUSE_SECONDS:
                self.buffer.flush()
                self._save_pause()
            self.sleep(pause)

    def _save_pause(self) -> None:
        """Save the pause that the CRM asked for, so that it also applies to the next run."""
        left = self.breaker.retry_after_until - self.monotonic()
        if self.breaker.retry_after_until > self.saved_until and left >= LONG_PAUSE_SECONDS:
            self.saved_until = self.breaker.retry_after_until
            self.save_pause(self.clock() + timedelta(seconds=left))

    def _collect(self, done: set[Future[list[DeliveryResult] | None]]) -> None:
        for future in done:
            job = self.in_progress.pop(future)
            if error := future.exception():
                # Raised after all other deliveries are settled; the job counts as unsent and keeps its key.
                self.worker_error = self.worker_error or error
                self.breaker.stop("the run was interrupted")
                continue
            answers = future.result()
            if answers is None:
                self.ready.appendleft(job)
            elif answers[0].meaning is ResponseClass.BATCH_REJECTED:
                # Until the CRM has accepted an array, an array of one shows soonest if it accepts any.
                middle = len(job) // 2 if self.worker.batching_supported else 1
                if answers[0].status == 413:
                    self.batch_size = max(1, min(self.batch_size, len(job) // 2))
                self.ready.extendleft([job[middle:], job[:middle]])
            else:
                for item, answer in zip(job, answers, strict=True):
                    if answer.meaning in _FINAL_STATES:
                        item.attempts += 1
                        self.buffer.settle(item, _FINAL_STATES[answer.meaning])
        self._requeue(self.breaker.decisions())

    def _requeue(self, decisions: list[Decision]) -> None:
        """Queue failed records again: at the end of the queue if they were not at fault; else after a back-off, in
        smaller batches and finally alone, until their attempts are spent.
        """
        for decision in decisions:
            if not decision.is_record_fault:
                for item in decision.items:
                    item.was_excused = True
                self._enqueue(decision.items, self.batch_size)
                continue
            again: Batch = []
            for item in decision.items:
                item.attempts += 1
                if item.attempts >= self.max_attempts:
                    self.buffer.settle(item, DeliveryState.RETRY)
                else:
                    again.append(item)
            is_last = any(item.attempts + 1 >= self.max_attempts for item in again)
            size = 1 if is_last else max(1, len(again) // 4)
            for start in range(0, len(again), size):
                job = again[start : start + size]
                heapq.heappush(self.waiting, (self.monotonic() + self._delay(job), next(self.numbers), job))

    def _delay(self, job: Batch) -> float:
        ceiling = min(_MAX_BACKOFF_SECONDS, _MIN_BACKOFF_SECONDS * 2 ** (min(item.attempts for item in job) - 1))
        return self.rng.uniform(0, ceiling)

    def _drain(self) -> None:
        """Wait for the requests in progress, then settle every claimed delivery."""
        self._collect(wait(self.in_progress).done)
        if self.breaker.is_misconfigured:
            for item in self.buffer.unsettled:
                if item.last and item.last.meaning in (ResponseClass.UNCLEAR, ResponseClass.MISCONFIGURED):
                    item.attempts = 0  # it was not the record's fault
        self.buffer.close()


_FINAL_STATES = {ResponseClass.DELIVERED: DeliveryState.DELIVERED, ResponseClass.REJECTED: DeliveryState.FAILED}
