"""Leave import from a table (.csv, .xlsx) or a calendar (.ics). A table is imported completely or not at all; of a
calendar, unreadable events are skipped.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import zip_longest
from pathlib import Path, PurePath

from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.store.shifts.holiday_sources import CalendarEvent, HolidayCalendar, Skipped
from zk_pipeline.store.shifts.leaves import Leave, LeaveFile, LeavesImported, NewLeave
from zk_pipeline.store.store import Store

REQUIRED = ("user_id", "first_date", "kind")
OPTIONAL = ("last_date", "site", "day_part", "note")
_MAX_UNPACKED_BYTES = 50_000_000  # of an Excel file
_SUMMARY = re.compile(r"([^:]+):\s*(\S.*)")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class LeaveImport(LeavesImported):
    """Changes of an import, and the skipped events of a calendar."""

    skipped: list[Skipped] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Whether no skipped event could be a leave."""
        return not any(one.is_failure for one in self.skipped)


@dataclass(frozen=True)
class ImportOptions:
    """Operator, and the user or site that applies to all leaves of the file (None: as in the file)."""

    imported_by: str
    history_start: date
    user_id: str | None = None
    site: str | None = None


def import_leave_file(store: Store, path: Path, options: ImportOptions) -> LeaveImport:
    """Import the leaves of a .csv, .xlsx or .ics file. Raises UsageError naming each bad row, without any change."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    return import_leaves(store, path, content, options)


def import_leaves(store: Store, path: PurePath, content: bytes, options: ImportOptions) -> LeaveImport:
    """Import the leaves of a file's `content`. A repeated import of a file of this name applies only differences.

    Recurring events are imported up to the end of the next year.
    """
    kind = path.suffix.lower()
    skipped: list[Skipped] = []
    if kind in (".csv", ".xlsx"):
        file = _table(path, content, options)
    elif kind == ".ics":
        file, skipped = _calendar(path, content, options, date(store.clock().year + 1, 12, 31))
    else:
        raise UsageError(f"{path}: must be a table (.csv, .xlsx) or a calendar (.ics)")
    done = store.leaves.take_over(replace(file, user_id=options.user_id, site=options.site), options.imported_by)
    return LeaveImport(done.added, done.unchanged, done.removed, skipped)


def _table(path: PurePath, content: bytes, options: ImportOptions) -> LeaveFile:
    leaves: list[NewLeave] = []
    problems: dict[int, str] = {}
    for line, row in _rows(path, content):
        try:
            leaves.append(_leave(row, options))
        except UsageError as error:
            problems[line] = str(error)
    if problems:
        raise RowsRefused(f"{path}: no leave was imported", problems)
    if not leaves:
        raise UsageError(f"{path}: the table has no leave")
    first, last = min(one.first_date for one in leaves), max(one.first_date for one in leaves)
    return LeaveFile(path.name, leaves, lambda one: first <= one.first_date <= last)


def _leave(row: Mapping[str, str], options: ImportOptions) -> NewLeave:
    if row[""]:
        raise UsageError(f"{row[''][:40]!r} is in no column")
    first = _date("first_date", row["first_date"])
    last = row.get("last_date", "")
    return NewLeave(
        user_id=options.user_id or row["user_id"],
        first_date=first,
        last_date=_date("last_date", last) if last else first,
        kind=row["kind"],
        site=options.site or row.get("site") or None,
        day_part=row.get("day_part") or None,
        note=row.get("note", ""),
    )


def _date(name: str, text: str) -> date:
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()  # noqa: DTZ007 (a date)
    except ValueError:
        raise UsageError(f"{name} {text[:40]!r} is no date such as 2026-05-01") from None


def _rows(path: PurePath, content: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table by the names of its first line, each with its line; the name "" has values without a column."""
    lines = _excel_lines(path, content) if path.suffix.lower() == ".xlsx" else _csv_lines(path, content)
    _, header = next(lines, (1, []))
    names = [name.strip().lower() for name in header]
    if unknown := [name for name in names if name and name not in (*REQUIRED, *OPTIONAL)]:
        possible = ", ".join((*REQUIRED, *OPTIONAL))
        raise UsageError(f"{path}, line 1: unknown column {unknown[0]!r}; possible: {possible}")
    if missing := [name for name in REQUIRED if name not in names]:
        raise UsageError(f"{path}, line 1: the column {missing[0]} is missing; needed: {', '.join(REQUIRED)}")
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise UsageError(f"{path}, line 1: the column {twice[0]} is there twice")
    for line, values in lines:
        if any(values):
            cells = list(zip_longest(names, values, fillvalue=""))
            yield line, dict(cells) | {"": "".join(value for name, value in cells if not name)}


