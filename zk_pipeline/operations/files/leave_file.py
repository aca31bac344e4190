"""Leave import from a table (.csv, .xlsx) or a calendar (.ics). A table is imported completely or not at all; of a
calendar, unreadable events are skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path, PurePath

from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.files.table_reader import one_value, parse_date, read_content, read_table
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.shifts.holiday_sources import CalendarEvent, HolidayCalendar, Skipped, SkippedEvents
from zk_pipeline.store.shifts.leaves import Leave, LeaveFile, LeavesImported, NewLeave
from zk_pipeline.store.store import Store

REQUIRED = ("user_id", "first_date", "kind")
OPTIONAL = ("last_date", "site", "day_part", "note")
_SUMMARY = re.compile(r"([^:]+):\s*(\S.*)")
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class LeaveImport(LeavesImported, SkippedEvents):
    """Changes of an import, and the skipped events of a calendar."""

    skipped: list[Skipped] = field(default_factory=list)


@dataclass(frozen=True)
class ImportOptions:
    """Operator, and the user or site that applies to all leaves of the file (None: as in the file)."""

    imported_by: str
    history_start: date
    user_id: str | None = None
    site: str | None = None


def import_leave_file(store: Store, path: Path, options: ImportOptions) -> LeaveImport:
    """Import the leaves of a .csv, .xlsx or .ics file. Raises UsageError naming each bad row, without any change."""
    return import_leaves(store, path, read_content(path), options)


def import_leaves(store: Store, path: PurePath, content: bytes, options: ImportOptions) -> LeaveImport:
    """Import the leaves of a file's `content`. A repeated import of a file of this name applies only differences.

    Recurring events are imported up to the end of the next year.
    """
    if options.user_id:
        refuse_name(store, options.user_id)
    kind = path.suffix.lower()
    skipped: list[Skipped] = []
    if kind in (".csv", ".xlsx"):
        file = _table(store, path, content, options)
    elif kind == ".ics":
        file, skipped = _calendar(store, path, content, options, date(store.clock().year + 1, 12, 31))
    else:
        raise UsageError(f"{path}: must be a table (.csv, .xlsx) or a calendar (.ics)")
    done = store.leaves.take_over(replace(file, user_id=options.user_id, site=options.site), options.imported_by)
    return LeaveImport(done.added, done.unchanged, done.removed, skipped)


def _table(store: Store, path: PurePath, content: bytes, options: ImportOptions) -> LeaveFile:
    found, problems = read_table(path, content, REQUIRED, OPTIONAL).build(partial(_leave, options))
    leaves = list(found.values())
    names = store.enrolled_users.names_as_ids([one.user_id for one in leaves])
    problems |= {line: names[one.user_id] for line, one in found.items() if one.user_id in names}
    if problems:
        raise RowsRefused(f"{path}: no leave was imported", problems)
    if not leaves:
        raise UsageError(f"{path}: the table has no leave")
    first, last = min(one.first_date for one in leaves), max(one.first_date for one in leaves)
    return LeaveFile(path.name, leaves, lambda one: first <= one.first_date <= last)


def _leave(options: ImportOptions, row: Mapping[str, str]) -> NewLeave:
    first = _date("first_date", row["first_date"])
    last = row["last_date"]
    return NewLeave(
        user_id=one_value("user_id", options.user_id, row["user_id"]) or "",
        first_date=first,
        last_date=_date("last_date", last) if last else first,
        kind=row["kind"],
        site=one_value("site", options.site, row["site"]),
        day_part=row["day_part"] or None,
        note=row["note"],
    )


def _date(name: str, text: str) -> date:
    try:
        day = parse_date(text)
    except UsageError:
        day = None
    if day is None:
        raise UsageError(f"{name} {text[:40]!r} is no date such as 2026-05-01")
    return day


def _calendar(
    store: Store, path: PurePath, content: bytes, options: ImportOptions, last: date
) -> tuple[LeaveFile, list[Skipped]]:
    """The leaves of whole-day events: `USER: KIND` is their summary, or the kind if all are of one user."""
    from zk_pipeline.operations.files.holiday_calendar import read_calendar  # noqa: PLC0415 (icalendar, slow to import)

    read = read_calendar(path.name, content, (options.history_start, last))
    if options.user_id:
        _check_user(store, path, read.calendar.events, options.user_id)
    leaves: list[NewLeave] = []
    skipped = list(read.skipped)
    unread = set(read.calendar.unread)
    names = {} if options.user_id else store.enrolled_users.names_as_ids(_named_users(read.calendar.events).values())
    for event in read.calendar.events:
        try:
            leaves += _leaves_of(event, options, names)
        except UsageError as error:
            skipped.append(Skipped(event.line, next(iter(event.days.values()), ""), str(error)))
            unread.add(event.uid)
    calendar = replace(read.calendar, unread=frozenset(unread))
    is_gone = _Calendar(calendar, leaves).is_gone
    return LeaveFile(calendar.name, leaves, is_gone), sorted(skipped, key=lambda one: one.line)


def _check_user(store: Store, path: PurePath, events: Iterable[CalendarEvent], user_id: str) -> None:
    """Raises UsageError for an event whose summary names another user who is known to terminals or punches."""
    named = _named_users(events)
    unknown = store.enrolled_users.unknown(named.values())
    for line, other in sorted(named.items()):
        if other not in unknown:
            try:
                one_value("user_id", user_id, other)
            except UsageError as error:
                raise UsageError(f"{path}, line {line}: {error}") from None


def _named_users(events: Iterable[CalendarEvent]) -> dict[int, str]:
    """The users that summaries name, by the line of the event."""
    return {
        event.line: parts[1].strip()
        for event in events
        for summary in event.days.values()
        if (parts := _SUMMARY.fullmatch(summary))
    }


def _leaves_of(event: CalendarEvent, options: ImportOptions, names: Mapping[str, str]) -> list[NewLeave]:
    """Leaves of consecutive dates with the same summary; `names`: problems of users. Raises UsageError."""
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
        user_id = (user_id or "").strip()
        if user_id in names:
            raise UsageError(names[user_id])
        found.append(
            NewLeave(
                user_id=user_id,
                first_date=day,
                last_date=day,
                kind=kind,
                site=options.site,
                uid=event.uid,
            )
        )
    return found


class _Calendar:
    """Comparison of a calendar with the leaves of its import before: `is_gone` of one that it no longer has."""

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
