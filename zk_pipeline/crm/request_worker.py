"""Request worker: posts one batch of claimed records and reports the results to the circuit breaker.

The queue of requests and the retries are in `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from zk_pipeline.crm.models import Attempt, Delivery
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass

if TYPE_CHECKING:
    from zk_pipeline.crm.circuit_breaker import CircuitBreaker


class Sender(Protocol):
    """The part of `CrmClient` that a delivery run uses."""

    def post_one(self, delivery: Delivery) -> DeliveryResult: ...

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]: ...

    def finish_within(self, seconds: float) -> None: ...


@dataclass(eq=False)
class QueuedDelivery:
    """A claimed delivery of this run, with its attempts."""

    delivery: Delivery
    attempts: int = 0  # that count: failed while the CRM accepted others, rejected, or delivered
    was_excused: bool = False  # an attempt failed by fault of the destination
    last: DeliveryResult | None = None
    tried: list[Attempt] = field(default_factory=list)  # every request, whatever the cause of its failure


Batch = list[QueuedDelivery]  # records of one request


@dataclass
class RequestWorker:
    """Sends requests; called in the worker threads."""

    client: Sender
    breaker: CircuitBreaker
    uses_batches: bool
    clock: Callable[[], datetime]
    mark_sending: Callable[[Sequence[Delivery]], None]  # receives the deliveries of the next request
    batching_supported: bool = False  # the CRM has answered a batch record by record

    def send(self, job: Batch, *, is_probe: bool = False) -> list[DeliveryResult] | None:
        """Send one request; one result per record, also stored in its item. None if the circuit breaker has opened."""
        began = self.breaker.begin(is_probe=is_probe)
        if began is None:
            return None
        started_at = self.clock()
        self.mark_sending([item.delivery for item in job])
        answers = self._post_batch(job) if self.uses_batches else [self.client.post_one(job[0].delivery)]
        finished_at = self.clock()
        for item, answer in zip(job, answers, strict=True):
            if answer.meaning is not ResponseClass.BATCH_REJECTED:
                item.last = answer
                item.tried.append(_attempt(answer, started_at, finished_at))
        self.breaker.observe(job, answers, began=began, is_probe=is_probe)
        return answers

    def _post_batch(self, job: Batch) -> list[DeliveryResult]:
        """Send one array. If an array of one is rejected as a whole and the CRM has accepted none before, send the
        record alone: if that succeeds, the CRM does not support arrays.
        """
        answers = self.client.post_batch([item.delivery for item in job])
        rejected = answers[0]
        if rejected.meaning is not ResponseClass.BATCH_REJECTED:
            self.batching_supported |= any(
                a.meaning in (ResponseClass.DELIVERED, ResponseClass.REJECTED) for a in answers
            )
            return answers
        if len(job) > 1:
            return answers
        if self.batching_supported:
            return [replace(rejected, meaning=ResponseClass.REJECTED)]
        alone = self.client.post_one(job[0].delivery)
        if alone.meaning is ResponseClass.DELIVERED:
            self.breaker.stop_misconfigured(
                f"the CRM accepts single records but rejects arrays of them ({rejected.error}): set CRM_BATCH_SIZE=1"
            )
        return [alone]


def _attempt(answer: DeliveryResult, started_at: datetime, finished_at: datetime) -> Attempt:
    return Attempt(
        started_at=started_at,
        finished_at=finished_at,
        outcome=answer.meaning.name.lower(),
        status=answer.status,
        error=answer.error,
    )
