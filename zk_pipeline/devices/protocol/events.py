"""Live events of a terminal as they travel, and the punches in them. How they are received is in `live`.

Sources: zk-protocol "Realtime" (32 bytes); pyzk for 12, 36 and 52, its issues #153 for 37 and #164 for 10 and 14.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import datetime

import pandas as pd

from zk_pipeline.devices.protocol.decode import user_id_text

EF_ATTLOG = 1
OTHER_EVENTS = frozenset({2, 4, 8, 16, 32, 128, 256, 512})  # fingers, keys, doors, alarms

# Size of an event to: the format of who punched; verify type, state and six bytes of date follow in all of them, and
# then bytes that nobody has explained. Text is a user id; so is a number of 32 bits, since the logs of these terminals
# hold it as that. 16 bits hold no user id: it is the terminal's own number of the user.
_WHO = {10: "H", 12: "I", 14: "H", 32: "24s", 36: "24s", 37: "24s", 52: "24s"}


@dataclass(frozen=True, kw_only=True)
class LivePunch:
    """A punch as it happened. `punched_at_local` is naive, the terminal's wall clock; `received_at` aware, ours.

    An event that names only a slot of the terminal has no `user_id` but its `uid`, and `users`: the user list (columns
    USER_COLUMNS) read after the event, None where the terminal refused it.
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
    """An event that cannot be a punch: what it is can be seen once the log is read. `received_at` is aware."""

    raw: bytes
    reason: str
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """The terminal is there and listens to us. A counter that runs ahead of the punches received shows a gap."""

    at: datetime  # aware
    record_count: int


LiveEvent = LivePunch | UnreadableEvent | Heartbeat


@dataclass(frozen=True)
class EventRecord:
    """The fields of one event, None where they make no sense; of `user_id` and `uid` one at most is given."""

    user_id: str | None
    uid: int | None
    verify_type: int
    punch_state: int
    punched_at_local: datetime | None


def split_events(data: bytes) -> list[bytes]:
    """The events in one frame: those of 52 bytes come in several (pyzk), all others alone."""
    if len(data) > 52 and len(data) % 52 == 0:
        return [data[start : start + 52] for start in range(0, len(data), 52)]
    return [data]


def parse_event(raw: bytes, encoding: str) -> EventRecord | None:
    """The fields of one event, None for a size that is not known."""
    form = _WHO.get(len(raw))
    if form is None:
        return None
    who, verify_type, punch_state, date = struct.unpack_from(f"<{form}BB6s", raw)
    user_id: str | None = None
    if isinstance(who, bytes):
        user_id = user_id_text(who, encoding)
    elif form == "I" and who > 0:
        user_id = str(who)
    return EventRecord(
        user_id=user_id,
        uid=who if form == "H" else None,
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
