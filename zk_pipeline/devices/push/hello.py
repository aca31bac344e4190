"""Answers that configure a pushing terminal: option block, registration, configuration, clock.

Sources: the maker's "PUSH SDK" 2.2 and 3.2, attendance push 2.4.2, "Security PUSH" 3.1.2, and a published source of the
push client in firmware of 2013 ("push client" below). Answers end with a line end: the push client ignores an option
line without one.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

from zk_pipeline.devices.protocol.record_layouts import encode_time
from zk_pipeline.devices.push.families import Family
from zk_pipeline.time_text import in_zone, wall_clock

TimeZoneForm = Literal["hours", "minutes", "offset"]

ERROR_DELAY_SECONDS = 30
POLL_SECONDS = 10
# Push versions below those that encrypt (2.4.0, security push 3.1.1), whose algorithms are unpublished.
ACCESS_PUSH_VERSION = "3.0.1"
CODE_LENGTH = 32

_OLD_STAMP_NAMES = {"ATTLOG": "Stamp", "OPERLOG": "OpStamp", "ATTPHOTO": "PhotoStamp"}
_STAMPED_TABLES = ("ATTLOG", "OPERLOG", "ATTPHOTO", "BIODATA", "IDCARD", "ERRORLOG")
_WANTED_TABLES = ("ATTLOG", "OPERLOG")
_SCHEDULE = ["TransTimes=00:00;12:00", "TransInterval=1"]


def option_block(
    serial: str,
    family: Family,
    *,
    stamps: Mapping[str, str],
    zone: str,
    at: datetime,
    timezone_form: TimeZoneForm | None = None,
    poll_seconds: int = POLL_SECONDS,
) -> str:
    """Answer to the hello of families A and B.

    `stamps`: last stored stamp by canonical table, exactly as received. `zone`: IANA zone of the device. `at`: now, an
    instant. `timezone_form`: of the TimeZone line; default by family.

    A table whose stamp was never received has stamp 0, which the documents define as "send everything" and as the only
    value that a server sets by itself. Without the line the terminal would keep a position of its own, so that records
    which another server has received would be missing; any other value would be invented. The terminal sends its log
    once: with the upload its own stamp is stored and answered from then on. Tables that the pipeline does not request
    have no line before their first upload.

    The transfer flags request punches, operations and changed users, neither templates nor photos. They are in format
    II, because the documents disagree about the order of the bits in format I.
    """
    lines = [f"GET OPTION FROM: {serial}"]
    known = dict.fromkeys(_WANTED_TABLES, "0") | dict(stamps)
    lines += [f"{name}={known[table]}" for table, name in _OLD_STAMP_NAMES.items() if table in known]
    lines += [f"{table}Stamp={known[table]}" for table in _STAMPED_TABLES if table in known]
    lines += [
        f"ErrorDelay={ERROR_DELAY_SECONDS}",
        f"Delay={poll_seconds}",
        *_SCHEDULE,
        "TransFlag=TransData AttLog\tOpLog\tEnrollUser\tChgUser",
        f"TimeZone={timezone_value(utc_offset(zone, at), timezone_form or _default_form(family))}",
        "Realtime=1",
        "Encrypt=0",
        "SupportPing=1",
    ]
    if family == "B":
        lines += ["Timeout=60", "SyncTime=3600"]
    return _block(lines)


def timezone_value(offset: timedelta, form: TimeZoneForm) -> str:
    """The TimeZone of an option block.

    `hours` (family A): whole hours, or minutes for an offset with a fraction of an hour; the push client reads numbers
    from -24 to 24 as hours and others as minutes. `minutes`: always minutes. `offset` (family B): `+05:30`.
    """
    minutes = offset // timedelta(minutes=1)
    if form == "offset":
        return _signed_clock(minutes, ":")
    if form == "hours" and minutes % 60 == 0:
        return str(minutes // 60)
    return str(minutes)


def registry_code(serial: str, secret: bytes) -> str:
    """The registration code of a serial number. Stable: the terminal derives its token from it and the session id."""
    return _derived(secret, "registry", serial)


def session_id(serial: str, secret: bytes) -> str:
    """The session id of a serial number, stable for the same reason."""
    return _derived(secret, "session", serial)


def registered_block(serial: str, secret: bytes, *, poll_seconds: int = POLL_SECONDS) -> str:
    """Answer to the hello of a registered terminal of family C; an unregistered one gets `OK` and registers.

    `secret`: of the installation, from which the codes are derived.
    """
    head = ["registry=ok", f"RegistryCode={registry_code(serial, secret)}", f"ServerVersion={ACCESS_PUSH_VERSION}"]
    return _block([*head, "ServerName=ADMS", *_access_options(serial, secret, poll_seconds)])


def registry_answer(serial: str, secret: bytes) -> str:
    """Answer to the registration of family C, without a line end."""
    return f"RegistryCode={registry_code(serial, secret)}"


def push_configuration(serial: str, secret: bytes, *, poll_seconds: int = POLL_SECONDS) -> str:
    """Answer to `/iclock/push` of family C."""
    head = [f"ServerVersion={ACCESS_PUSH_VERSION}", "ServerName=ADMS", f"PushVersion={ACCESS_PUSH_VERSION}"]
    return _block([*head, *_access_options(serial, secret, poll_seconds)])


def time_answer(endpoint: str, *, zone: str, at: datetime) -> str:
    """Answer to a request for the time; `at` is now, an instant.

    "cdata" (family B): wall clock with its offset. "rtdata" (family C): UTC in the terminals' encoding and the zone's
    offset, by appendix 5 of "Security PUSH"; public receivers disagree, some answer the wall clock.
    """
    offset = utc_offset(zone, at) // timedelta(minutes=1)
    if endpoint == "rtdata":
        return f"DateTime={encode_time(in_zone(at, 'UTC'))},ServerTZ={_signed_clock(offset, '')}"
    return f"Time={wall_clock(in_zone(at, zone)).replace(' ', 'T')}{_signed_clock(offset, ':')}"


def utc_offset(zone: str, at: datetime) -> timedelta:
    """UTC offset of an IANA zone at an instant. Raises ValueError for a wall-clock time."""
    return in_zone(at, zone) - in_zone(at, "UTC")


def _default_form(family: Family) -> TimeZoneForm:
    return "offset" if family == "B" else "hours"


def _signed_clock(minutes: int, separator: str) -> str:
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}{separator}{rest:02}"


def _access_options(serial: str, secret: bytes, poll_seconds: int) -> list[str]:
    return [
        f"ErrorDelay={ERROR_DELAY_SECONDS}",
        f"RequestDelay={poll_seconds}",
        *_SCHEDULE,
        "TransTables=User Transaction",
        "Realtime=1",
        f"SessionID={session_id(serial, secret)}",
        "TimeoutSec=10",
    ]


def _derived(secret: bytes, purpose: str, serial: str) -> str:
    return hmac.new(secret, f"{purpose}:{serial}".encode(), hashlib.sha256).hexdigest()[:CODE_LENGTH]


def _block(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
