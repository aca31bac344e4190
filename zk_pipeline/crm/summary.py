"""What a delivery run did, in counts and a few examples. The run itself is in `delivery`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

from zk_pipeline.crm.models import MAX_ROUNDS, Outcome, Verdict

MAX_ERRORS = 20  # examples kept in a summary


@dataclass(frozen=True, kw_only=True)
class DeliveryError:
    """One record that did not arrive, and why."""

    user_id: str
    work_date: date
    message: str


@dataclass(frozen=True, kw_only=True)
class DeliverySummary:
    """Counts of settled records. `failed` are dead letters: refused, or given up after MAX_ROUNDS rounds; `unsent` are
    due again as before; `errors` are the first MAX_ERRORS of `retry` and `failed`.
    """

    delivered: int = 0
    retry: int = 0
    failed: int = 0
    unsent: int = 0
    errors: tuple[DeliveryError, ...] = ()
    stopped: str | None = None  # why the run ended before its end; None when it did all that was due

    @property
    def total(self) -> int:
        return self.delivered + self.retry + self.failed + self.unsent

    def words(self) -> str:
        return f"{self.delivered} delivered, {self.retry} to retry, {self.failed} failed, {self.unsent} unsent"


@dataclass
class Tally:
    """Outcomes being counted while a run goes on."""

    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    errors: list[DeliveryError] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        delivery = outcome.delivery
        is_given_up = outcome.verdict is Verdict.RETRY and delivery.retry_rounds + 1 >= MAX_ROUNDS
        self.counts[Verdict.FAILED if is_given_up else outcome.verdict] += 1
        if outcome.verdict in (Verdict.RETRY, Verdict.FAILED) and len(self.errors) < MAX_ERRORS:
            given_up = f"given up after {MAX_ROUNDS} rounds, last: " if is_given_up else ""
            self.errors.append(
                DeliveryError(
                    user_id=delivery.user_id,
                    work_date=delivery.work_date,
                    message=f"{given_up}{outcome.error or outcome.verdict.value}",
                )
            )

    def summary(self, stopped: str | None = None) -> DeliverySummary:
        return DeliverySummary(
            delivered=self.counts[Verdict.DELIVERED],
            retry=self.counts[Verdict.RETRY],
            failed=self.counts[Verdict.FAILED],
            unsent=self.counts[Verdict.UNSENT] + self.counts[Verdict.WAITING],
            errors=tuple(self.errors),
            stopped=stopped,
        )
