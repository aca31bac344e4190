"""Punch logs that terminals write to USB sticks (`attlog.dat`, `1_attlog.dat`, `SERIAL_attlog.dat`).

A line has a user, a time and numbers, separated by tabs or blanks. The order of the numbers differs:

- `usb`: device number, state, verification, work code. By the USB sample of the vendor's SDK, and in ten published logs
  of F18, K-series and TFT terminals, whose users are padded with blanks on the left.
- `push`: state, verification, work code, reserved fields. As terminals push them (`devices.push`).
- `verify-first`: verification, state, work code. Exports of tools that read a terminal by `ReadGeneralLogData`.

A name may follow the user (published log of 2013), and the time may come first. Lines with numbers between their first
column and the time are refused: in logs with the columns `No TMNo EnNo Name INOUT Mode DateTime` (GLOG and AGL files),
the first one is a row number. Black-and-white terminals write their
serial number as the first line and a checksum as the last one (USB sample of the SDK).

An order is never guessed: a log that has several of them is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import takewhile
from pathlib import PurePath
from typing import Literal, NamedTuple, get_args

from zk_pipeline.errors import RowsRefused, UsageError

Order = Literal["usb", "push", "verify-first"]
ORDERS: tuple[Order, ...] = get_args(Order)
COLUMNS: dict[Order, str] = {
    "usb": "device number, state, verification, work code",
    "push": "state, verification, work code",
    "verify-first": "verification, state, work code",
}
UNKNOWN = 255  # state and verification of a line without them
_STATES = {0, 1, 2, 3, 4, 5, 8, 9, UNKNOWN}  # 8 and 9: meals
_MAX_DEVICE_NUMBER = 65535
_STICK_COLUMNS = 4

_TIME = re.compile(rb"(?<![0-9])\d{4}[-/]\d\d[-/]\d\d[ T\t]+\d\d:\d\d(?::\d\d)?(?![0-9:])")
_SERIAL_LINE = re.compile(rb"\W*(?:SN|S/N|Serial\s*(?:Number|No\.?)?)\W*([A-Za-z0-9]{5,32})\W*", re.IGNORECASE)
_CHECKSUM_LINE = re.compile(rb"\W*check\s*sum\b.*", re.IGNORECASE)
_NAMED_SERIAL = re.compile(r"([A-Za-z0-9]{6,32})_attlog", re.IGNORECASE)
_MAX_USER_LENGTH = 32
_MAX_DIGITS = 10
_MORE_COLUMNS = (
    "it has several columns before the time, so the one with the user is not known: import it as a table whose first "
    'line names them (No, EnNo, DateTime, …), with --format csv --columns "user_id=EnNo,punched_at_local=DateTime"'
)


class FilePunch(NamedTuple):
    """A punch of line `line`. `punched_at_local` is naive, the terminal's wall clock."""

    line: int
    user_id: str
    punched_at_local: datetime
    punch_state: int = UNKNOWN  # 0-255
    verify_type: int = UNKNOWN  # 0-255
    work_code: int | None = None


class UnreadableLine(NamedTuple):
    """A line that cannot be a punch, with its bytes and the reason."""

    line: int
    raw: bytes
    reason: str


@dataclass(frozen=True)
class UsbLog:
    """Content of a log. `order` is None without numbers after the time; `serial_number` is that of its first line."""

    punches: list[FilePunch]
    unreadable: list[UnreadableLine]
    order: Order | None
    serial_number: str | None


class _Line(NamedTuple):
    number: int
    raw: bytes
    user_id: str
    at: datetime
    values: tuple[int, ...]
    is_time_first: bool


def serial_number_in_name(path: PurePath) -> str | None:
    """The serial number in a name such as `CGKK223862906_attlog.dat`; None for `1_attlog.dat`, with a device number."""
    found = _NAMED_SERIAL.match(path.name)
    return found[1].upper() if found else None


