"""Holiday import from a calendar (.ics) or a table (.csv, .xlsx). A table is imported completely or not at all; of a
calendar, unreadable events are skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path, PurePath

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.table_reader import one_value, parse_date, read_content, read_table
from zk_pipeline.store.shifts.holiday_sources import HolidaysImported, Skipped, SkippedEvents
from zk_pipeline.store.store import Store

_YEARS_AHEAD = 5


@dataclass(frozen=True)
class HolidayImport(HolidaysImported, SkippedEvents):
    """Changes of an import, and the skipped events."""

    skipped: list[Skipped] = field(default_factory=list)


def import_holiday_file(store: Store, path: Path, site: str | None, *, history_start: date) -> HolidayImport:
    """Import the holidays of a .ics, .csv or .xlsx file. Raises UsageError naming file and line, without any change."""
    return import_holidays(store, path, read_content(path), site, history_start=history_start)


def import_holidays(
    store: Store, path: PurePath, content: bytes, site: str | None, *, history_start: date
) -> HolidayImport:
    """Import the holidays of a file's `content`; `site` applies to all of them.

    Recurring events are imported from `history_start` to the end of the fifth year from now.
    """
    kind = path.suffix.lower()
    if kind in (".csv", ".xlsx"):
        done = store.holidays.put(_table(path, content, site))
        return HolidayImport(done.added, done.changed, done.unchanged)
    if kind != ".ics":
        raise UsageError(f"{path}: must be a calendar (.ics) or a table (.csv, .xlsx)")
    from zk_pipeline.operations.files.holiday_calendar import read_calendar  # noqa: PLC0415 (icalendar, slow to import)

    window = (history_start, date(store.clock().year + _YEARS_AHEAD, 12, 31))
    read = read_calendar(path.name, content, window)
    found = store.holidays.take_over(read.calendar, site)
    return HolidayImport(found.added, found.changed, found.unchanged, found.removed, read.skipped)


def _table(path: PurePath, content: bytes, site: str | None) -> list[Holiday]:
    table = read_table(path, content, ("date", "name"), ("site",), ignore_others=True)
    holidays, problems = table.build(partial(_holiday, site))
    for line, problem in problems.items():
        raise UsageError(f"{path}, line {line}: {problem}")
    found: dict[tuple[date, str | None], Holiday] = {}
    for one in holidays.values():
        known = found.setdefault((one.day, one.site), one)
        if known.name != one.name:  # two holidays on one date
            found[one.day, one.site] = Holiday(day=one.day, name=f"{known.name} / {one.name}", site=one.site)
    if not found:
        raise UsageError(f"{path}: the table has no holiday")
    return list(found.values())


def _holiday(site: str | None, row: dict[str, str]) -> Holiday:
    day = parse_date(row["date"])
    if day is None:
        raise UsageError("the date is missing")
    return Holiday(day=day, name=row["name"], site=one_value("site", site, row["site"]))
