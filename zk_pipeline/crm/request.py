"""One request: the records it carries, posting them, and telling the gate what the answer means for everybody.

When a request is made, and what follows from its answers, is in `delivery`.
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
    """What the service needs of a `CrmClient`."""

    def post_one(self, delivery: Delivery) -> DeliveryResult: ...

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]: ...

    def finish_within(self, seconds: float) -> None: ...


@dataclass(eq=False)
class QueuedDelivery:
    """A claimed record on its way."""

    delivery: Delivery
    attempts: int = 0  # that were its own: it failed while the CRM took others, was refused, or arrived
    was_let_off: bool = False  # a failure of it was the destination's
    last: DeliveryResult | None = None
    tried: list[Attempt] = field(default_factory=list)  # every request, whoever's fault


Batch = list[QueuedDelivery]  # what goes into one request


@dataclass
class RequestWorker:
    """Makes requests; called in the workers."""

    client: Sender
    gate: CircuitBreaker
    uses_arrays: bool
    clock: Callable[[], datetime]
    sending: Callable[[Sequence[Delivery]], None]  # told what the next request carries
    arrays_are_taken: bool = False  # the CRM has answered a batch record by record

    def send(self, job: Batch, *, is_probe: bool = False) -> list[DeliveryResult] | None:
        """One request: an answer for each record, noted in its item. None where the gate has closed since."""
        began = self.gate.begin(is_probe=is_probe)
        if began is None:
            return None
        started_at = self.clock()
        self.sending([item.delivery for item in job])
        answers = self._post_array(job) if self.uses_arrays else [self.client.post_one(job[0].delivery)]
        finished_at = self.clock()
        for item, answer in zip(job, answers, strict=True):
            if answer.meaning is not ResponseClass.BATCH_REFUSED:
                item.last = answer
                item.tried.append(_attempt(answer, started_at, finished_at))
        self.gate.observe(job, answers, began=began, is_probe=is_probe)
        return answers

    def _post_array(self, job: Batch) -> list[DeliveryResult]:
        """One array. Where even an array of one is refused as a whole, and none was taken before, the same record by
        itself shows whose fault that is: its own, or that of arrays, which this CRM then does not take at all.
        """
        answers = self.client.post_batch([item.delivery for item in job])
        refused = answers[0]
        if refused.meaning is not ResponseClass.BATCH_REFUSED:
            self.arrays_are_taken |= any(
                a.meaning in (ResponseClass.DELIVERED, ResponseClass.REJECTED) for a in answers
            )
            return answers
        if len(job) > 1:
            return answers
        if self.arrays_are_taken:
            return [replace(refused, meaning=ResponseClass.REJECTED)]
        alone = self.client.post_one(job[0].delivery)
        if alone.meaning is ResponseClass.DELIVERED:
            self.gate.misconfigured(
                f"the CRM takes single records but refuses arrays of them ({refused.error}): set CRM_BATCH_SIZE=1"
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
