"""The run's side of the outbox: how much is claimed ahead, and when what has ended is recorded.

Claiming and recording share transactions; the outbox itself is the store's, the requests are in `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from zk_pipeline.crm.models import DeliverySummary, Outbox, Outcome, Tally, Verdict
from zk_pipeline.crm.request_worker import QueuedDelivery
from zk_pipeline.crm.responses import ResponseClass

# A transaction of the store costs as much CPU as forty requests or more, however few rows it is about. A run records
# its first outcomes soon, so that one that is killed again and again gets on all the same, and then many at once.
PAGE = 4000  # records claimed at a time, if eight rounds of full requests are not more
SETTLE_AT = 200  # outcomes that a run records first; after that half a page at a time
SETTLE_AFTER = 5.0  # seconds after which fewer are recorded, so that a kill leaves little and a slow CRM shows progress
ENSURE_AFTER = 1.0  # seconds after which it is asked again whether nobody else sends: after every longer pause


class ClaimBuffer:
    """What a run has claimed, until its outcome is recorded. Used in one thread only."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        in_requests: int,
        limit: int | None,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        progress: Callable[[DeliverySummary], None],
    ) -> None:
        """`in_requests`: records that full requests of all workers hold together."""
        self.outbox, self.clock, self.monotonic, self.progress = outbox, clock, monotonic, progress
        self.page = max(PAGE, 8 * in_requests)
        self.settle_at = max(SETTLE_AT, in_requests)
        self.left_to_claim = limit
        self.is_exhausted = False  # the last claim brought less than was wanted
        self.open: dict[QueuedDelivery, None] = {}  # claimed without an outcome yet, in order: accounted for at the end
        self.finished: list[Outcome] = []
        self.settled_at = self.ensured_at = monotonic()
        self.tally = Tally()

    def keep_up(self, *, is_idle: bool) -> list[QueuedDelivery]:
        """Record and claim as far as it is time to; what was claimed. `is_idle`: nothing is under way or waiting.

        Raises what the outbox raises where somebody else may be sending.
        """
        now = self.monotonic()
        if now - self.ensured_at >= ENSURE_AFTER:
            self.outbox.ensure_sender()
            self.ensured_at = now
        is_late = now - self.settled_at >= SETTLE_AFTER
        if len(self.finished) >= self.settle_at or (self.finished and (is_late or is_idle)):
            # What waited for an outcome of ours, such as a day revised while it was under way, is due now.
            self.is_exhausted &= not is_idle
            return self._turn(self._wanted())
        if not self.is_exhausted and len(self.open) <= self.page // 2:
            return self._turn(self._wanted())
        return []

    def record(self) -> None:
        """Record what has ended, now, and claim nothing."""
        if self.finished:
            self._turn(0)

    def finish(self, item: QueuedDelivery, verdict: Verdict) -> None:
        last = None if verdict is Verdict.UNSENT else item.last
        self.finished.append(
            Outcome(
                delivery=item.delivery,
                verdict=verdict,
                attempts=item.attempts,
                finished_at=self.clock(),
                status=last.status if last else None,
                error=last.error if last else None,
                tried=tuple(item.tried),
            )
        )
        self.open.pop(item)

    def close(self) -> None:
        """Account for everything that was claimed, with no request under way any more: it is due again as before."""
        for item in list(self.open):
            was_tried = item.last is not None and item.last.meaning is not ResponseClass.MISCONFIGURED
            self.finish(item, Verdict.WAITING if was_tried else Verdict.UNSENT)
        self.record()

    def _wanted(self) -> int:
        room = 0 if self.is_exhausted else self.page - len(self.open)
        return room if self.left_to_claim is None else min(room, self.left_to_claim)

    def _turn(self, wanted: int) -> list[QueuedDelivery]:
        """Record what has ended and claim up to `wanted`, in one transaction."""
        self.settled_at = self.monotonic()
        claimed = self.outbox.turn(self.finished, wanted) if self.finished or wanted > 0 else []
        self.is_exhausted = self.is_exhausted or len(claimed) < wanted or wanted == 0 == self.left_to_claim
        if self.left_to_claim is not None:
            self.left_to_claim -= len(claimed)
        items = [QueuedDelivery(delivery) for delivery in claimed]
        self.open.update(dict.fromkeys(items))
        if self.finished:
            self.settle_at = self.page // 2
            ended, self.finished = self.finished, []
            for outcome in ended:
                self.tally.add(outcome)
            self.progress(self.tally.summary())
        return items
