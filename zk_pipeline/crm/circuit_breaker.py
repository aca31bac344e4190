"""Circuit breaker of a run: it lets the workers send or pause, and tells a record's fault from the CRM's.

What is sent, and when again, is in `delivery`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock

from zk_pipeline.crm.request import Batch, QueuedDelivery
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass

AHEAD = 4  # requests handed to each worker ahead of the one it makes, while all goes well
PROBES = 3  # other people tried at once before failures in a row are called an outage
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 3.0  # seconds between probes of a CRM that is down; a probe costs one request
_FIRST_SLOWING = 0.25  # seconds, first pause after a 429 that names none
_FAILURES = (ResponseClass.UNAVAILABLE, ResponseClass.UNKNOWN)
_NOT_TAKEN = (*_FAILURES, ResponseClass.UNCLEAR)
_OF_THE_SERVER = {None, 502, 503, 504}  # no answer, or a status that speaks of the server and not of the request


@dataclass(frozen=True)
class Failure:
    """A request that failed, at a moment of the circuit breaker's counter, and the records that it carried."""

    moment: int
    items: Batch


@dataclass(frozen=True)
class Decision:
    """Whose fault a failure was: `is_own` where the record failed while the CRM took others."""

    items: Batch
    is_own: bool


class CircuitBreaker:
    """Shared by all workers of a run, thread-safe.

    A failure is undecided until it is known whether the CRM takes other records. A request that began after it and
    succeeded shows that it does: the failure was the record's own. With `breaker` failures in a row, of people not
    known to fail, the circuit is half-open: PROBES other people are tried, one by one. If one of them succeeds, the
    failures were the records' own; if none does, the CRM is down, no failure since the last success is anybody's,
    and it is probed after growing pauses with jitter, until one record succeeds.

    `Retry-After` pauses everybody. A 429 without it halves `width`, the number of requests at a time, and pauses
    shortly; each `width` successes add one. Neither is any record's fault.

    It stops by itself on the first MISCONFIGURED answer, and where `patience` seconds without a success would be
    exceeded by a pause.
    """

    def __init__(
        self, *, concurrency: int, patience: float, monotonic: Callable[[], float], rng: random.Random
    ) -> None:
        self.breaker = max(10, 2 * concurrency)  # a failure of each worker at once is no outage yet
        self.concurrency = self.width = concurrency
        self.patience = patience
        self._monotonic = monotonic
        self._rng = rng
        self._lock = Lock()
        self._is_stopped = Event()
        self._moment = 0  # counts answers: orders the beginning of one request and the end of another
        self._failures: list[Failure] = []  # undecided, oldest first
        self._decisions: list[Decision] = []
        self._suspects: set[str] = set()  # people whose records failed while the CRM took others
        self._probes_failed = 0
        self._troubled_since: float | None = None  # when the first pause since the last success began
        self.has_succeeded = False
        self._slowed_at = 0  # moment of the last halving
        self._slowings = 0  # since the last success
        self._successes = 0  # since `width` changed
        self.in_doubt = False  # records were refused, and not yet as many as are handed out ahead were taken since
        self._taken_in_a_row = 0
        self.is_open = False  # only probes are let through
        self.is_down = False  # it is known that the CRM takes nothing
        self.opens_at = 0.0  # on the monotonic clock
        self.asked_until = 0.0  # on the monotonic clock: end of the pause that the CRM asked for
        self.stopped: str | None = None  # why nothing more is sent in this run
        self.is_misconfigured = False

    def may_send(self, *, is_probe: bool = False) -> bool:
        return self.stopped is None and (is_probe or not self.is_open) and self._monotonic() >= self.opens_at

    def begin(self, *, is_probe: bool = False) -> int | None:
        """The moment at which a request begins, to be told with its answer; None where it must not."""
        with self._lock:
            return self._moment if self.may_send(is_probe=is_probe) else None

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or as soon as the circuit breaker has stopped."""
        self._is_stopped.wait(seconds)

    def stop(self, why: str) -> None:
        """Let nothing more through; the first reason stays."""
        with self._lock:
            self._stop(why)

    def misconfigured(self, why: str) -> None:
        """Stop because a person must change the set-up first."""
        with self._lock:
            self._misconfigured(why)

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long, as the CRM asked."""
        with self._lock:
            self._asked_to_pause(seconds)

    def observe(self, job: Batch, answers: Sequence[DeliveryResult], *, began: int, is_probe: bool) -> None:
        """Take one request's answers into account, one for each record, which are its items' `last` already."""
        with self._lock:
            self._moment += 1
            misconfigured = [a for a in answers if a.meaning is ResponseClass.MISCONFIGURED]
            if misconfigured:
                self._misconfigured(misconfigured[0].error or ResponseClass.MISCONFIGURED.value)
                return
            by_meaning = [(item, answer.meaning) for item, answer in zip(job, answers, strict=True)]
            unclear = [item for item, meaning in by_meaning if meaning is ResponseClass.UNCLEAR]
            failed = [item for item, meaning in by_meaning if meaning in _FAILURES]
            good = {item.delivery.user_id for item, meaning in by_meaning if meaning not in _NOT_TAKEN}
            if unclear or any(meaning is ResponseClass.REJECTED for _, meaning in by_meaning):
                self.in_doubt, self._taken_in_a_row = True, 0
            elif good:
                self._taken_in_a_row += len(good)
                self.in_doubt &= self._taken_in_a_row < AHEAD * self.concurrency
            put_off = [item for item in failed if _is_put_off(item)]
            undecided = [item for item in failed if not _is_put_off(item)]
            self._decide(unclear, is_own=True)  # a wrong address is found out by the client
            if good:
                self._suspects -= good
                self._succeeded(began)
                self._decide(undecided, is_own=True)
            elif undecided:
                self._failed(Failure(self._moment, undecided), is_probe=is_probe)
            if put_off:
                self._decide(put_off, is_own=False)
                self._put_off(put_off, began)

    def decisions(self) -> list[Decision]:
        """The decisions since the last call."""
        with self._lock:
            taken, self._decisions = self._decisions, []
            return taken

    def doubted(self) -> set[str]:
        """People of whom no record is a good probe: one failed since the last success, or while others succeeded."""
        with self._lock:
            return self._suspects | {item.delivery.user_id for each in self._failures for item in each.items}

    def nobody_else(self) -> None:
        """Decide with nothing left to compare with.

        Failures of two people or more who have not failed before are the CRM's, if it has taken nothing in this run.
        Otherwise the record's history and the status decide: it is the record's own fault where it failed before while
        others succeeded, or where the status speaks of the request, such as 500; it is the CRM's where none came, and
        for 502, 503 and 504.
        """
        with self._lock:
            items = [item for each in self._failures for item in each.items]
            fresh = {
                item.delivery.user_id
                for item in items
                if not (item.attempts or item.was_let_off or item.delivery.attempts)
            } - self._suspects
            is_outage = self.is_open or (len(fresh) > 1 and not self.has_succeeded)
            own = [] if is_outage else [item for item in items if _is_own_by_itself(item)]
            if own:
                self._failures = _without(self._failures, own)
                self._decide(own, is_own=True)
            elif items:
                self._is_down_now()

    def take_failed(self) -> QueuedDelivery | None:
        """The record that failed longest ago, to be the next probe; of people not known to fail where there is one."""
        with self._lock:
            items = [item for each in self._failures for item in each.items]
            if not items:
                return None
            item = next((one for one in items if one.delivery.user_id not in self._suspects), items[0])
            self._failures = _without(self._failures, [item])
            return item

    def _succeeded(self, began: int) -> None:
        decided = [each for each in self._failures if each.moment <= began]
        self._failures = [each for each in self._failures if each.moment > began]
        for each in decided:
            self._decide([i for i in each.items if _never_connected(i)], is_own=False)
            self._decide([i for i in each.items if not _never_connected(i)], is_own=not self.is_down)
        if self.is_open and (decided or not self._failures):
            self.is_open = self.is_down = False
            self._probes_failed = 0
        if not self.is_open:
            self._troubled_since = None
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
                self._is_down_now()
            return
        counted = sum(any(i.delivery.user_id not in self._suspects for i in each.items) for each in self._failures)
        if counted >= self.breaker:
            self.is_open = True

    def _is_down_now(self) -> None:
        """The next probe after a pause."""
        self._probes_failed = 0 if not self.is_down else self._probes_failed
        self.is_open = self.is_down = True
        last = self._failures[-1].items[-1].last
        ceiling = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._probes_failed, 10))
        self._back_off(ceiling, f"the CRM is down, last: {last.error if last else None}")

    def _put_off(self, items: Batch, began: int) -> None:
        asked = [item.last.retry_after for item in items if item.last and item.last.retry_after is not None]
        if asked:
            self._asked_to_pause(max(asked))
        elif began >= self._slowed_at:  # once for all that was under way together
            self._slowed_at = self._moment
            self.width, self._successes = max(1, self.width // 2), 0
            self._slowings += 1
            ceiling = min(_LONGEST_PAUSE, _FIRST_SLOWING * 2 ** min(self._slowings - 1, 10))
            last = items[-1].last
            self._back_off(ceiling, f"the CRM asks for fewer requests, last: {last.error if last else None}")

    def _asked_to_pause(self, seconds: float) -> None:
        now = self._monotonic()
        self._troubled_since = now if self._troubled_since is None else self._troubled_since
        self.asked_until = max(self.asked_until, now + seconds)
        self.opens_at = max(self.opens_at, now + seconds)
        if now + seconds - self._troubled_since > self.patience:
            self._stop(f"the CRM asks for a pause of {seconds:.0f} s, longer than CRM_OUTAGE_PATIENCE allows")

    def _back_off(self, ceiling: float, why: str) -> None:
        now = self._monotonic()
        self._troubled_since = now if self._troubled_since is None else self._troubled_since
        left = self._troubled_since + self.patience - now
        if left <= 0:
            self._stop(f"{why}; it took nothing for {now - self._troubled_since:.0f} s (CRM_OUTAGE_PATIENCE)")
        pause = min(self._rng.uniform(ceiling / 2, ceiling), max(left, 0.0))
        self.opens_at = max(self.opens_at, now + pause)

    def _decide(self, items: Batch, *, is_own: bool) -> None:
        if not items:
            return
        if is_own:
            self._suspects |= {item.delivery.user_id for item in items}
        self._decisions.append(Decision(items, is_own))

    def _misconfigured(self, why: str) -> None:
        self.is_misconfigured |= self.stopped is None
        self._stop(why)

    def _stop(self, why: str) -> None:
        if self.stopped is None:
            self.stopped = why
        self._is_stopped.set()


def _is_put_off(item: QueuedDelivery) -> bool:
    """The CRM's word to everybody: later, or slower."""
    return item.last is not None and (item.last.status == 429 or item.last.retry_after is not None)


def _never_connected(item: QueuedDelivery) -> bool:
    return item.last is not None and item.last.status is None and item.last.meaning is ResponseClass.UNAVAILABLE


def _is_own_by_itself(item: QueuedDelivery) -> bool:
    if item.last is None or _never_connected(item):
        return False
    return item.attempts > 0 or item.last.status not in _OF_THE_SERVER


def _without(failures: list[Failure], items: Batch) -> list[Failure]:
    gone = {id(item) for item in items}
    kept = [Failure(each.moment, [i for i in each.items if id(i) not in gone]) for each in failures]
    return [each for each in kept if each.items]
