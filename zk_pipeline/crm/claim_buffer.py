"""Buffer of claimed deliveries between the outbox and the workers: size of a claim, time of a settlement.

One transaction settles outcomes and claims deliveries. The outbox is the store's, the requests are in `delivery`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from zk_pipeline.crm.models import DeliveryState, DeliverySummary, Outbox, Outcome, Tally
from zk_pipeline.crm.request_worker import QueuedDelivery
from zk_pipeline.crm.responses import ResponseClass

# A transaction costs the CPU time of forty requests or more, however few its rows. A run settles its first outcomes
# early, so that repeatedly killed runs make progress, and many at once after that.
MIN_BUFFERED = 4000  # deliveries in the buffer, unless eight full requests of all workers are more
FIRST_SETTLE_COUNT = 200  # outcomes in the first settlement; later ones have half a buffer
SETTLE_INTERVAL_SECONDS = 5.0  # settle fewer after this time: a kill loses little, a slow CRM shows progress
LOCK_CHECK_INTERVAL_SECONDS = 1.0  # between two checks that the sync lock is not lost


class ClaimBuffer:
    """Claimed deliveries of a run until their outcomes are settled. Not thread-safe."""

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
        """`in_requests`: records in full requests of all workers together."""
        self.outbox, self.clock, self.monotonic, self.progress = outbox, clock, monotonic, progress
        self.capacity = max(MIN_BUFFERED, 8 * in_requests)
        self.settle_count = max(FIRST_SETTLE_COUNT, in_requests)
        self.left_to_claim = limit
        self.is_exhausted = False  # the last claim returned fewer than requested
        self.unsettled: dict[QueuedDelivery, None] = {}  # claimed, without an outcome, in order of the claims
        self.outcomes: list[Outcome] = []
        self.settled_at = self.lock_checked_at = monotonic()
        self.tally = Tally()

    def refill(self, *, is_idle: bool) -> list[QueuedDelivery]:
        """Settle and claim if it is time to; returns the claimed deliveries. `is_idle`: no request is in progress or
        waiting.

        Raises the outbox's error where another run may be sending.
        """
        now = self.monotonic()
        if now - self.lock_checked_at >= LOCK_CHECK_INTERVAL_SECONDS:
            self.outbox.ensure_sync_lock()
            self.lock_checked_at = now
        is_late = now - self.settled_at >= SETTLE_INTERVAL_SECONDS
        if len(self.outcomes) >= self.settle_count or (self.outcomes and (is_late or is_idle)):
            # A delivery that waited for one of these outcomes, such as a later revision of its day, is due now.
            self.is_exhausted &= not is_idle
            return self._settle_and_claim(self._room())
        if not self.is_exhausted and len(self.unsettled) <= self.capacity // 2:
            return self._settle_and_claim(self._room())
        return []

    def flush(self) -> None:
        """Settle all outcomes now; claim nothing."""
        if self.outcomes:
            self._settle_and_claim(0)

    def settle(self, item: QueuedDelivery, state: DeliveryState) -> None:
        last = None if state is DeliveryState.UNSENT else item.last
        self.outcomes.append(
            Outcome(
                delivery=item.delivery,
                state=state,
                attempts=item.attempts,
                finished_at=self.clock(),
                status=last.status if last else None,
                error=last.error if last else None,
                tried=tuple(item.tried),
            )
        )
        self.unsettled.pop(item)

    def close(self) -> None:
        """Settle every claimed delivery as due again. Call with no request in progress."""
        for item in list(self.unsettled):
            was_tried = item.last is not None and item.last.meaning is not ResponseClass.MISCONFIGURED
            self.settle(item, DeliveryState.WAITING if was_tried else DeliveryState.UNSENT)
        self.flush()

    def _room(self) -> int:
        room = 0 if self.is_exhausted else self.capacity - len(self.unsettled)
        return room if self.left_to_claim is None else min(room, self.left_to_claim)

    def _settle_and_claim(self, wanted: int) -> list[QueuedDelivery]:
        """Settle outcomes and claim up to `wanted` deliveries, in one transaction."""
        self.settled_at = self.monotonic()
        claimed = self.outbox.settle_and_claim(self.outcomes, wanted) if self.outcomes or wanted > 0 else []
        self.is_exhausted = self.is_exhausted or len(claimed) < wanted or wanted == 0 == self.left_to_claim
        if self.left_to_claim is not None:
            self.left_to_claim -= len(claimed)
        items = [QueuedDelivery(delivery) for delivery in claimed]
        self.unsettled.update(dict.fromkeys(items))
        if self.outcomes:
            self.settle_count = self.capacity // 2
            ended, self.outcomes = self.outcomes, []
            for outcome in ended:
                self.tally.add(outcome)
            self.progress(self.tally.summary())
        return items