def parse_usb_log(path: PurePath, content: bytes, *, encoding: str, order: Order | None = None) -> UsbLog:
    """Read a log; `path` names it in messages, `encoding` is that of its users, `order` that of its numbers if known.

    Raises UsageError for content without a single punch, and if several orders fit.
    """
    numbered = _numbered_lines(content)
    serial_number, numbered = _without_frame(numbered)
    lines: list[_Line] = []
    unreadable: list[UnreadableLine] = []
    for number, raw in numbered:
        try:
            lines.append(_line(number, raw, encoding))
        except ValueError as error:
            unreadable.append(UnreadableLine(number, raw, str(error)))
    if not lines:
        if table := next((one for one in unreadable if one.reason == _MORE_COLUMNS), None):
            raise UsageError(f"{path}, line {table.line}: {table.reason}")
        raise UsageError(f"{path}: no line has a user and a time such as 2026-11-02 08:30:00: it is no log of punches")
    lines, others = _with_usual_start(lines)
    unreadable += others
    found = order or _detect(path, lines)
    punches: list[FilePunch] = []
    for line in lines:
        try:
            state, verification, work_code = _in_order(found, line.values)
            _check_range(state, verification)
            punches.append(FilePunch(line.number, line.user_id, line.at, state, verification, work_code))
        except ValueError as error:
            unreadable.append(UnreadableLine(line.number, line.raw, str(error)))
    return UsbLog(punches, sorted(unreadable), found, serial_number)


def _numbered_lines(content: bytes) -> list[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers from 1."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = content.decode("utf-16", errors="replace").encode()
    lines = content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip(b" \t\0\x1a")]


def _without_frame(lines: list[tuple[int, bytes]]) -> tuple[str | None, list[tuple[int, bytes]]]:
    """The serial number of the first line, if it is one, and the lines without it and without a checksum."""
    serial_number = None
    if lines and (found := _SERIAL_LINE.fullmatch(lines[0][1])):
        serial_number, lines = found[1].decode().upper(), lines[1:]
    if lines and _CHECKSUM_LINE.fullmatch(lines[-1][1]):
        lines = lines[:-1]
    return serial_number, lines


def _with_usual_start(lines: list[_Line]) -> tuple[list[_Line], list[UnreadableLine]]:
    """The lines that begin like most of them, with the user or the time: the others lack their user."""
    is_usual = sum(line.is_time_first for line in lines) * 2 > len(lines)
    others = [line for line in lines if line.is_time_first is not is_usual]
    reason = "it begins with a user, unlike most lines" if is_usual else "it has no user"
    usual = [line for line in lines if line.is_time_first is is_usual] if others else lines
    return usual, [UnreadableLine(line.number, line.raw, reason) for line in others]


def _line(number: int, raw: bytes, encoding: str) -> _Line:
    """Raises ValueError with the reason if the line is no punch."""
    found = _TIME.search(raw)
    if found is None:
        raise ValueError("it has no time such as 2026-11-02 08:30:00")
    at = _time(found[0].decode())
    before, after = raw[: found.start()], raw[found.end() :]
    if before.strip(b" \0"):
        return _Line(number, raw, _user(before, encoding), at, _numbers(after), is_time_first=False)
    user, _, numbers = after.strip().partition(b"\t" if b"\t" in after.strip() else b" ")
    return _Line(number, raw, _user(user, encoding), at, _numbers(numbers), is_time_first=True)


def _fields(part: bytes) -> list[bytes]:
    """Fields of a part of a line, without those at its ends that are empty."""
    part = part.strip(b" \t\0\x1a,;")
    if not part:
        return []
    return [field.strip() for field in (part.split(b"\t") if b"\t" in part else part.split())]


def _time(text: str) -> datetime:
    date, time = text[:10], text[10:].lstrip("T \t")
    try:
        return datetime.fromisoformat(f"{date.replace('/', '-')} {time}")
    except ValueError:
        raise ValueError(f"{text} is no time") from None


