"""Validation of a device's host, port, name, time zone, encoding and direction. No name resolution, no storage."""

from __future__ import annotations

import difflib
import ipaddress
import re
import unicodedata
import zoneinfo
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from zk_pipeline.errors import UsageError

MAX_NAME_CHARACTERS = 100
DIRECTIONS, NO_DIRECTION = ("in", "out"), "none"
MAX_NAME_BYTES = 200  # a file system takes 255; prefixes and suffixes need room

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_NUMBERS_AND_DOTS = re.compile(r"[0-9.]+")


def check_host(text: str) -> str:
    """Validate an IPv4 or IPv6 address (returned in canonical form) or a host name, which is not resolved.

    Raises UsageError.
    """
    if not text or text != text.strip():
        raise UsageError(f"host {text!r} is not valid: it is empty or begins or ends with a blank")
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        if ":" in text or _NUMBERS_AND_DOTS.fullmatch(text):
            raise UsageError(f"host {text!r} is not a valid IP address: {error}") from None
        return _check_host_name(text)
    if address.is_unspecified or address.is_multicast:
        raise UsageError(f"host {text!r} is not valid: no single terminal can have this address")
    return str(address)


def _check_host_name(text: str) -> str:
    labels = text.removesuffix(".").split(".")
    if len(text) > 253:
        raise UsageError(f"host name of {len(text)} characters is not valid: at most 253 are allowed")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise UsageError(
                f"host {text!r} is not valid: {label!r} is no part of a host name "
                "(1 to 63 letters, digits or hyphens, no hyphen at either end)"
            )
    if labels[-1].isdigit():
        raise UsageError(
            f"host {text!r} is not valid: neither an IP address nor a host name ends in a number like this"
        )
    return text


def check_port(value: int | str) -> int:
    """Validate a port number from 1 to 65535. Raises UsageError."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise UsageError(f"port {text!r} is not valid: a whole number from 1 to 65535 is expected")
    return int(text)


def check_name(text: str, *, noun: str = "device name") -> str:
    """Validate a device name: usable as a Dagster partition key and as a file name; returned in Unicode NFC.

    Raises UsageError. Other names with the same rules have another `noun` in its message.
    """
    name = unicodedata.normalize("NFC", text)
    problem = _problem_of_name(name)
    if problem:
        raise UsageError(f"{noun} {text[:120]!r} is not valid: {problem}")
    return name


def _problem_of_name(name: str) -> str | None:
    # The first problem that applies is reported.
    problems = {
        "it is empty": not name,
        "it begins or ends with a blank": name != name.strip(),
        "it contains a control character": not name.isprintable(),
        f"it is longer than {MAX_NAME_CHARACTERS} characters": len(name) > MAX_NAME_CHARACTERS,
        f"it is longer than {MAX_NAME_BYTES} bytes": len(name.encode(errors="replace")) > MAX_NAME_BYTES,
        "it begins with '-', which a command line takes for an option": name.startswith("-"),
        "it is the name of a folder": name in (".", ".."),
        "partition keys cannot contain ',' or '...'": "," in name or "..." in name,
        "file names cannot contain a slash or backslash": "/" in name or "\\" in name,
    }
    return next((problem for problem, applies in problems.items() if applies), None)


def check_timezone(name: str) -> str:
    """Validate the name of an IANA time zone such as Europe/Berlin.

    Raises UsageError, with the most similar name if there is one.
    """
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {near[0]}?" if near else "a name such as Europe/Berlin or UTC is expected"
        raise UsageError(f"time zone {name!r} is not known: {hint}") from None
    return name


def check_networks(text: str) -> str:
    """Validate networks, separated by commas, such as 192.0.2.0/24; returned in canonical form.

    Raises UsageError.
    """
    try:
        networks = [ipaddress.ip_network(one.strip()) for one in text.split(",")]
    except ValueError as error:
        raise UsageError(f"networks {text[:200]!r} are not valid: {error}") from None
    return ",".join(str(one) for one in dict.fromkeys(networks))


def check_encoding(name: str) -> str:
    """Validate the name of a text encoding such as UTF-8, GBK or cp1256. Raises UsageError."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise UsageError(f"encoding {name!r} is not known: a name such as UTF-8, GBK or cp1256 is expected") from None
    return name


def check_variable(name: str) -> str:
    """Validate the name of an environment variable. Raises UsageError."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", name):
        raise UsageError(
            f"variable {name[:120]!r} is not valid: a name such as GATE_COMM_KEY is expected, never the key"
        )
    return name


def check_direction(text: str) -> str | None:
    """Validate the direction of a terminal; None for `none`. Raises UsageError."""
    if text not in (*DIRECTIONS, NO_DIRECTION):
        raise UsageError(f"direction {text[:120]!r} is not known: in, out or none is expected")
    return None if text == NO_DIRECTION else text


_CHECKS: dict[str, Callable[..., Any]] = {
    "name": check_name,
    "ip_address": check_host,
    "port": check_port,
    "timezone": check_timezone,
    "encoding": check_encoding,
    "site": partial(check_name, noun="site"),
    "comm_key_env": check_variable,
    "direction": check_direction,
}


def find_problems(fields: Mapping[str, Any]) -> dict[str, str]:
    """The messages of `check_fields` for each invalid field."""
    problems = {}
    for name, value in fields.items():
        try:
            check_fields({name: value})
        except UsageError as error:
            problems[name] = str(error)
    return problems


def check_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a device's fields; those with the value None are left out. Raises UsageError."""
    return {
        name: _CHECKS[name](value) if name in _CHECKS else value for name, value in fields.items() if value is not None
    }
