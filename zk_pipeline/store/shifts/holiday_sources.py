"""Sources of imported holidays: rows of `holiday_sources`, and the changes of an import to `holidays`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.store.engine.database import Connection

# A holiday moves by days or weeks. The same UID on next year's date is no move of this year's.
_FARTHEST_MOVE = timedelta(days=183)
Key = tuple[date, str | None]


@dataclass(frozen=True, kw_only=True)
class CalendarEvent:
    """Dates of an event with their names; empty if it was cancelled.

    `window`: for a repeating event, the first and last date that were expanded.
    """

    uid: str
    days: Mapping[date, str]
    window: tuple[date, date] | None = None
    line: int = 0  # of its first component in the file

    def denies(self, day: date) -> bool:
        """Whether the event no longer includes a date that it had before."""
        if day in self.days:
            return False
        if self.window is not None:
            return self.window[0] <= day <= self.window[1]
        return not self.days or min(abs(day - one) for one in self.days) < _FARTHEST_MOVE


@dataclass(frozen=True, kw_only=True)
class HolidayCalendar:
    """Content of a calendar. `unread`: UIDs of unreadable events, whose holidays stay unchanged.

    `is_whole`: the calendar lists all its events, so that a missing event was removed from it.
    """

    name: str
    events: tuple[CalendarEvent, ...]
    cancelled: frozenset[tuple[str, date]] = frozenset()  # cancelled single dates of events
    unread: frozenset[str] = frozenset()
    is_whole: bool = True


@dataclass(frozen=True)
class Skipped:
    """A calendar event that was not imported. `is_failure` is False for an appointment, which is no holiday."""

    line: int
    summary: str
    reason: str
    is_failure: bool = True


class SkippedEvents:
    """Base of imports, of which a calendar may have events that are `skipped`."""

    skipped: list[Skipped]

    @property
    def is_complete(self) -> bool:
        """True if all skipped events are appointments."""
        return not any(one.is_failure for one in self.skipped)


@dataclass(frozen=True)
class HolidaysImported:
    """Changes of an import. `removed`: moved or cancelled in the calendar since the import before."""

    added: list[Holiday] = field(default_factory=list)
    changed: list[Holiday] = field(default_factory=list)
    unchanged: list[Holiday] = field(default_factory=list)
    removed: list[Holiday] = field(default_factory=list)


@dataclass(frozen=True)
class _Source:
    day: date
    calendar: str
    uid: str
    name: str


def forget_sources(connection: Connection, keys: Iterable[Key]) -> None:
    """Delete the sources of these dates and sites: the holidays were entered manually or removed."""
    known = set(connection.execute("SELECT DISTINCT holiday_date, site FROM holiday_sources").fetchall())
    for day, site in known.intersection(keys):
        connection.execute(
            "DELETE FROM holiday_sources WHERE holiday_date = ? AND site IS NOT DISTINCT FROM ?", [day, site]
        )


def plan_import(
    connection: Connection, calendar: HolidayCalendar, held: Mapping[date, Holiday], site: str | None, now: datetime
) -> HolidaysImported:
    """Store the sources and return the changes for `holidays`; `held` are the holidays of the site."""
    before = _read(connection, site)
    wanted = {
        (event.uid, day): _Source(day, calendar.name, event.uid, name)
        for event in calendar.events
        for day, name in event.days.items()
    }
    gone = _gone(calendar, before, now.date())
    by_hand = set(held) - {one.day for one in before}
    kept = [one for one in before if one not in gone and (one.uid, one.day) not in wanted]
    after = [*kept, *(one for one in wanted.values() if one.day not in by_hand)]
    names = _names(after) | _names(one for one in wanted.values() if one.day in by_hand)
    done = HolidaysImported()
    for day in sorted({one.day for one in gone} | {day for _, day in wanted}):
        if day in names:
            one = Holiday(day=day, name=names[day], site=site)
            (done.added if day not in held else done.unchanged if held[day] == one else done.changed).append(one)
        elif day in held and day not in by_hand:
            done.removed.append(held[day])
    _write(connection, before, after, site, now)
    return done


def _gone(calendar: HolidayCalendar, before: Iterable[_Source], today: date) -> set[_Source]:
    events = {one.uid: one for one in calendar.events}
    days = [day for event in calendar.events for day in event.days]
    gone = set()
    for one in before:
        if one.uid in events:
            is_gone = events[one.uid].denies(one.day)
        elif one.uid in calendar.unread or one.calendar != calendar.name or not calendar.is_whole or not days:
            is_gone = False
        else:
            is_gone = _is_missing(one.day, min(days), max(days), today)
        if is_gone or (one.uid, one.day) in calendar.cancelled:
            gone.add(one)
    return gone


def _is_missing(day: date, first: date, last: date, today: date) -> bool:
    """Whether a calendar with these first and last dates would contain `day` if it still were a holiday.

    A calendar that starts later than before gives no information about the past, nor one of another year about this
    year.
    """
    if day.year > last.year or day.year < first.year:
        return False
    return day >= first or day >= today


def _names(sources: Iterable[_Source]) -> dict[date, str]:
    """Names of all holidays of each date, joined."""
    found: dict[date, set[str]] = {}
    for one in sources:
        found.setdefault(one.day, set()).add(one.name)
    return {day: " / ".join(sorted(names)) for day, names in found.items()}


def _read(connection: Connection, site: str | None) -> list[_Source]:
    rows = connection.execute(
        "SELECT holiday_date, calendar, uid, name FROM holiday_sources WHERE site IS NOT DISTINCT FROM ?", [site]
    ).fetchall()
    return [_Source(*row) for row in rows]


def _write(
    connection: Connection, before: Iterable[_Source], after: Iterable[_Source], site: str | None, now: datetime
) -> None:
    for one in set(before).difference(after):
        connection.execute(
            "DELETE FROM holiday_sources WHERE holiday_date = ? AND site IS NOT DISTINCT FROM ? AND uid = ?",
            [one.day, site, one.uid],
        )
    for one in set(after).difference(before):
        connection.execute(
            "INSERT INTO holiday_sources VALUES (?, ?, ?, ?, ?, ?)",
            [one.day, site, one.calendar, one.uid, one.name, now],
        )