@lru_cache(maxsize=4096)
def _user(part: bytes, encoding: str) -> str:
    """The user of the part before the time; a name may follow it."""
    fields = _fields(part)
    if not fields:
        raise ValueError("it has no user")
    if b"," in fields[0] or b";" in fields[0] or any(field.isdigit() for field in fields[1:]):
        raise ValueError(_MORE_COLUMNS)
    try:
        user_id = fields[0].decode(encoding)
    except (UnicodeDecodeError, LookupError):
        raise ValueError(f"its user is not text in {encoding}") from None
    if len(user_id) > _MAX_USER_LENGTH or not user_id.isprintable():
        raise ValueError(f"{user_id[:40]!r} is no user id")
    return user_id


@lru_cache(maxsize=4096)
def _numbers(part: bytes) -> tuple[int, ...]:
    """The numbers after the time, up to the first field that is none (temperature, location)."""
    fields = takewhile(lambda field: field.isdigit() and len(field) <= _MAX_DIGITS, _fields(part))
    return tuple(int(field) for field in fields)


def _detect(path: PurePath, lines: list[_Line]) -> Order | None:
    """The order that all lines with the usual number of columns have: others may be cut off.

    Raises UsageError if there are none or several with different meanings.
    """
    usual = Counter(len(line.values) for line in lines).most_common(1)[0][0]
    kinds = {line.values: line for line in reversed(lines) if len(line.values) == usual}  # the first line of each kind
    if not usual:
        return None
    if usual == _STICK_COLUMNS and "attlog" in path.name.lower():
        numbers = sorted({values[0] for values in kinds})
        if len(numbers) > 1:
            shown = ", ".join(map(str, numbers[:5]))
            raise UsageError(
                f"{path}: the column after the time has the device numbers {shown}: import the log of each terminal on "
                "its own, or name the order of the columns with --order"
            )
        if _fits("usb", kinds):
            return "usb"
    fitting: list[Order] = [order for order in ORDERS if _fits(order, kinds)]
    if not fitting:
        raise RowsRefused(
            f"{path}: the columns after the time fit no known order ({_described(ORDERS)})",
            {line.number: f"{line.raw.decode(errors='replace').strip()!r}" for line in list(kinds.values())[-3:]},
        )
    for values, line in kinds.items():
        if len({_in_order(order, values) for order in fitting}) > 1:
            raise UsageError(
                f"{path}, line {line.number}: the columns after the time ({' '.join(map(str, values))}) fit several "
                f"orders: {_described(fitting)}; name the right one with --order"
            )
    return fitting[0]


def _described(orders: Iterable[Order]) -> str:
    return "; ".join(f"{order} ({COLUMNS[order]})" for order in orders)


def _fits(order: Order, kinds: Iterable[tuple[int, ...]]) -> bool:
    kinds = list(kinds)
    if order == "usb" and (len({values[:1] for values in kinds}) > 1 or not _is_device_number(kinds[0][:1])):
        return False
    try:
        return all(
            state in _STATES and verification <= UNKNOWN
            for state, verification, _ in (_in_order(order, values) for values in kinds)
        )
    except ValueError:
        return False


def _is_device_number(values: tuple[int, ...]) -> bool:
    return bool(values) and 1 <= values[0] <= _MAX_DEVICE_NUMBER


def _in_order(order: Order | None, values: tuple[int, ...]) -> tuple[int, int, int | None]:
    """State, verification and work code. Raises ValueError if the order has other columns."""
    if order == "usb":
        if len(values) != _STICK_COLUMNS:
            raise ValueError(f"it has {len(values)} numbers after the time, not {_STICK_COLUMNS} ({COLUMNS['usb']})")
        return values[1], values[2], values[3]
    if order == "verify-first" and len(values) >= _STICK_COLUMNS:
        raise ValueError(f"it has {len(values)} numbers after the time, not at most 3 ({COLUMNS['verify-first']})")
    first, second = [*values[:2], UNKNOWN, UNKNOWN][:2]
    work_code = values[2] if len(values) > 2 else None
    return (second, first, work_code) if order == "verify-first" else (first, second, work_code)


def _check_range(state: int, verification: int) -> None:
    for name, value in (("state", state), ("verification", verification)):
        if value > UNKNOWN:
            raise ValueError(f"its {name} {value} is not between 0 and 255")
