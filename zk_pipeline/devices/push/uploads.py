"""Bodies that terminals push: punches, users, operation and access events, options."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import NamedTuple

from zk_pipeline.devices.push.access_lines import DEFAULT_PUNCH_EVENTS, read_access_line, read_user_line
from zk_pipeline.devices.push.archives import is_archive, unpack
from zk_pipeline.devices.push.attendance_lines import read_attlog_line, read_operlog_line, read_template_line
from zk_pipeline.devices.push.fields import check_user_id, encodings, is_text, line_text, quarantined_raw, read_number
from zk_pipeline.devices.push.records import (
    UNKNOWN,
    DeviceEvent,
    EncryptedBody,
    LineError,
    ParsedUpload,
    PushedPunch,
    PushedUser,
    Record,
    RejectedLine,
    UnreadableBody,
)
from zk_pipeline.devices.push.requests import UNNAMED

__all__ = [
    "DEFAULT_PUNCH_EVENTS",
    "UNKNOWN",
    "DeviceEvent",
    "EncryptedBody",
    "ParsedUpload",
    "PushedPunch",
    "PushedUser",
    "RejectedLine",
    "UnreadableBody",
    "parse_counts",
    "parse_options",
    "parse_quarantined",
    "parse_upload",
]

LineReader = Callable[[str], Record | None]

MAX_BINARY_BYTES = 1024  # of a body in quarantine that is not text
# Tables that the pipeline does not store: templates, photos, identity cards, door states, errors, options.
_DROPPED_TABLES = frozenset(
    {
        *("ATTPHOTO", "BIOPHOTO", "USERPIC", "FACE", "FVEIN", "IDCARD", "ERRORLOG", "RTSTATE"),
        *("EVENT", "OPTIONS", "COUNT"),
        *("TABLEDATA:templatev10", "TABLEDATA:biodata", "TABLEDATA:biophoto", "TABLEDATA:userpic"),
        *("TABLEDATA:identitycard", "TABLEDATA:errorlog"),
    }
)
# Tables whose answer has no number of lines.
_PLAIN_ANSWERS = frozenset({"ATTPHOTO", "RTLOG", "RTSTATE", "EVENT", "OPTIONS", "COUNT"})
_BLANK = b" \t\r\0"
_SEPARATORS = re.compile(r"[,\r\n]")


class _Found(NamedTuple):
    """Lists of a ParsedUpload."""

    punches: list[PushedPunch]
    rejected: list[RejectedLine]
    users: list[PushedUser]
    events: list[DeviceEvent]


def parse_upload(
    table: str, body: bytes, *, encoding: str, punch_events: Collection[int] | None, parameters: Mapping[str, str]
) -> ParsedUpload:
    """Read a body of `table` (PushRequest.table). A line that cannot be read never rejects the others.

    `encoding`: of the device; UTF-8 and GB18030 are tried next. `punch_events`: codes of access events that are
    punches; None: DEFAULT_PUNCH_EVENTS. `parameters`: of the request. Each line of an unknown table is rejected, so
    that it goes to quarantine. Raises EncryptedBody, or UnreadableBody for an archive that is damaged or too large.
    """
    if table == "OPERLOG" and (parameters.get("contenttype", "").lower() == "tgz" or is_archive(body)):
        body = unpack(body)
    candidates = encodings(encoding)
    read = _reader(table, punch_events)
    lines, found = _lines(body), _Found([], [], [], [])
    if read is None and not is_text(body, candidates):
        lines = [body]
        reason = f"unknown table {table}: {len(body)} bytes that are no text"
        found.rejected.append(RejectedLine(body[:MAX_BINARY_BYTES], reason))
    else:
        _read_lines(lines, read or partial(_refuse, table), candidates, found)
    if read and len(lines) == len(found.rejected) > 0 and not is_text(body, candidates):
        raise EncryptedBody(
            f"{len(body)} bytes of table {table} are no text: the terminal encrypts its uploads, which cannot be read"
        )
    dropped = len(lines) - sum(len(records) for records in (found.punches, found.rejected, found.users, found.events))
    return ParsedUpload(*found, len(lines), _acknowledgement(table, parameters, len(lines)), dropped)


def parse_quarantined(
    record_format: str, raw: bytes, *, encoding: str, punch_events: Collection[int] | None
) -> list[PushedPunch]:
    """Punches of a quarantined line; empty if it is still unreadable. `record_format`: its canonical table name.
    `punch_events`: as of `parse_upload`.
    """
    found = _Found([], [], [], [])
    if read := _reader(record_format, punch_events):
        _read_lines(_lines(raw), read, encodings(encoding), found)
    return found.punches


def parse_options(body: bytes) -> dict[str, str]:
    """Values by lower-case key, without the `~` before some, of `key=value` between commas or line ends.

    The form of options, of the capabilities in a registration, and of answers to `GET OPTIONS`.
    """
    text = line_text(body, ("utf-8", "gb18030"))
    pairs = (part.partition("=") for part in _SEPARATORS.split(text))
    return {key.strip().lstrip("~").lower(): value.strip() for key, separator, value in pairs if separator}


def parse_counts(body: bytes) -> dict[str, int]:
    """Rows by table in an answer to DATA COUNT, `transaction=1234`."""
    counts = {table: read_number(rows, -1) for table, rows in parse_options(body).items()}
    return {table: rows for table, rows in counts.items() if rows >= 0}


def _reader(table: str, punch_events: Collection[int] | None) -> LineReader | None:
    """The function that reads lines of a table; None for an unknown table."""
    if table in _DROPPED_TABLES:
        return _drop
    if table in ("RTLOG", "TABLEDATA:transaction"):
        return partial(read_access_line, punch_events=DEFAULT_PUNCH_EVENTS if punch_events is None else punch_events)
    return _READERS.get(table)


def _drop(_: str) -> None:
    """A line that is not stored."""


def _refuse(table: str, _: str) -> None:
    raise LineError("the upload names no table" if table == UNNAMED else f"unknown table {table}")


_READERS: dict[str, LineReader] = {
    "ATTLOG": read_attlog_line,
    "OPERLOG": read_operlog_line,
    "BIODATA": read_template_line,
    "FINGERTMP": read_template_line,
    "USERINFO": read_operlog_line,  # answers of old firmware to DATA QUERY USERINFO
    "TABLEDATA:user": read_user_line,
}


def _lines(body: bytes) -> list[bytes]:
    """Lines with content, without their ends."""
    if b"\r" in body:
        body = body.replace(b"\r", b"\n")
    return [line for line in body.split(b"\n") if line.strip(_BLANK)]


def _read_lines(lines: list[bytes], read: LineReader, candidates: tuple[str, ...], found: _Found) -> None:
    """Add the content of lines to the lists."""
    for raw in lines:
        try:
            if raw.isascii() and b"\0" not in raw:
                record = read(raw.decode())
            else:
                record = read(line_text(raw, candidates))
                check_user_id(record, raw, candidates)
        except LineError as error:
            found.rejected.append(RejectedLine(quarantined_raw(raw), str(error)))
            continue
        if isinstance(record, PushedPunch):
            found.punches.append(record)
        elif isinstance(record, DeviceEvent):
            found.events.append(record)
        elif record is not None:
            found.users.append(record)


def _acknowledgement(table: str, parameters: Mapping[str, str], lines: int) -> str:
    """The answer by which the terminal forgets its lines.

    A plain `OK` for attendance tables made a terminal send one batch 220 times; table data is repeated likewise without
    the name of its table.
    """
    if table.startswith("TABLEDATA:"):
        return f"{parameters.get('tablename') or table.removeprefix('TABLEDATA:')}={lines}"
    return "OK" if table in _PLAIN_ANSWERS else f"OK: {lines}"
