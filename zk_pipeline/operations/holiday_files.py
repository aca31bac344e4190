"""Holidays from a calendar or a table: read whole and checked whole. What it cannot read it names, by line.

Of a calendar (RFC 5545) these are the all-day events; each is every date from DTSTART to, and not including, DTEND.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path, PurePath

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.errors import UsageError

_ESCAPED = re.compile(r"\\([\\;,nN])")
_LONGEST = timedelta(days=366)


def read_holiday_file(path: Path, site: str | None) -> list[Holiday]:
    """The holidays of a .ics or .csv file; `site` holds for all of them. Raises UsageError, naming file and line."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    return read_holidays(path, content, site)


def read_holidays(path: PurePath, content: bytes, site: str | None) -> list[Holiday]:
    """The same of what a file of this name holds, wherever it is."""
    readers = {".ics": _calendar, ".csv": _table}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path}: must be a calendar (.ics) or a table (.csv)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    found: dict[tuple[date, str | None], Holiday] = {}
    for line, day, name, own_site in readers[path.suffix.lower()](path, text):
        try:
            one = Holiday(day=day, name=name, site=site or own_site)
        except UsageError as error:
            raise UsageError(f"{path}, line {line}: {error}") from None
        known = found.setdefault((one.day, one.site), one)
        if known.name != one.name:  # two feasts on one day
            found[one.day, one.site] = Holiday(day=one.day, name=f"{known.name} / {one.name}", site=one.site)
    if not found:
        raise UsageError(f"{path}: there is no holiday in it")
    return list(found.values())


def _table(path: PurePath, text: str) -> Iterator[tuple[int, date, str, str | None]]:
    rows = csv.DictReader(text.splitlines(), delimiter=";" if ";" in text.partition("\n")[0] else ",")
    if not {"date", "name"} <= set(rows.fieldnames or ()):
        raise UsageError(f"{path}, line 1: the columns must be date,name and optionally site")
    for row in rows:
        try:
            day = datetime.strptime((row["date"] or "").strip(), "%Y-%m-%d").date()  # noqa: DTZ007 (a date)
        except ValueError:
            raise UsageError(f"{path}, line {rows.line_num}: {row['date']!r} is no date such as 2026-05-01") from None
        yield rows.line_num, day, (row["name"] or "").strip(), (row.get("site") or "").strip() or None


def _calendar(path: PurePath, text: str) -> Iterator[tuple[int, date, str, str | None]]:
    event: dict[str, tuple[str, str]] | None = None
    nested: list[str] = []
    begun = 0
    for line, content in _unfolded(text):
        head, _, value = content.partition(":")
        name, _, parameters = head.upper().partition(";")
        if name == "BEGIN" and value.upper() == "VEVENT":
            event, begun = {}, line
        elif event is None:
            continue
        elif name == "BEGIN":
            nested.append(value)
        elif name == "END" and nested:
            nested.pop()
        elif name == "END":
            yield from _event(path, begun, event)
            event = None
        elif not nested:
            event[name] = (parameters, value)
    if event is not None:
        raise UsageError(f"{path}, line {begun}: the event does not end")


def _event(path: PurePath, line: int, event: dict[str, tuple[str, str]]) -> Iterator[tuple[int, date, str, str | None]]:
    if event.get("STATUS", ("", ""))[1].upper() == "CANCELLED":
        return
    if repeats := {"RRULE", "RDATE"} & set(event):
        raise UsageError(
            f"{path}, line {line}: {repeats.pop()} (a repeating event) cannot be read; export the dates of each year"
        )
    if "DTSTART" not in event:
        raise UsageError(f"{path}, line {line}: the event has no DTSTART")
    first = _date(path, line, event["DTSTART"])
    if first is None:
        return  # an appointment at a time of day is no holiday
    last = _date(path, line, event["DTEND"]) if "DTEND" in event else None
    if last is not None and last - first > _LONGEST:
        raise UsageError(f"{path}, line {line}: the event lasts longer than a year")
    name = _ESCAPED.sub(lambda found: " " if found[1] in "nN" else found[1], event.get("SUMMARY", ("", ""))[1])
    for number in range(max(1, (last - first).days) if last else 1):
        yield line, first + timedelta(days=number), " ".join(name.split()), None


def _date(path: PurePath, line: int, given: tuple[str, str]) -> date | None:
    parameters, value = given
    if "VALUE=DATE" not in parameters.split(";") and not re.fullmatch(r"\d{8}", value.strip()):
        return None
    try:
        return datetime.strptime(value.strip(), "%Y%m%d").date()  # noqa: DTZ007 (a date)
    except ValueError:
        raise UsageError(f"{path}, line {line}: {value!r} is no date") from None


def _unfolded(text: str) -> Iterator[tuple[int, str]]:
    """Content lines with the number of their first line: one that begins with a space or tab goes on with the last."""
    held, begun = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line[:1] in {" ", "\t"}:
            held += line[1:]
            continue
        if held:
            yield begun, held
        held, begun = line, number
    if held:
        yield begun, held
