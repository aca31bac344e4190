"""Content of the days that the Django bridge delivered, at the time of their delivery.

The bridge computes a day again after its delivery, but does not deliver it again: its row may have a clock-out that the
CRM never got. The punches that the bridge had polled by then show the delivered content. A punch counts as delivered
only if its day was certainly processed after it was polled and before the delivery; in doubt the day is sent again, as
an update.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta

from zk_pipeline.operations.bridge.database import BridgeDay, BridgePunch

# Its schedule processes days every hour at minute 5.
_PROCESSED_WITHIN = timedelta(hours=2)
# A delivery saves its own time and that of the row one after the other.
_SAVED_WITHIN = timedelta(seconds=1)


def delivered_content(day: BridgeDay, punches: Sequence[BridgePunch]) -> tuple[datetime | None, datetime | None] | None:
    """Clock-in and clock-out as delivered; None if they cannot be known.

    `punches`: those of the user at the device, in the order of their times.
    """
    stands = (day.clock_in, day.clock_out)
    if day.delivered_at is None or day.updated_at <= day.delivered_at + _SAVED_WITHIN:
        return stands
    if day.clock_in is None:
        return None
    of_day = _between(punches, day.clock_in, day.clock_out or day.clock_in)
    if not of_day:
        return stands
    processed_at = max(day.created_at, day.delivered_at - _PROCESSED_WITHIN)
    delivered = [one.at for one in of_day if one.created_at <= processed_at]
    if not delivered:
        return None
    return delivered[0], delivered[-1] if len(delivered) > 1 else None


def _between(punches: Sequence[BridgePunch], first: datetime, last: datetime) -> Sequence[BridgePunch]:
    begin = bisect_left(punches, first, key=lambda one: one.at)
    return punches[begin : bisect_right(punches, last, key=lambda one: one.at)]
