"""Lines of access control terminals (family C): rtlog, and the tables transaction and user.

Source: "Security PUSH" 3.1.2; the keys of transaction rows are those of captures.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from zk_pipeline.devices.protocol.record_layouts import decode_time, format_raw_time
from zk_pipeline.devices.push.fields import (
    detail_text,
    read_card,
    read_code,
    read_number,
    read_pairs,
    read_time,
    read_user_id,
    read_verify_type,
)
from zk_pipeline.devices.push.records import UNKNOWN, DeviceEvent, LineError, PushedPunch, PushedUser

# Events of a person who got through (appendix 2).
DEFAULT_PUNCH_EVENTS = frozenset({0, 1, 2, 3, *range(14, 20), 203, 207, 208, 215, 216, 218, 219, 222, 232})

_DIRECTIONS = {"0": 0, "1": 1}  # in, out; other values are no direction
_READ_KEYS = frozenset({"time", "time_second", "pin", "event", "eventtype"})


def read_access_line(text: str, punch_events: Collection[int]) -> PushedPunch | DeviceEvent:
    """A punch, if the event is one of `punch_events` and names a person; else an event. Raises LineError.

    rtlog has `event`, `inoutstatus`, `verifytype` and a `time` as text; transaction has `eventtype`, `inoutstate`,
    `verified` and `time_second`, the terminals' encoding of a wall-clock time.
    """
    pairs = read_pairs(text)
    event = read_code(pairs.get("event") or pairs.get("eventtype", ""), "event")
    local = _time(pairs)
    pin = pairs.get("pin", "")
    user_id = "" if pin in ("", "0") else read_user_id(pin)
    if not user_id or event not in punch_events:
        rest = [f"{key}={value}" for key, value in pairs.items() if value and key not in _READ_KEYS]
        return DeviceEvent(event, user_id, local, detail_text(rest), is_operation=False)
    direction = pairs.get("inoutstatus") or pairs.get("inoutstate", "")
    verify_type = pairs.get("verifytype") or pairs.get("verified", "")
    return PushedPunch(user_id, local, _DIRECTIONS.get(direction, UNKNOWN), read_verify_type(verify_type), None, None)


def read_user_line(text: str) -> PushedUser:
    """A row of the table user. Raises LineError."""
    pairs = read_pairs(text)
    uid = read_number(pairs.get("uid", ""), -1)
    return PushedUser(
        read_user_id(pairs.get("pin", "")),
        pairs.get("name", ""),
        read_number(pairs.get("privilege", ""), 0),
        read_card(pairs.get("cardno", "")),
        None if uid < 0 else uid,
    )


def _time(pairs: dict[str, str]) -> datetime:
    if text := pairs.get("time"):
        return read_time(text)
    code = read_number(pairs.get("time_second", ""), -1, maximum=2**32 - 1)
    if code < 0:
        raise LineError("the time is missing")
    local = decode_time(code)
    if local is None:
        raise LineError(f"impossible date {format_raw_time(code)}")
    return local
