"""Parsed bodies for the tests of pushing terminals."""

from __future__ import annotations

from zk_pipeline.devices.push.uploads import DEFAULT_PUNCH_EVENTS, ParsedUpload, parse_upload


def parsed(table: str, *lines: str, encoding: str = "UTF-8", **parameters: str) -> ParsedUpload:
    """The content of a body of these lines, in UTF-8."""
    return parsed_bytes(table, "\n".join(lines).encode(), encoding=encoding, **parameters)


def parsed_bytes(table: str, body: bytes, *, encoding: str = "UTF-8", **parameters: str) -> ParsedUpload:
    upload = parse_upload(table, body, encoding=encoding, punch_events=DEFAULT_PUNCH_EVENTS, parameters=parameters)
    assert upload.dropped >= 0
    return upload
