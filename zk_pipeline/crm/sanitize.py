"""Sanitizing of external text for logs, table cells and events: one line, bounded, without secrets."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Collection
from urllib.parse import quote, quote_plus

MAX_LENGTH = 300  # characters of a sanitized line
_MAX_SCANNED = 20_000  # characters of an external text that are searched for its message
_MESSAGE_FIELDS = ("detail", "error", "message", "title", "errors")
_HIDDEN = "[hidden]"
_CREDENTIALS = re.compile(
    r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer|token|digest|apikey)\s+)?[^\s\"',;]+"
)


def sanitize_line(text: str, *, secrets: Collection[str] = ()) -> str:
    """`text` as one printable line of at most MAX_LENGTH characters.

    Every common encoding of a secret (plain, JSON, URL, HTML) and the value after `Authorization` are hidden before
    the text is cut, so that no half of a token remains.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        in_json = json.dumps(secret)[1:-1]
        in_url = [quote(secret, safe=""), quote(secret), quote_plus(secret)]
        in_url += [re.sub(r"%[0-9A-F]{2}", lambda found: found.group().lower(), form) for form in in_url]
        for form in {secret, in_json, in_json.replace("/", r"\/"), html.escape(secret), *in_url}:
            text = text.replace(form, _HIDDEN)
    text = _CREDENTIALS.sub(rf"\1{_HIDDEN}", text)
    text = " ".join(text[:_MAX_SCANNED].split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def is_html(content_type: str, body: bytes) -> bool:
    """Whether a response is a web page: by its content type, or by its first bytes."""
    if content_type.split(";", maxsplit=1)[0].strip().lower() in ("text/html", "application/xhtml+xml"):
        return True
    start = body[:200].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return start.startswith((b"<!doctype html", b"<html"))


def extract_message(content_type: str, body: bytes, *, secrets: Collection[str] = ()) -> str:
    """The message in a body: the error field of JSON, the title of a page, or the text itself."""
    text = body.decode("utf-8", errors="replace")
    if is_html(content_type, body):
        title = re.search(r"(?is)<title[^>]*>(.*?)</title>", text) or re.search(r"(?is)<h1[^>]*>(.*?)</h1>", text)
        text = title.group(1) if title else re.sub(r"(?s)<[^>]*>", " ", text)
    else:
        text = _json_message(text)
    return sanitize_line(text, secrets=secrets)


def _json_message(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, dict):
        for name in _MESSAGE_FIELDS:
            if value.get(name):
                return value[name] if isinstance(value[name], str) else json.dumps(value[name])
    return value if isinstance(value, str) else text
