"""Deliveries, attempts, outcomes and summaries as plain values; protocol of the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Literal, Protocol

RecordPer = Literal["person", "site"]

MAX_ROUNDS = 8  # retry rounds that end without success before a delivery becomes a dead letter


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One claimed revision of an attendance day. Instants are aware and in the device's zone."""

    site: str
    user_id: str
    work_date: date
    revision: int
    idempotency_key: str
    attempts: int  # made before this run
    clock_in: datetime | None
    clock_out: datetime | None
    is_outlier: bool
    outlier_reason: str
    device_name: str
    device_ip: str
    retry_rounds: int = 0  # earlier runs in which all its attempts failed
    # JSON of this record as last sent under this key, while its outcome is unknown; empty if it was not stored.
    sent_body: str | None = None
    record_per: RecordPer = "person"  # scope of the CRM's record: the user's date over all sites, or at `site`
    clock_in_site: str | None = None  # of a record merged over sites; else `site`

    @property
    def is_retracted(self) -> bool:
        """Whether the day was retracted; every other day has a clock-in."""
        return self.clock_in is None


class DeliveryState(StrEnum):
    """Result of a delivery in one run; the value explains it."""

    DELIVERED = "the CRM has this revision"
    RETRY = "fault of the destination or unknown outcome: retry later under the same key"
    FAILED = "fault of the record: rejected by the CRM, becomes a dead letter"
    WAITING = "fault of the destination: due again, no attempt or retry round is spent"
    UNSENT = "not attempted: the run stopped earlier"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request for one delivery, and its result."""

    started_at: datetime
    finished_at: datetime
    outcome: str  # name of a `responses.ResponseClass`, in lower case
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Outcome of one claimed delivery in this run."""

    delivery: Delivery
    state: DeliveryState
    attempts: int  # spent in this run
    finished_at: datetime
    status: int | None = None  # HTTP status of the last response, None without one
    error: str | None = None  # message of the CRM or the network, bounded, without secrets
    tried: tuple[Attempt, ...] = ()  # every request; those that failed for wrong settings are not in `attempts`


class Outbox(Protocol):
    """Transactional outbox, implemented by the store. Each call is one short transaction."""

    def ensure_sync_lock(self) -> None:
        """Raise if the sync lock was lost, so that another run may be sending. Called often, must be fast."""
        ...

    def mark_sending(self, deliveries: Sequence[Delivery]) -> None:
        """Record the deliveries of the next request: after a kill only theirs have an unknown outcome. Thread-safe."""
        ...

    def settle_and_claim(self, outcomes: list[Outcome], wanted: int) -> list[Delivery]:
        """Settle outcomes, then claim up to `wanted` due deliveries and return them.

        A delivery settled UNSENT is due again as if never claimed. One that this run settled RETRY or FAILED is not
        claimed again, else a run would never end. At most one delivery per user and date is claimed at a time, the
        lower revision first, so an empty list may mean that due deliveries wait for claimed ones. A delivery with an
        unknown outcome precedes a later revision of its day, with its `sent_body`.
        """
        ...


MAX_ERRORS = 20  # examples kept in a summary


@dataclass(frozen=True, kw_only=True)
class DeliveryError:
    """One undelivered record, and the reason."""

    user_id: str
    work_date: date
    message: str


@dataclass(frozen=True, kw_only=True)
class DeliverySummary:
    """Counts of settled records. `failed` are dead letters: rejected, or failed in MAX_ROUNDS retry rounds;
    `unsent` are due again; `errors` are the first MAX_ERRORS of `retry` and `failed`.
    """

    delivered: int = 0
    retry: int = 0
    failed: int = 0
    unsent: int = 0
    errors: tuple[DeliveryError, ...] = ()
    stopped: str | None = None  # reason why the run ended early; None if it sent all due records

    @property
    def total(self) -> int:
        return self.delivered + self.retry + self.failed + self.unsent

    def message(self) -> str:
        return f"{self.delivered} delivered, {self.retry} to retry, {self.failed} failed, {self.unsent} unsent"


@dataclass
class Tally:
    """Running counts of outcomes."""

    counts: dict[DeliveryState, int] = field(default_factory=lambda: dict.fromkeys(DeliveryState, 0))
    errors: list[DeliveryError] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        delivery = outcome.delivery
        is_exhausted = outcome.state is DeliveryState.RETRY and delivery.retry_rounds + 1 >= MAX_ROUNDS
        self.counts[DeliveryState.FAILED if is_exhausted else outcome.state] += 1
        if outcome.state in (DeliveryState.RETRY, DeliveryState.FAILED) and len(self.errors) < MAX_ERRORS:
            prefix = f"failed after {MAX_ROUNDS} retry rounds, last: " if is_exhausted else ""
            self.errors.append(
                DeliveryError(
                    user_id=delivery.user_id,
                    work_date=delivery.work_date,
                    message=f"{prefix}{outcome.error or outcome.state.value}",
                )
            )

    def summary(self, stopped: str | None = None) -> DeliverySummary:
        return DeliverySummary(
            delivered=self.counts[DeliveryState.DELIVERED],
            retry=self.counts[DeliveryState.RETRY],
            failed=self.counts[DeliveryState.FAILED],
            unsent=self.counts[DeliveryState.UNSENT] + self.counts[DeliveryState.WAITING],
            errors=tuple(self.errors),
            stopped=stopped,
        )
