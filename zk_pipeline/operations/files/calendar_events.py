"""Events of a calendar file (RFC 5545) as whole dates: a holiday is on the written dates, without zone conversion.

This module unfolds lines and splits events, so that errors name the line of the event and a broken event does not
affect others; `icalendar` parses the properties.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import icalendar

_PROPERTIES = frozenset((
    "UID", "SUMMARY", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "STATUS", "SEQUENCE",
))  # fmt: skip
_FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")
_MAX_DAYS = 366
_DAY = timedelta(days=1)


class UnreadableEvent(Exception):
    """An event that cannot be a holiday; the message is the reason. `is_failure` as in Skipped."""

    def __init__(self, reason: str, *, is_failure: bool = True) -> None:
        super().__init__(reason)
        self.is_failure = is_failure


@dataclass
class Block:
    """The lines of one event, with the method and zone of its calendar."""

    line: int
    method: str
    zone: tzinfo | None
    lines: list[bytes] = field(default_factory=list)
    is_ended: bool = False


@dataclass(frozen=True)
class Event:
    """One VEVENT in dates: `first`, for `days` days. `instead_of`: the date of the series that it replaces."""

    line: int
    uid: str
    name: str
    sequence: int
    is_cancelled: bool
    first: date | None
    days: int
    instead_of: date | None
    rules: tuple[Any, ...]
    more: tuple[date, ...]
    less: tuple[date, ...]

    @property
    def repeats(self) -> bool:
        return bool(self.rules or self.more)


@dataclass(frozen=True)
class CalendarFile:
    """The events and title of a file. `is_whole`: a complete file, and not a message about single events."""

    blocks: list[Block]
    title: str
    is_whole: bool


@contextmanager
def as_unreadable() -> Iterator[None]:
    """Converts any error while an event is read into UnreadableEvent."""
    try:
        yield
    except UnreadableEvent:
        raise
    except Exception as error:
        raise UnreadableEvent(f"cannot be parsed: {' '.join(str(error).split())}") from error


def read_event(block: Block, parsed: Any, calendar: str) -> Event:
    """Read one event in dates. Raises UnreadableEvent."""
    if not block.is_ended:
        raise UnreadableEvent("it has no end: the file is incomplete")
    for name, problem in parsed.errors:
        raise UnreadableEvent(f"{name or 'a line'} cannot be read: {' '.join(str(problem).split())}")
    for name in ("UID", "SUMMARY", "DTSTART", "DTEND", "DURATION", "RECURRENCE-ID"):
        if isinstance(parsed.get(name), list):
            raise UnreadableEvent(f"{name} is given twice")
    is_cancelled = block.method == "CANCEL" or text_of(parsed, "STATUS").upper() == "CANCELLED"
    first, days = _first_and_days(parsed, block.zone, is_cancelled=is_cancelled)
    name = summary_of(parsed)
    if not is_cancelled and not name:
        raise UnreadableEvent("it has no SUMMARY")
    if not is_cancelled and "\ufffd" in name:
        raise UnreadableEvent("its SUMMARY is not text in UTF-8")
    instead_of = parsed.get("RECURRENCE-ID")
    zone = _zone_of(parsed, block.zone)
    return Event(
        line=block.line,
        uid=text_of(parsed, "UID") or f"{calendar}: {name} {first}",
        name=name,
        sequence=_sequence(parsed),
        is_cancelled=is_cancelled,
        first=first,
        days=days,
        instead_of=None if instead_of is None else _local(instead_of.dt, zone).date(),
        rules=tuple(_checked(rule, zone) for rule in _as_list(parsed.get("RRULE"))),
        more=_listed(parsed, "RDATE", zone),
        less=_listed(parsed, "EXDATE", zone),
    )


def _first_and_days(parsed: Any, zone: tzinfo | None, *, is_cancelled: bool) -> tuple[date | None, int]:
    """First date and number of dates. Raises UnreadableEvent for an event that is not a number of whole days."""
    if "DTSTART" not in parsed:
        if is_cancelled:
            return None, 1
        raise UnreadableEvent("it has no DTSTART")
    start = parsed["DTSTART"].dt
    begin = _local(start, zone)
    if "DTEND" in parsed:
        end = _local(parsed["DTEND"].dt, zone)
    elif "DURATION" in parsed:
        end = begin + parsed["DURATION"].dt
    else:
        end = begin + (timedelta() if isinstance(start, datetime) else _DAY)
    if end.time() >= time(23, 59):
        end = datetime.combine(end.date() + _DAY, time())
    if is_cancelled:
        return begin.date(), max(1, (end - begin).days)
    if end < begin:
        raise UnreadableEvent("it ends before it begins")
    if not isinstance(start, datetime) and end == begin:
        end = begin + _DAY  # Apple writes a single day this way
    if begin.time() != time() or end.time() != time() or end == begin:
        raise UnreadableEvent("it is an appointment at a time of day, not on whole days", is_failure=False)
    if (end - begin).days > _MAX_DAYS:
        raise UnreadableEvent("it lasts longer than a year")
    return begin.date(), (end - begin).days


def _zone_of(parsed: Any, zone: tzinfo | None) -> tzinfo | None:
    """The zone for UTC instants of this event: its own, or that of its calendar."""
    start = parsed["DTSTART"].dt if "DTSTART" in parsed else None
    own = start.tzinfo if isinstance(start, datetime) else None
    return zone if own is None or str(own) == "UTC" else own


def _local(value: date | datetime, zone: tzinfo | None) -> datetime:
    """The wall clock as written, or in `zone` if written in UTC."""
    if not isinstance(value, datetime):
        return datetime.combine(value, time())
    if zone is not None and str(value.tzinfo) == "UTC":
        value = value.astimezone(zone)
    return value.replace(tzinfo=None)


def _checked(rule: Any, zone: tzinfo | None) -> Any:
    """A recurrence rule in dates. Raises UnreadableEvent for rules that never advance or repeat within a day."""
    frequency = str(next(iter(rule.get("FREQ", [])), "")).upper()
    if frequency not in _FREQUENCIES or any(name in rule for name in ("BYHOUR", "BYMINUTE", "BYSECOND")):
        raise UnreadableEvent(f"RRULE: an event repeats {', '.join(_FREQUENCIES)}, not more than once a day")
    for name in ("INTERVAL", "COUNT"):
        if any(int(value) < 1 for value in rule.get(name, [])):
            raise UnreadableEvent(f"RRULE: {name} must be 1 or more")
    changed = icalendar.vRecur(rule)
    if "UNTIL" in rule:
        changed["UNTIL"] = [_local(value, zone).date() for value in rule["UNTIL"]]
    return changed


def _listed(parsed: Any, name: str, zone: tzinfo | None) -> tuple[date, ...]:
    values = [value.dt for each in _as_list(parsed.get(name)) for value in each.dts]
    if any(isinstance(value, tuple) for value in values):
        raise UnreadableEvent(f"{name}: periods cannot be read, only dates")
    return tuple(_local(value, zone).date() for value in values)


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _sequence(parsed: Any) -> int:
    value = text_of(parsed, "SEQUENCE")
    return int(value) if value.isdigit() else 0


def summary_of(parsed: Any) -> str:
    return " ".join(
        "".join(one if one.isprintable() or one == "\n" else "" for one in text_of(parsed, "SUMMARY")).split()
    )


def text_of(parsed: Any, name: str) -> str:
    return str(next(iter(_as_list(parsed.get(name))), "")).strip()


def parse(block: Block) -> Any:
    text = "\r\n".join(line.decode("utf-8", "replace") for line in block.lines)
    return icalendar.Event.from_ical(f"BEGIN:VEVENT\r\n{text}\r\nEND:VEVENT\r\n")


def split_calendar(content: bytes) -> CalendarFile:
    """Split a file into events. Never fails: a file that is not a calendar has no events."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = content.decode("utf-16", "replace").encode()
    splitter = _Splitter()
    for number, line in _unfolded(content.removeprefix(b"\xef\xbb\xbf")):
        splitter.take(number, line)
    is_whole = splitter.is_plain and splitter.begun == splitter.ended > 0
    return CalendarFile(splitter.blocks, splitter.title, is_whole)


