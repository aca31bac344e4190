"""Holiday import from a calendar (.ics) or a table (.csv). A table is imported completely or not at all; of a calendar,
unreadable events are skipped.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path, PurePath

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.errors import UsageError
from zk_pipeline.store.shifts.holiday_sources import HolidaysImported, Skipped
from zk_pipeline.store.store import Store

_YEARS_AHEAD = 5


@dataclass(frozen=True)
class HolidayImport(HolidaysImported):
    """Changes of an import, and the skipped events."""

    skipped: list[Skipped] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether no skipped event could be a holiday."""
        return not any(one.is_failure for one in self.skipped)


def import_holiday_file(store: Store, path: Path, site: str | None, *, history_start: date) -> HolidayImport:
    """Import the holidays of a .ics or .csv file. Raises UsageError naming file and line, without any change."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    return import_holidays(store, path, content, site, history_start=history_start)


def import_holidays(
    store: Store, path: PurePath, content: bytes, site: str | None, *, history_start: date
) -> HolidayImport:
    """Import the holidays of a file's `content`; `site` applies to all of them.

    Recurring events are imported from `history_start` to the end of the fifth year from now.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        done = store.holidays.put(_table(path, content, site))
        return HolidayImport(done.added, done.changed, done.unchanged)
    if kind != ".ics":
        raise UsageError(f"{path}: must be a calendar (.ics) or a table (.csv)")
    from zk_pipeline.operations.files.holiday_calendar import read_calendar  # noqa: PLC0415 (icalendar, slow to import)

    window = (history_start, date(store.clock().year + _YEARS_AHEAD, 12, 31))
    read = read_calendar(path.name, content, window)
    found = store.holidays.take_over(read.calendar, site)
    return HolidayImport(found.added, found.changed, found.unchanged, found.removed, read.skipped)


def _table(path: PurePath, content: bytes, site: str | None) -> list[Holiday]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: cannot be read: it is not text in UTF-8") from None
    found: dict[tuple[date, str | None], Holiday] = {}
    for line, day, name, own_site in _rows(path, text):
        try:
            one = Holiday(day=day, name=name, site=site or own_site)
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
        known = found.setdefault((one.day, one.site), one)
        if known.name != one.name:  # two holidays on one date
            found[one.day, one.site] = Holiday(day=one.day, name=f"{known.name} / {one.name}", site=one.site)
    if not found:
        raise UsageError(f"{path}: the table has no holiday")
    return list(found.values())


def _rows(path: PurePath, text: str) -> Iterator[tuple[int, date, str, str | None]]:
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ",")
    if not {"date", "name"} <= set(rows.fieldnames or ()):
        raise UsageError(f"{path}, line 1: the columns must be date,name and optionally site")
    for row in rows:
        try:
            day = datetime.strptime((row["date"] or "").strip(), "%Y-%m-%d").date()  # noqa: DTZ007 (a date)
        except ValueError:
            raise UsageError(f"{path}, line {rows.line_num}: {row['date']!r} is no date such as 2026-05-01") from None
        yield rows.line_num, day, (row["name"] or "").strip(), (row.get("site") or "").strip() or None