def _csv_lines(path: PurePath, content: bytes) -> Iterator[tuple[int, list[str]]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: cannot be read: it is not text in UTF-8") from None
    rows = csv.reader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ",", strict=True)
    try:
        for row in rows:
            yield rows.line_num, [value.strip() for value in row]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: {error}") from None


def _excel_lines(path: PurePath, content: bytes) -> Iterator[tuple[int, list[str]]]:
    from openpyxl import load_workbook  # noqa: PLC0415 (slow to import)

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(one.file_size for one in packed.infolist()) > _MAX_UNPACKED_BYTES:
                raise UsageError(f"{path}: it is too large")
        sheet = load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        for line, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            yield line, [_cell_text(value) for value in row]
    except UsageError:
        raise
    except Exception as error:  # openpyxl raises many kinds for damaged files
        raise UsageError(f"{path}: cannot be read as an Excel file: {' '.join(str(error).split())}") from None


def _cell_text(value: object) -> str:
    if isinstance(value, datetime):
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).strip()


def _calendar(path: PurePath, content: bytes, options: ImportOptions, last: date) -> tuple[LeaveFile, list[Skipped]]:
    """The leaves of whole-day events: `USER: KIND` is their summary, or the kind if all are of one user."""
    from zk_pipeline.operations.files.holiday_calendar import read_calendar  # noqa: PLC0415 (icalendar, slow to import)

    read = read_calendar(path.name, content, (options.history_start, last))
    leaves: list[NewLeave] = []
    skipped = list(read.skipped)
    unread = set(read.calendar.unread)
    for event in read.calendar.events:
        try:
            leaves += _leaves_of(event, options)
        except UsageError as error:
            skipped.append(Skipped(event.line, next(iter(event.days.values()), ""), str(error)))
            unread.add(event.uid)
    calendar = replace(read.calendar, unread=frozenset(unread))
    is_gone = _Calendar(calendar, leaves).is_gone
    return LeaveFile(calendar.name, leaves, is_gone), sorted(skipped, key=lambda one: one.line)


def _leaves_of(event: CalendarEvent, options: ImportOptions) -> list[NewLeave]:
    """Leaves of consecutive dates with the same summary. Raises UsageError."""
    found: list[NewLeave] = []
    name = None
    for day, summary in sorted(event.days.items()):
        if found and summary == name and found[-1].last_date + _DAY == day:
            found[-1] = replace(found[-1], last_date=day)
            continue
        name = summary
        parts = _SUMMARY.fullmatch(summary)
        if options.user_id is None and parts is None:
            raise UsageError("its summary must be `USER: KIND`, or give the user of all events")
        user_id, kind = (options.user_id, summary) if options.user_id or not parts else parts.groups()
        found.append(
            NewLeave(
                user_id=(user_id or "").strip(),
                first_date=day,
                last_date=day,
                kind=kind,
                site=options.site,
                uid=event.uid,
            )
        )
    return found


class _Calendar:
    """Which leaves of the import before are no longer in a calendar."""

    def __init__(self, calendar: HolidayCalendar, leaves: list[NewLeave]) -> None:
        self._calendar = calendar
        self._events = {one.uid: one for one in calendar.events}
        self._wanted: dict[str | None, list[NewLeave]] = {}
        for one in leaves:
            self._wanted.setdefault(one.uid, []).append(one)
        begins = [one.first_date for one in leaves]
        self._span = (min(begins), max(begins)) if begins and calendar.is_whole else None

    def is_gone(self, one: Leave) -> bool:
        uid = one.source_uid or ""
        if uid in self._calendar.unread:
            return False
        if any((uid, day) in self._calendar.cancelled for day in one.dates):
            return True
        event = self._events.get(uid)
        if event is None:
            return self._span is not None and self._span[0] <= one.first_date <= self._span[1]
        is_moved = any(
            new.first_date <= one.last_date and one.first_date <= new.last_date for new in self._wanted.get(uid, ())
        )
        return is_moved or any(event.denies(day) for day in one.dates)
