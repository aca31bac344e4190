"""Lines of uploads as bytes: punches, users, operations, security events.

Sources: Attendance PUSH 2015 and 5.8 (ATTLOG, OPERLOG), PUSH SDK 3.2.0 section 2.4.2 (16 fields), Security PUSH 3.1.2
sections 7.2 and 7.5 (rtlog, tabledata).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from zk_pipeline.simulator.push.device_log import LogEntry
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import PushProfile
from zk_pipeline.simulator.terminal.records import Punch, TerminalUser

_TFT_FIELDS = 16
_PUNCH_KEYS = ("PIN", "DateTime", "Status", "Verify", "Workcode")
DOOR = 1


def punch_line(entry: LogEntry, profile: PushProfile, faults: PushFaults) -> bytes:
    """One line of ATTLOG without its end."""
    fields = _punch_fields(entry, profile, faults)
    if faults.separator == "pairs":
        line = "\t".join(f"{key}={value}" for key, value in zip(_PUNCH_KEYS, fields, strict=False))
    else:
        line = ("\t" if faults.separator == "tab" else " ").join(fields)
    return line.encode() + (b"\0" if faults.has_nul else b"")


def operation_line(code: int, at_local: datetime, user_id: str = "0") -> bytes:
    """An OPLOG line of OPERLOG, such as 0 for power on and 30 for an enrolled user."""
    return f"OPLOG {code}\t0\t{_text(at_local)}\t{user_id}\t0\t0\t0".encode()


def user_line(user: TerminalUser, encoding: str) -> bytes:
    """A USER line of OPERLOG, with an empty password and the name in the terminal's encoding."""
    name = user.name.encode(encoding, "replace")
    head = f"USER PIN={user.user_id}\tName=".encode()
    return head + name + f"\tPri={user.privilege}\tPasswd=\tCard={user.card or ''}\tGrp=1\tTZ=0".encode()


def event_line(entry: LogEntry) -> bytes:
    """A line of `rtlog`: `inoutstatus` is 0 or 1, `pin` 0 for an event of a door."""
    punch = entry.punch
    pairs = {
        "time": _text(punch.punched_at_local),
        "pin": punch.user_id,
        "cardno": "0",
        "sitecode": "0",
        "linkid": "0",
        "eventaddr": str(DOOR),
        "event": str(entry.event),
        "inoutstatus": str(punch.punch_state),
        "verifytype": str(punch.verify_type),
        "index": str(entry.number),
    }
    return "\t".join(f"{key}={value}" for key, value in pairs.items()).encode()


def transaction_line(entry: LogEntry) -> bytes:
    """A stored event, a line of `tabledata` or `querydata` for the table `transaction`."""
    punch = entry.punch
    pairs = {
        "cardno": "0",
        "pin": punch.user_id,
        "verified": str(punch.verify_type),
        "doorid": str(DOOR),
        "eventtype": str(entry.event),
        "inoutstate": str(punch.punch_state),
        "time_second": str(zk_seconds(punch.punched_at_local)),
        "index": str(entry.number),
    }
    return b"transaction " + "\t".join(f"{key}={value}" for key, value in pairs.items()).encode()


def user_row(user: TerminalUser, encoding: str) -> bytes:
    """A user of a security terminal, a line of `tabledata` or `querydata` for the table `user`."""
    head = f"user uid={user.uid}\tcardno={user.card or ''}\tpin={user.user_id}\tpassword=\tgroup=0\t"
    tail = f"\tprivilege={user.privilege}\tdisable=0\tverify=0"
    return (head + "starttime=0\tendtime=0\tname=").encode() + user.name.encode(encoding, "replace") + tail.encode()


def photo_body(serial_number: str, user_id: str, at_local: datetime, picture: bytes) -> bytes:
    """Body of an ATTPHOTO upload: lines of text, a NUL, the bytes of a JPEG."""
    name = f"{at_local:%Y%m%d%H%M%S}-{user_id}.jpg"
    head = f"PIN={name}\nSN={serial_number}\nsize={len(picture)}\nCMD=uploadphoto\0"
    return head.encode() + picture


def body_of(lines: Iterable[bytes], line_end: bytes = b"\n") -> bytes:
    """Lines as a body; each has its end, the last one too."""
    return b"".join(line + line_end for line in lines)


def zk_seconds(local: datetime) -> int:
    """A wall clock as the protocol counts seconds: each month has 31 days, from the year 2000 on."""
    days = (local.year - 2000) * 372 + (local.month - 1) * 31 + local.day - 1
    return days * 86_400 + local.hour * 3_600 + local.minute * 60 + local.second


def from_zk_seconds(seconds: int) -> datetime:
    """The reverse of `zk_seconds`, naive. Raises ValueError for a date that does not exist."""
    days, second = divmod(seconds, 86_400)
    months, day = divmod(days, 31)
    return datetime(2000 + months // 12, months % 12 + 1, day + 1, second // 3_600, second // 60 % 60, second % 60)  # noqa: DTZ001


def _punch_fields(entry: LogEntry, profile: PushProfile, faults: PushFaults) -> list[str]:
    punch = entry.punch
    first = [*_first_fields(punch), "0", "0"]
    if profile.attlog_fields == _TFT_FIELDS:
        return [*first, *["0"] * (_TFT_FIELDS - len(first))]
    offset = "" if faults.has_empty_offset else f"{entry.utc_offset_seconds:+d}"
    # MaskFlag, Temperature, ConvTemperature, TimeOffset, ExtendData
    return [*first, "0", "36.5", "0", offset, ""][: profile.attlog_fields]


def _first_fields(punch: Punch) -> list[str]:
    status, verify, code = str(punch.punch_state), str(punch.verify_type), str(punch.work_code)
    return [punch.user_id, _text(punch.punched_at_local), status, verify, code]


def _text(at_local: datetime) -> str:
    return at_local.isoformat(" ", "seconds")
