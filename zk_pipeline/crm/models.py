"""What is delivered and what came of it, as plain values between the store's outbox and the HTTP client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Protocol


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


class Verdict(str, Enum):
    """What an attempt at a delivery came to; the value explains it."""

    DELIVERED = "the CRM holds this revision"
    RETRY = "the destination's fault or an unknown outcome: same key again later"
    FAILED = "the record's fault: refused by the CRM, goes to the dead letters"
    UNSENT = "not attempted: the run stopped before its turn"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one claimed delivery ended in this run."""

    delivery: Delivery
    verdict: Verdict
    attempts: int  # made in this run; 0 for UNSENT
    finished_at: datetime
    status: int | None = None  # HTTP status of the last answer, None where there was none
    error: str | None = None  # the CRM's own words or the network's, bounded, without secrets


class Outbox(Protocol):
    """Where deliveries come from and where outcomes go. The store implements it; each call is one short transaction."""

    def claim(self, limit: int) -> list[Delivery]:
        """Mark up to `limit` due deliveries as being sent and return them; empty when nothing is due.

        One that this run has settled as RETRY or FAILED is not returned again, or a run would never end.
        """
        ...

    def settle(self, outcomes: list[Outcome]) -> None:
        """Record outcomes; a delivery settled UNSENT is due again as if never claimed."""
        ...