class _Splitter:
    """Splitter of content lines. `inside`: the open components."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.inside: list[str] = []
        self.begun, self.ended = 0, 0  # calendars; a file may have several
        self.title, self.method, self.is_plain = "", "", True
        self.zone: tzinfo | None = None

    def take(self, number: int, line: bytes) -> None:
        head, _, value = line.partition(b":")
        name = head.partition(b";")[0].strip().upper().decode("ascii", "replace")
        text = value.decode("utf-8", "replace").strip()
        if name == "BEGIN":
            self._begin(number, text.upper())
        elif name == "END":
            self._end(text.upper())
        elif self.inside[-1:] == ["VEVENT"] and name in _PROPERTIES:
            self.blocks[-1].lines.append(line)
        elif self.inside[-1:] == ["VCALENDAR"]:
            self._note(name, text)

    def _begin(self, number: int, component: str) -> None:
        self.inside.append(component)
        if component == "VEVENT":
            self.blocks.append(Block(number, self.method, self.zone))
        elif component == "VCALENDAR":
            self.begun, self.method, self.zone = self.begun + 1, "", None

    def _end(self, component: str) -> None:
        if component == "VEVENT" and component in self.inside:
            self.blocks[-1].is_ended = True
        self.ended += component == "VCALENDAR"
        while self.inside and self.inside.pop() != component:
            pass

    def _note(self, name: str, text: str) -> None:
        if name == "METHOD":
            self.method = text.upper()
            self.is_plain = self.is_plain and self.method in ("", "PUBLISH")
        elif name == "X-WR-CALNAME":
            self.title = self.title or text
        elif name == "X-WR-TIMEZONE":
            self.zone = _zone(text)


def _zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _unfolded(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Content lines with the number of their first line, as bytes: a fold may split a multi-byte character."""
    content_line, begun = b"", 0
    for number, line in enumerate(re.split(rb"\r\n|\n|\r", content), start=1):
        if line[:1] in (b" ", b"\t") and content_line:
            content_line += line[1:]
            continue
        if content_line:
            yield begun, content_line
        content_line, begun = line, number
    if content_line:
        yield begun, content_line
