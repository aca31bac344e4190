"""Holidays of a calendar: the dates of its whole-day events, with `recurring_ical_events` for recurring ones.

An unreadable event is reported with its line and does not affect others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import icalendar
import recurring_ical_events

from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.calendar_events import (
    Event,
    UnreadableEvent,
    as_unreadable,
    parse,
    read_event,
    split_calendar,
    summary_of,
    text_of,
)
from zk_pipeline.store.shifts.holiday_sources import CalendarEvent, HolidayCalendar, Skipped

Window = tuple[date, date]
_MAX_DATES = 10_000  # of one event
_DAY = timedelta(days=1)
_NEVER: Window = (date.max, date.max)


@dataclass(frozen=True)
class ReadCalendar:
    """A calendar, and its skipped events."""

    calendar: HolidayCalendar
    skipped: list[Skipped]


def read_calendar(name: str, content: bytes, window: Window) -> ReadCalendar:
    """The holidays of the calendar file `name`; recurring ones within `window`, both dates included.

    Raises UsageError for a file without an event.
    """
    file = split_calendar(content)
    is_whole = file.is_whole
    if not file.blocks:
        raise UsageError(f"{name}: there is no event in it")
    known_as = f"{name}: {file.title}" if file.title else name
    skipped: list[Skipped] = []
    unread: set[str] = set()
    by_uid: dict[str, list[Event]] = {}
    for block in file.blocks:
        parsed = icalendar.Event()
        try:
            with as_unreadable():
                parsed = parse(block)
                one = read_event(block, parsed, known_as)
            by_uid.setdefault(one.uid, []).append(one)
        except UnreadableEvent as error:
            skipped.append(Skipped(block.line, summary_of(parsed), str(error), error.is_failure))
            uid = text_of(parsed, "UID")
            if not error.is_failure and uid:
                by_uid.setdefault(uid, [])  # a former holiday that became an appointment is removed
            elif uid:
                unread.add(uid)
            else:
                is_whole = is_whole and not error.is_failure
    events: list[CalendarEvent] = []
    cancelled: set[tuple[str, date]] = set()
    for uid, group in by_uid.items():
        try:
            with as_unreadable():
                found, off = _days(uid, group, window)
        except UnreadableEvent as error:
            skipped.append(Skipped(group[0].line, group[0].name, str(error)))
            unread.add(uid)
            continue
        cancelled |= off
        # Of a partly unreadable series, no date is treated as removed.
        events.append(found if uid not in unread else replace(found, window=_NEVER))
    calendar = HolidayCalendar(
        name=known_as,
        events=tuple(events),
        cancelled=frozenset(cancelled),
        unread=frozenset(unread),
        is_whole=is_whole,
    )
    return ReadCalendar(calendar, sorted(skipped, key=lambda one: one.line))


def _days(uid: str, group: list[Event], window: Window) -> tuple[CalendarEvent, set[tuple[str, date]]]:
    """The dates of the events of one UID, and its dates that were moved or canceled."""
    masters = [one for one in group if one.instead_of is None]
    newest = max((one.sequence for one in masters), default=0)
    masters = [one for one in masters if one.sequence == newest]
    instead = [one for one in group if one.instead_of is not None]
    off = {
        (uid, one.instead_of + number * _DAY)
        for one in instead
        if one.instead_of is not None and (one.is_cancelled or one.first is not None)
        for number in range(one.days)
    }
    days: dict[date, str] = {}
    for one in masters:
        if not one.is_cancelled:
            days |= _dates(one, instead if one is masters[0] else [], window)
    for one in instead if not any(one.repeats for one in masters) else []:
        if not one.is_cancelled:
            days |= _span(one, one.first)
    off -= {(uid, day) for day in days}
    if len(days) > _MAX_DATES:
        raise UnreadableEvent(f"it gives more than {_MAX_DATES:,} dates")
    if instead and not masters:
        looked_at: Window | None = _NEVER  # the file does not have the rest of the series
    else:
        looked_at = window if any(one.repeats and not one.is_cancelled for one in masters) else None
    return CalendarEvent(uid=uid, days=days, window=looked_at, line=group[0].line if group else 0), off


def _dates(one: Event, instead: list[Event], window: Window) -> dict[date, str]:
    if not one.repeats:
        return _span(one, one.first)
    calendar = icalendar.Calendar()
    for each in (one, *instead):
        calendar.add_component(_in_dates(each))
    found: dict[date, str] = {}
    for each in recurring_ical_events.of(calendar).between(window[0], window[1] + _DAY):
        if str(each.get("STATUS", "")).upper() != "CANCELLED":
            length = (each["DTEND"].dt - each["DTSTART"].dt).days
            days = (each["DTSTART"].dt + number * _DAY for number in range(length))
            found |= {day: str(each["SUMMARY"]) for day in days if window[0] <= day <= window[1]}
    return found


def _in_dates(one: Event) -> icalendar.Event:
    """The event in whole dates, without a zone."""
    event = icalendar.Event()
    event.add("UID", one.uid)
    event.add("SEQUENCE", one.sequence)
    event.add("SUMMARY", one.name)
    if one.is_cancelled:
        event.add("STATUS", "CANCELLED")
    first = one.first or one.instead_of
    assert first is not None
    event.add("DTSTART", first)
    event.add("DTEND", first + one.days * _DAY)
    if one.instead_of is not None:
        event.add("RECURRENCE-ID", one.instead_of)
    for rule in one.rules:
        event.add("RRULE", rule)
    for name, dates in (("RDATE", one.more), ("EXDATE", one.less)):
        if dates:
            event.add(name, list(dates))
    return event


def _span(one: Event, first: date | None) -> dict[date, str]:
    return {} if first is None else {first + number * _DAY: one.name for number in range(one.days)}
