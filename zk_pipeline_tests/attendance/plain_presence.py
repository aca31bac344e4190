"""Reference model of the presence in plain Python: one user at a time. Shares no code with the package."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from zk_pipeline_tests.attendance.plain_company import (
    ONE_DAY,
    PlainCompany,
    PlainPunch,
    begins,
    by_day,
    direction_of,
    work_date,
)


def plain_presence(
    company: PlainCompany, punches: Iterable[PlainPunch], now: datetime
) -> list[tuple[str, str, str, str]]:
    """(site, user, device, direction) of each user's newest punch whose work date is not over at `now`."""
    recorded = [one for one in punches if one.instant <= now + timedelta(minutes=15)]
    days = by_day(company, recorded)
    newest: dict[str, PlainPunch] = {}
    for one in sorted(recorded, key=lambda one: (one.instant, one.gate.name, one.local)):
        newest[one.user] = one
    found = []
    for user, last in newest.items():
        day = work_date(company, last)
        next_begins = begins(company, last.gate.site, user, last.gate.name, day + ONE_DAY)
        over = datetime.combine(day + ONE_DAY, next_begins, ZoneInfo(last.gate.zone)).astimezone(UTC)
        if over <= now:
            continue
        direction, _ = direction_of(company, days[last.gate.site, user, day], last)
        found.append((last.gate.site, user, last.gate.name, direction))
    return sorted(found)
