"""Reference model of absences in plain Python: one user, one date at a time. Shares no code with the package."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import date

from zk_pipeline_tests.attendance.plain_company import ONE_DAY, PlainCompany, PlainDay, holiday_of, shift_of


def plain_absences(
    company: PlainCompany, days: Iterable[PlainDay], enrolled: Collection[tuple[str, str]]
) -> list[tuple[str, str, date, str]]:
    """(site, user, work date, shift) of absences, from all attendance days and the enrolled (site, user)."""
    newest: dict[str, date] = {}
    users: dict[tuple[str, str], dict[date, PlainDay]] = {}
    for day in days:
        newest[day.site] = max(day.work_date, newest.get(day.site, day.work_date))
        users.setdefault((day.site, day.user), {})[day.work_date] = day
    found = []
    for (site, user), present in users.items():
        until = newest[site] - ONE_DAY if (site, user) in enrolled else max(present)
        on, device = min(present), ""
        while on <= until:
            if on in present:
                device = present[on].device
            else:
                shift = shift_of(company, site, user, device, on)
                if shift.name and on.weekday() in shift.weekdays and holiday_of(company, site, on) is None:
                    found.append((site, user, on, shift.name))
            on += ONE_DAY
    return sorted(found)
