"""Circuit breaker of a sync run: pauses the workers, and distinguishes a fault of a record from one of the CRM.

The queue and the retry delays are in `delivery`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock

from zk_pipeline.crm.request_worker import Batch, QueuedDelivery
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass

QUEUED_PER_WORKER = 4  # requests queued ahead for each worker, while no request fails
PROBES = 3  # records of other users tried before consecutive failures count as an outage
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 3.0  # between probes during an outage; a probe costs one request
_MIN_THROTTLE_SECONDS = 0.25  # first pause after a 429 without Retry-After
_FAILURES = (ResponseClass.UNAVAILABLE, ResponseClass.UNKNOWN)
_NOT_ACCEPTED = (*_FAILURES, ResponseClass.UNCLEAR)
_SERVER_STATUSES = {None, 502, 503, 504}  # no response, or a status about the server and not about the request


@dataclass(frozen=True)
class Failure:
    """A failed request: its records, and its `moment` on the circuit breaker's counter."""

    moment: int
    items: Batch


@dataclass(frozen=True)
class Decision:
    """Cause of a failure: `is_record_fault` if the record failed while the CRM accepted others."""

    items: Batch
    is_record_fault: bool


class CircuitBreaker:
    """Circuit breaker shared by all workers of a run. Thread-safe.

    The cause of a failure is undecided until a request that began later succeeds: then it was the record. After
    `failure_threshold` consecutive failures of users without earlier failures, the circuit is half-open: records of
    PROBES other users are sent, one by one. If one of them succeeds, the records caused the failures. If none does,
    the CRM is down: no failure since the last success counts against a record, and probes follow after growing
    pauses with jitter, until one succeeds.

    `Retry-After` pauses all workers. A 429 without it halves `width`, the number of concurrent requests, and pauses
    shortly; each `width` successes add one. Neither counts against a record.

    The breaker stops the run on the first MISCONFIGURED response, and when a pause would exceed `patience` seconds
    without a success.
    """

    def __init__(
        self, *, concurrency: int, patience: float, monotonic: Callable[[], float], rng: random.Random
    ) -> None:
        self.failure_threshold = max(10, 2 * concurrency)  # one failure of each worker is not an outage
        self.concurrency = self.width = concurrency
        self.patience = patience
        self._monotonic = monotonic
        self._rng = rng
        self._lock = Lock()
        self._is_stopped = Event()
        self._moment = 0  # number of responses: orders the start of one request and the end of another
        self._failures: list[Failure] = []  # undecided, oldest first
        self._decisions: list[Decision] = []
        self._suspects: set[str] = set()  # users whose records failed while the CRM accepted others
        self._probes_failed = 0
        self._first_pause_at: float | None = None  # start of the first pause since the last success
        self.has_succeeded = False
        self._slowed_at = 0  # moment of the last halving
        self._slowings = 0  # since the last success
        self._successes = 0  # since `width` changed
        self.has_recent_rejections = (
            False  # records were refused, and not yet as many as are handed out ahead were taken since
        )
        self._accepted_in_a_row = 0
        self.is_open = False  # only probes may be sent
        self.is_down = False  # all probes failed
        self.resumes_at = 0.0  # monotonic clock
        self.retry_after_until = 0.0  # monotonic clock: end of the pause that the CRM asked for
        self.stopped: str | None = None  # reason why this run sends nothing more
        self.is_misconfigured = False

    def may_send(self, *, is_probe: bool = False) -> bool:
        return self.stopped is None and (is_probe or not self.is_open) and self._monotonic() >= self.resumes_at

    def begin(self, *, is_probe: bool = False) -> int | None:
        """Moment of the request's start, to pass to `observe`; None if it must not be sent."""
        with self._lock:
            return self._moment if self.may_send(is_probe=is_probe) else None

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as the circuit breaker has stopped."""
        self._is_stopped.wait(seconds)

    def stop(self, reason: str) -> None:
        """Send nothing more; the first reason is kept."""
        with self._lock:
            self._stop(reason)

    def stop_misconfigured(self, reason: str) -> None:
        """Stop because an operator must change a setting first."""
        with self._lock:
            self._misconfigured(reason)

    def pause(self, seconds: float) -> None:
        """Send nothing for `seconds`, as the CRM asked."""
        with self._lock:
            self._apply_retry_after(seconds)

    def observe(self, job: Batch, answers: Sequence[DeliveryResult], *, began: int, is_probe: bool) -> None:
        """Update the breaker with the results of one request, one per record; `last` of its items is already set."""
        with self._lock:
            self._moment += 1
            misconfigured = [a for a in answers if a.meaning is ResponseClass.MISCONFIGURED]
            if misconfigured:
                self._misconfigured(misconfigured[0].error or ResponseClass.MISCONFIGURED.value)
                return
            by_meaning = [(item, answer.meaning) for item, answer in zip(job, answers, strict=True)]
            unclear = [item for item, meaning in by_meaning if meaning is ResponseClass.UNCLEAR]
            failed = [item for item, meaning in by_meaning if meaning in _FAILURES]
            good = {item.delivery.user_id for item, meaning in by_meaning if meaning not in _NOT_ACCEPTED}
            if unclear or any(meaning is ResponseClass.REJECTED for _, meaning in by_meaning):
                self.has_recent_rejections, self._accepted_in_a_row = True, 0
            elif good:
                self._accepted_in_a_row += len(good)
                self.has_recent_rejections &= self._accepted_in_a_row < QUEUED_PER_WORKER * self.concurrency
            put_off = [item for item in failed if _is_throttled(item)]
            undecided = [item for item in failed if not _is_throttled(item)]
            self._decide(unclear, is_record_fault=True)  # a wrong address is detected by the client
            if good:
                self._suspects -= good
                self._succeeded(began)
                self._decide(undecided, is_record_fault=True)
            elif undecided:
                self._failed(Failure(self._moment, undecided), is_probe=is_probe)
            if put_off:
                self._decide(put_off, is_record_fault=False)
                self._throttle(put_off, began)

    def decisions(self) -> list[Decision]:
        """The decisions since the last call."""
        with self._lock:
            decisions, self._decisions = self._decisions, []
            return decisions

    def suspected_users(self) -> set[str]:
        """Users unsuited for a probe: a record failed since the last success, or while others succeeded."""
        with self._lock:
            return self._suspects | {item.delivery.user_id for each in self._failures for item in each.items}

    def decide_without_comparison(self) -> None:
        """Decide the cause of failures when no other record is left to compare with.

        The CRM is at fault if it has accepted nothing in this run and two or more users fail for the first time.
        Otherwise the record's history and the status decide: the record is at fault if it failed before while others
        succeeded, or if the status is about the request, such as 500; the CRM is, without a response and for 502, 503
        and 504.
        """
        with self._lock:
            items = [item for each in self._failures for item in each.items]
            fresh = {
                item.delivery.user_id
                for item in items
                if not (item.attempts or item.was_excused or item.delivery.attempts)
            } - self._suspects
            is_outage = self.is_open or (len(fresh) > 1 and not self.has_succeeded)
            own = [] if is_outage else [item for item in items if _is_record_fault(item)]
            if own:
                self._failures = _remove_items(self._failures, own)
                self._decide(own, is_record_fault=True)
            elif items:
                self._mark_down()

    def pop_oldest_failure(self) -> QueuedDelivery | None:
        """The record that failed longest ago, to be the next probe; preferably of a user without earlier failures."""
        with self._lock:
            items = [item for each in self._failures for item in each.items]
            if not items:
                return None
            item = next((one for one in items if one.delivery.user_id not in self._suspects), items[0])
            self._failures = _remove_items(self._failures, [item])
            return item

    def _succeeded(self, began: int) -> None:
        decided = [each for each in self._failures if each.moment <= began]
        self._failures = [each for each in self._failures if each.moment > began]
        for each in decided:
            self._decide([i for i in each.items if _never_connected(i)], is_record_fault=False)
            self._decide([i for i in each.items if not _never_connected(i)], is_record_fault=not self.is_down)
        if self.is_open and (decided or not self._failures):
            self.is_open = self.is_down = False
            self._probes_failed = 0
        if not self.is_open:
            self._first_pause_at = None
        self.has_succeeded = True
        self._slowings = 0
        self._successes += 1
        if self.width < self.concurrency and self._successes >= self.width:
            self.width, self._successes = self.width + 1, 0

    def _failed(self, failure: Failure, *, is_probe: bool) -> None:
        self._failures.append(failure)
        if self.is_open:
            self._probes_failed += is_probe
            if is_probe and (self.is_down or self._probes_failed >= PROBES):
                self._mark_down()
            return
        counted = sum(any(i.delivery.user_id not in self._suspects for i in each.items) for each in self._failures)
        if counted >= self.failure_threshold:
            self.is_open = True

    def _mark_down(self) -> None:
        """Open the circuit and pause before the next probe."""
        self._probes_failed = 0 if not self.is_down else self._probes_failed
        self.is_open = self.is_down = True
        last = self._failures[-1].items[-1].last
        ceiling = min(_MAX_PAUSE_SECONDS, _MIN_PAUSE_SECONDS * 2 ** min(self._probes_failed, 10))
        self._back_off(ceiling, f"the CRM is down, last: {last.error if last else None}")

    def _throttle(self, items: Batch, began: int) -> None:
        asked = [item.last.retry_after for item in items if item.last and item.last.retry_after is not None]
        if asked:
            self._apply_retry_after(max(asked))
        elif began >= self._slowed_at:  # once for all concurrent requests
            self._slowed_at = self._moment
            self.width, self._successes = max(1, self.width // 2), 0
            self._slowings += 1
            ceiling = min(_MAX_PAUSE_SECONDS, _MIN_THROTTLE_SECONDS * 2 ** min(self._slowings - 1, 10))
            last = items[-1].last
            self._back_off(ceiling, f"the CRM limits the request rate, last: {last.error if last else None}")

    def _apply_retry_after(self, seconds: float) -> None:
        now = self._monotonic()
        self._first_pause_at = now if self._first_pause_at is None else self._first_pause_at
        self.retry_after_until = max(self.retry_after_until, now + seconds)
        self.resumes_at = max(self.resumes_at, now + seconds)
        if now + seconds - self._first_pause_at > self.patience:
            self._stop(f"the CRM asks for a pause of {seconds:.0f} s, longer than CRM_OUTAGE_PATIENCE allows")

    def _back_off(self, ceiling: float, reason: str) -> None:
        now = self._monotonic()
        self._first_pause_at = now if self._first_pause_at is None else self._first_pause_at
        left = self._first_pause_at + self.patience - now
        if left <= 0:
            self._stop(f"{reason}; it accepted nothing for {now - self._first_pause_at:.0f} s (CRM_OUTAGE_PATIENCE)")
        pause = min(self._rng.uniform(ceiling / 2, ceiling), max(left, 0.0))
        self.resumes_at = max(self.resumes_at, now + pause)

    def _decide(self, items: Batch, *, is_record_fault: bool) -> None:
        if not items:
            return
        if is_record_fault:
            self._suspects |= {item.delivery.user_id for item in items}
        self._decisions.append(Decision(items, is_record_fault))

    def _misconfigured(self, reason: str) -> None:
        self.is_misconfigured |= self.stopped is None
        self._stop(reason)

    def _stop(self, reason: str) -> None:
        if self.stopped is None:
            self.stopped = reason
        self._is_stopped.set()


def _is_throttled(item: QueuedDelivery) -> bool:
    """Whether the CRM asked for a pause or fewer requests."""
    return item.last is not None and (item.last.status == 429 or item.last.retry_after is not None)


def _never_connected(item: QueuedDelivery) -> bool:
    return item.last is not None and item.last.status is None and item.last.meaning is ResponseClass.UNAVAILABLE


def _is_record_fault(item: QueuedDelivery) -> bool:
    if item.last is None or _never_connected(item):
        return False
    return item.attempts > 0 or item.last.status not in _SERVER_STATUSES


def _remove_items(failures: list[Failure], items: Batch) -> list[Failure]:
    gone = {id(item) for item in items}
    remaining = [Failure(each.moment, [i for i in each.items if id(i) not in gone]) for each in failures]
    return [each for each in remaining if each.items]
