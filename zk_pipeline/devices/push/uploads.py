"""Bodies that terminals push: punches, users, operation and access events, options."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial

from zk_pipeline.devices.push.access_lines import DEFAULT_PUNCH_EVENTS, read_access_line, read_user_line
from zk_pipeline.devices.push.archives import is_archive, unpack
from zk_pipeline.devices.push.attendance_lines import read_attlog_line, read_operlog_line
from zk_pipeline.devices.push.fields import encodings, is_text, line_text, quarantined_raw
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
        *("ATTPHOTO", "BIODATA", "BIOPHOTO", "USERPIC", "FACE", "FVEIN", "IDCARD", "ERRORLOG", "RTSTATE"),
        *("OPTIONS", "COUNT"),
        *("TABLEDATA:templatev10", "TABLEDATA:biodata", "TABLEDATA:biophoto", "TABLEDATA:userpic"),
        *("TABLEDATA:identitycard", "TABLEDATA:errorlog"),
    }
)
# Tables whose answer has no number of lines.
_PLAIN_ANSWERS = frozenset({"ATTPHOTO", "RTLOG", "RTSTATE", "OPTIONS", "COUNT"})
_BLANK = b" \t\r\0"
_SEPARATORS = re.compile(r"[,\r\n]")


def parse_upload(
    table: str, body: bytes, *, encoding: str, punch_events: Collection[int], parameters: Mapping[str, str]
) -> ParsedUpload:
    """Read a body of `table` (PushRequest.table). A line that cannot be read never rejects the others.

    `encoding`: of the device; UTF-8 and GB18030 are tried next. `punch_events`: codes of access events that are
    punches. `parameters`: of the request. Each line of an unknown table is rejected, so that it goes to quarantine.
    Raises EncryptedBody, or UnreadableBody for an archive that is damaged or too large.
    """
    if table == "OPERLOG" and (parameters.get("contenttype", "").lower() == "tgz" or is_archive(body)):
        body = unpack(body)
    candidates = encodings(encoding)
    upload = _read_body(table, body, _reader(table, punch_events), candidates)
    tablename = parameters.get("tablename") or table.partition(":")[2]
    return replace(upload, acknowledged=_acknowledgement(table, tablename, upload.lines))


def parse_quarantined(
    record_format: str, raw: bytes, *, encoding: str, punch_events: Collection[int]
) -> list[PushedPunch]:
    """Punches of a quarantined line; empty if it is still unreadable. `record_format`: its canonical table name."""
    read = _reader(record_format, punch_events)
    return [] if read is None else _read_lines(raw, read, encodings(encoding)).punches


def parse_options(body: bytes) -> dict[str, str]:
    """Values by lower-case key, without the `~` before some, of `key=value` between commas or line ends.

    The form of options, of the capabilities in a registration, and of answers to `GET OPTIONS`.
    """
    text = line_text(body, ("utf-8", "gb18030"))
    pairs = (part.partition("=") for part in _SEPARATORS.split(text))
    return {key.strip().lstrip("~").lower(): value.strip() for key, separator, value in pairs if separator}


def parse_counts(body: bytes) -> dict[str, int]:
    """Rows by table in an answer to DATA COUNT, `transaction=1234`."""
    return {table: int(rows) for table, rows in parse_options(body).items() if rows.isascii() and rows.isdecimal()}


def _reader(table: str, punch_events: Collection[int]) -> LineReader | None:
    """The function that reads lines of a table; None for an unknown table."""
    if table in _DROPPED_TABLES:
        return _drop
    if table in ("RTLOG", "TABLEDATA:transaction"):
        return partial(read_access_line, punch_events=punch_events)
    return _READERS.get(table)


def _drop(_: str) -> None:
    """A line that is not stored."""


_READERS: dict[str, LineReader] = {
    "ATTLOG": read_attlog_line,
    "OPERLOG": read_operlog_line,
    "TABLEDATA:user": read_user_line,
}


def _read_body(table: str, body: bytes, read: LineReader | None, candidates: tuple[str, ...]) -> ParsedUpload:
    if read is None:
        return _quarantine(table, body, candidates)
    upload = _read_lines(body, read, candidates)
    if upload.lines == len(upload.rejected) > 0 and not is_text(body, candidates):
        raise EncryptedBody(
            f"{len(body)} bytes of table {table} are not text: the terminal encrypts its uploads, which cannot be read"
        )
    return upload


def _lines(body: bytes) -> list[bytes]:
    """Lines with content, without their ends."""
    if b"\r" in body:
        body = body.replace(b"\r", b"\n")
    return [line for line in body.split(b"\n") if line.strip(_BLANK)]


def _read_lines(body: bytes, read: LineReader, candidates: tuple[str, ...]) -> ParsedUpload:
    lines = _lines(body)
    upload = ParsedUpload([], [], [], [], len(lines), "")
    for raw in lines:
        try:
            record = read(line_text(raw, candidates))
        except LineError as error:
            upload.rejected.append(RejectedLine(quarantined_raw(raw), str(error)))
            continue
        if isinstance(record, PushedPunch):
            upload.punches.append(record)
        elif isinstance(record, DeviceEvent):
            upload.events.append(record)
        elif record is not None:
            upload.users.append(record)
    kept = len(upload.punches) + len(upload.rejected) + len(upload.users) + len(upload.events)
    return replace(upload, dropped=len(lines) - kept)


def _quarantine(table: str, body: bytes, candidates: tuple[str, ...]) -> ParsedUpload:
    """Each line of an unknown table as a rejected one, or the beginning of a body that is not text."""
    if is_text(body, candidates):
        rejected = [RejectedLine(quarantined_raw(raw), f"unknown table {table}") for raw in _lines(body)]
    else:
        reason = f"unknown table {table}: {len(body)} bytes that are not text, the first {MAX_BINARY_BYTES} are kept"
        rejected = [RejectedLine(body[:MAX_BINARY_BYTES], reason)]
    return ParsedUpload([], rejected, [], [], len(rejected), "")


def _acknowledgement(table: str, tablename: str, lines: int) -> str:
    """The answer by which the terminal forgets its lines.

    A plain `OK` for attendance tables made a terminal send one batch 220 times; table data is repeated likewise without
    the name of its table.
    """
    if table.startswith("TABLEDATA:"):
        return f"{tablename}={lines}"
    return "OK" if table in _PLAIN_ANSWERS else f"OK: {lines}"
