"""What is delivered and what came of it, as plain values between the store's outbox and the HTTP client."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Literal, Protocol

RecordPer = Literal["person", "site"]

MAX_ROUNDS = 8  # runs that may end in RETRY before a delivery becomes a dead letter


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One claimed revision of one day, due at the CRM. Instants are aware and in the device's zone."""

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
    # JSON of this record as last sent under this key, while its outcome is unknown; empty where it was not kept.
    sent_body: str | None = None
    record_per: RecordPer = "person"  # what the CRM's record is of: the person's date, or that at `site`
    clock_in_site: str | None = None  # of a record merged over sites; else `site`

    @property
    def is_retracted(self) -> bool:
        """The day ceased to exist; no other day is without a clock-in."""
        return self.clock_in is None


class Verdict(str, Enum):
    """What an attempt at a delivery came to; the value explains it."""

    DELIVERED = "the CRM holds this revision"
    RETRY = "the destination's fault or an unknown outcome: same key again later"
    FAILED = "the record's fault: refused by the CRM, goes to the dead letters"
    WAITING = "the destination's fault: due again as before, neither attempt nor round is spent"
    UNSENT = "not attempted: the run stopped before its turn"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One request for one delivery and what came of it."""

    started_at: datetime
    finished_at: datetime
    outcome: str  # name of a `responses.ResponseClass`, in lower case
    status: int | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one claimed delivery ended in this run."""

    delivery: Delivery
    verdict: Verdict
    attempts: int  # of its own, spent in this run
    finished_at: datetime
    status: int | None = None  # HTTP status of the last answer, None where there was none
    error: str | None = None  # the CRM's own words or the network's, bounded, without secrets
    tried: tuple[Attempt, ...] = ()  # one by one; those that only showed a wrong set-up are not in `attempts`


class Outbox(Protocol):
    """Where deliveries come from and where outcomes go. The store implements it; each call is one short transaction."""

    def ensure_sender(self) -> None:
        """Raise where somebody else may be sending by now. Asked often, so it does not take long."""
        ...

    def sending(self, deliveries: Sequence[Delivery]) -> None:
        """Note that a request with these is about to be made, so that a kill leaves no other in doubt. Thread-safe."""
        ...

    def turn(self, outcomes: list[Outcome], wanted: int) -> list[Delivery]:
        """Record outcomes, then mark up to `wanted` due deliveries as being sent and return them.

        A delivery settled UNSENT is due again as if never claimed; one that this run has settled as RETRY or FAILED
        is not returned again, or a run would never end. Of one person and date never two are under way at once (the
        lower revision first), so an empty list may mean that what is due waits for what was
        returned before. One whose outcome is unknown goes before a later revision of its day, with its `sent_body`.
        """
        ...
