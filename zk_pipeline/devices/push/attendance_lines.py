"""Lines of attendance terminals (families A and B): ATTLOG and OPERLOG."""

from __future__ import annotations

import re

from zk_pipeline.devices.push.fields import (
    detail_text,
    read_card,
    read_code,
    read_number,
    read_pairs,
    read_state,
    read_time,
    read_user_id,
    read_verify_type,
    read_work_code,
)
from zk_pipeline.devices.push.records import UNKNOWN, DeviceEvent, LineError, PushedPunch, PushedUser, Record

MAX_FIELDS = 16
ID_CARD_FIELDS = 9
TIME_OFFSET = 10  # index of the field
MAX_UTC_OFFSET = 14 * 3600

# Lines of OPERLOG with templates and photos, which the pipeline does not store.
_DROPPED = frozenset({"FP", "FACE", "FVEIN", "BIOPHOTO", "USERPIC", "BIODATA", "IDCARD", "ERRORLOG"})
_USER_OR_OPERATION = re.compile(r"\s*(USER|OPLOG)\s", re.IGNORECASE)
_LINE_TYPE = re.compile(r"\s*([A-Za-z]+)(?:\s+(.*))?", re.DOTALL)


def read_attlog_line(text: str) -> PushedPunch | DeviceEvent:
    """A punch, or the verification of an identity card.

    Fields: user id, time, state, verify type, work code and two reserved ones; then mask, two temperatures, UTC offset
    in seconds and extended data (push 2.4), or six job and three tip codes ("PUSH SDK" 3.2, 16 fields), or the number
    of an identity card and the type of the record (9 fields). Old firmware sends the first two or four; some separates
    fields by blanks, some sends `PIN=`, `DateTime=` and so on. Raises LineError.
    """
    fields = text.split("\t") if "\t" in text else _blank_separated(text, 1)
    if "=" in fields[0]:
        return _punch_of_pairs(read_pairs(text))
    count = len(fields)
    if count < 2:
        raise LineError("1 field, at least a user id and a time are expected")
    if count > MAX_FIELDS:
        raise LineError(f"{count} fields, at most {MAX_FIELDS} are known")
    user_id = read_user_id(fields[0])
    local = read_time(fields[1])
    state = read_state(fields[2]) if count > 2 else UNKNOWN
    verify_type = read_verify_type(fields[3]) if count > 3 else UNKNOWN
    if count == ID_CARD_FIELDS and fields[8].strip() == "1":
        # A check of an identity card against its holder: the state is the result (0 ok, 1 failed, 2 on the black list).
        # The number of the card is not kept.
        return DeviceEvent(state, user_id, local, detail_text(["identity card", fields[3].strip()]), False)
    work_code = read_work_code(fields[4]) if count > 4 else None
    offset = _utc_offset(fields[TIME_OFFSET]) if TIME_OFFSET < count <= TIME_OFFSET + 2 else None
    return PushedPunch(user_id, local, state, verify_type, work_code, offset)


def read_operlog_line(text: str) -> Record | None:
    """An operation or a user; None for a template or photo. Raises LineError.

    A line that begins with a digit is read as one of ATTLOG: archives may contain both.
    """
    if text.lstrip()[:1].isdecimal():
        return read_attlog_line(text)
    matched = _LINE_TYPE.fullmatch(text)
    if matched is None:
        raise LineError("the line has no type, such as OPLOG or USER")
    line_type, content = matched[1].upper(), matched[2] or ""
    if line_type == "OPLOG":
        return _operation(content)
    if line_type == "USER":
        return _user(content)
    if line_type in _DROPPED:
        return None
    raise LineError(f"unknown type of line {line_type[:20]!r}")


def read_template_line(text: str) -> Record | None:
    """A line of a table of templates: the operation or user that some firmware sends with a template; None for others.

    Raises LineError.
    """
    return read_operlog_line(text) if _USER_OR_OPERATION.match(text) else None


def _blank_separated(text: str, time_at: int) -> list[str]:
    """Fields between blanks; the date and the time of day, in fields `time_at` and the next one, are one field."""
    fields = text.split()
    if len(fields) > time_at + 1 and ":" in fields[time_at + 1] and "=" not in fields[0]:
        fields[time_at : time_at + 2] = [f"{fields[time_at]} {fields[time_at + 1]}"]
    return fields or [""]


def _punch_of_pairs(pairs: dict[str, str]) -> PushedPunch:
    return PushedPunch(
        read_user_id(pairs.get("pin", "")),
        read_time(pairs.get("datetime") or pairs.get("time", "")),
        read_state(pairs.get("status", "")),
        read_verify_type(pairs.get("verify") or pairs.get("verified", "")),
        read_work_code(pairs.get("workcode", "")),
        _utc_offset(pairs.get("timeoffset", "")),
    )


def _utc_offset(text: str) -> int | None:
    """Seconds, such as `+28800`; None for an empty or impossible offset."""
    sign = -1 if text.strip().startswith("-") else 1
    seconds = read_number(text.strip().lstrip("+-"), -1, maximum=MAX_UTC_OFFSET)
    return None if seconds < 0 else sign * seconds


def _operation(content: str) -> DeviceEvent:
    """Fields: code, operator, time, four objects. Operator 0 is none."""
    fields = content.split("\t") if "\t" in content else _blank_separated(content, 2)
    if len(fields) < 3:
        raise LineError(f"{len(fields)} fields, an operation has at least 3")
    operator = fields[1].strip()
    user_id = "" if operator in ("", "0") else read_user_id(operator)
    return DeviceEvent(
        read_code(fields[0], "operation"), user_id, read_time(fields[2]), detail_text(fields[3:]), is_operation=True
    )


def _user(content: str) -> PushedUser:
    pairs = read_pairs(content)
    return PushedUser(
        read_user_id(pairs.get("pin", "")),
        pairs.get("name", ""),
        read_number(pairs.get("pri", ""), 0),
        read_card(pairs.get("card", "")),
        None,
    )
