"""Formats of live events, and the punches in them. Events are received in `live`.

Sources: zk-protocol "Realtime" (32 bytes); pyzk for 12, 36 and 52, its issues #153 for 37 and #164 for 10 and 14.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import datetime

from zk_pipeline.data_libraries import pd
from zk_pipeline.devices.protocol.decode import user_id_text

EF_ATTLOG = 1
OTHER_EVENTS = frozenset({2, 4, 8, 16, 32, 128, 256, 512})  # fingers, keys, doors, alarms

# Event size to the format of the user field, which is followed by verify type, state, six bytes of date, and
# undocumented bytes. Text is a user id; so is a 32-bit number, as in the logs of these terminals. A 16-bit number is
# the slot (uid), not a user id.
_USER_FORMATS = {10: "H", 12: "I", 14: "H", 32: "24s", 36: "24s", 37: "24s", 52: "24s"}


@dataclass(frozen=True, kw_only=True)
class LivePunch:
    """A reported punch. `punched_at_local` is naive, the terminal's wall clock; `received_at` aware, by this computer.

    An event that names only a slot of the terminal has no `user_id` but its `uid`, and `users`: the user list (columns
    USER_COLUMNS) read after the event, None if the terminal refused it.
    """

    user_id: str | None
    punched_at_local: datetime
    verify_type: int
    punch_state: int
    received_at: datetime
    uid: int | None = None
    users: pd.DataFrame | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class UnreadableEvent:
    """An event that cannot be decoded as a punch; a reading of the log has its record. `received_at` is aware."""

    raw: bytes
    reason: str
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The terminal answered. A record counter ahead of the punches received shows a gap."""

    at: datetime  # aware
    record_count: int


LiveEvent = LivePunch | UnreadableEvent | Heartbeat


@dataclass(frozen=True)
class EventRecord:
    """The fields of one event, None for invalid values; at most one of `user_id` and `uid` is set."""

    user_id: str | None
    uid: int | None
    verify_type: int
    punch_state: int
    punched_at_local: datetime | None


def split_events(data: bytes) -> list[bytes]:
    """The events in one frame: several only for events of 52 bytes (pyzk)."""
    if len(data) > 52 and len(data) % 52 == 0:
        return [data[start : start + 52] for start in range(0, len(data), 52)]
    return [data]


def parse_event(raw: bytes, encoding: str) -> EventRecord | None:
    """The fields of one event, None for an unknown size."""
    user_format = _USER_FORMATS.get(len(raw))
    if user_format is None:
        return None
    user, verify_type, punch_state, date = struct.unpack_from(f"<{user_format}BB6s", raw)
    user_id: str | None = None
    if isinstance(user, bytes):
        user_id = user_id_text(user, encoding)
    elif user_format == "I" and user > 0:
        user_id = str(user)
    return EventRecord(
        user_id=user_id,
        uid=user if user_format == "H" else None,
        verify_type=verify_type,
        punch_state=punch_state,
        punched_at_local=_date(date),
    )


def _date(fields: bytes) -> datetime | None:
    year, month, day, hour, minute, second = fields
    try:
        return datetime(2000 + year, month, day, hour, minute, second)  # noqa: DTZ001 - a wall clock has no zone
    except ValueError:
        return None
