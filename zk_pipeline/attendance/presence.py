"""Presence: who is in at an instant, and where, by each user's newest punch. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class NewestPunch(NamedTuple):
    """The newest punch of a user at a site. `direction`: `in` or `out`; `next_begins`: minutes after midnight, on the
    wall clock of `timezone`, at which the work date after `work_date` begins.
    """

    site: str
    user_id: str
    direction: str
    device: str
    punched_at: datetime
    punched_at_local: datetime
    work_date: date
    timezone: str
    next_begins: int

    @property
    def over_at(self) -> datetime:
        """End of the work date (UTC). A skipped or ambiguous time has the offset before the clock change (PEP 495)."""
        local = datetime.combine(self.work_date, time()) + timedelta(days=1, minutes=self.next_begins)
        return local.replace(tzinfo=ZoneInfo(self.timezone)).astimezone(UTC)


def presence(punches: Iterable[NewestPunch], now: datetime, *, apart: Collection[str] = ()) -> list[NewestPunch]:
    """The newest punch of each user, if its work date is not over at `now`.

    A user is at one site only, that of the newest punch; ids in `apart` belong to different employees at each site.
    """
    newest: dict[tuple[str, str], NewestPunch] = {}
    for one in sorted(punches, key=lambda punch: (punch.punched_at, punch.device, punch.punched_at_local)):
        newest[one.user_id, one.site if one.user_id in apart else ""] = one
    return [one for one in newest.values() if one.over_at > now]
