"""One request: the records it carries, posting them, and telling the gate what the answer means for everybody.

When a request is made, and what follows from its answers, is in `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from zk_pipeline.crm.answers import Answer, Meaning
from zk_pipeline.crm.gate import Gate
from zk_pipeline.crm.models import Attempt, Delivery


class Sender(Protocol):
    """What the service needs of a `CrmClient`."""

    def post_one(self, delivery: Delivery) -> Answer: ...

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[Answer]: ...

    def finish_within(self, seconds: float) -> None: ...


@dataclass(eq=False)
class Item:
    """A claimed record on its way."""

    delivery: Delivery
    attempts: int = 0
    last: Answer | None = None
    tried: list[Attempt] = field(default_factory=list)


Job = list[Item]  # what goes into one request


@dataclass(frozen=True)
class Sent:
    """One request that was made: an answer for each record of its job."""

    answers: list[Answer]
    started_at: datetime
    finished_at: datetime

    def attempt(self, answer: Answer) -> Attempt:
        return Attempt(
            started_at=self.started_at,
            finished_at=self.finished_at,
            verdict=answer.meaning.name.lower(),
            status=answer.status,
            error=answer.error,
        )


@dataclass
class Poster:
    """Makes requests; called in the workers."""

    client: Sender
    gate: Gate
    uses_arrays: bool
    clock: Callable[[], datetime]
    sending: Callable[[Sequence[Delivery]], None]  # told what the next request carries
    arrays_are_taken: bool = False  # the CRM has answered a batch record by record

    def send(self, job: Job) -> Sent | None:
        """One request, or None where the gate has closed since the job was handed out."""
        if not self.gate.may_send():
            return None
        started_at = self.clock()
        self.sending([item.delivery for item in job])
        answers = self._post_array(job) if self.uses_arrays else [self.client.post_one(job[0].delivery)]
        for answer in set(answers):  # a whole request's fate comes as one answer per record, and counts once
            self.gate.observe(answer)
        return Sent(answers, started_at, self.clock())

    def _post_array(self, job: Job) -> list[Answer]:
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
