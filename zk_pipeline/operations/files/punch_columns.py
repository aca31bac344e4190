"""Columns of punch tables (.csv, .xlsx, .parquet): which column has which field, and the punch of a row.

The export of raw punches has the fields under their own names; columns of other programs are named once per device.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from zk_pipeline.devices.usb_log import UNKNOWN, FilePunch
from zk_pipeline.errors import UsageError

FIELDS = {
    "user_id": "user id as enrolled",
    "punched_at_local": "wall clock of the terminal, or an instant with its offset from UTC",
    "punched_at": "instant with its offset from UTC, instead of punched_at_local",
    "date": "date, with `time` instead of punched_at_local",
    "time": "time of day, with `date`",
    "punch_state": "0 in, 1 out, 2 break out, 3 break in, 4 overtime in, 5 overtime out, or these words",
    "verify_type": "number of the verification",
    "work_code": "work code",
    "device": "name of the device: rows of other devices are left out",
    "is_clock_suspect": "true: stored, but part of no day",
}
_STATES = {
    0: ("in", "i", "c/in", "check in", "checkin", "clock in", "entry", "punch in"),
    1: ("out", "o", "c/out", "check out", "checkout", "clock out", "exit", "punch out"),
    2: ("break out", "out break", "b/out"),
    3: ("break in", "in break", "b/in", "out back", "break back"),
    4: ("overtime in", "ot in", "ot-in", "overtime-in"),
    5: ("overtime out", "ot out", "ot-out", "overtime-out"),
    UNKNOWN: ("", "none", "undefined", "unknown"),
}
_STATE_OF = {word: state for state, words in _STATES.items() for word in words}
_FORMULA = re.compile(r"'([=+\-@\t\r\n＝＋－＠].*)", re.DOTALL)  # as `table_writers` writes it to a CSV file
_NO_USER_IN_EXCEL = re.compile(r"[+-]?\d+\.\d+(e[+-]?\d+)?|true|false", re.IGNORECASE)
_MIDNIGHT = re.compile(r"(?<=\d{4}-\d\d-\d\d)[ T]00:00(:00(\.0+)?)?$")
_MAX_EXACT = 2**53  # a larger float has lost digits
_MAX_USER_LENGTH = 32


def parse_columns(text: str) -> dict[str, str]:
    """Columns by field from `user_id=Emp No,punched_at_local=Time`. Raises UsageError."""
    found: dict[str, str] = {}
    for part in text.split(","):
        field, is_there, column = (one.strip() for one in part.partition("="))
        if not is_there or not column or field not in FIELDS or field in found:
            raise UsageError(
                f"--columns: {part.strip()!r} does not name the column of a field, such as user_id=Employee; "
                f"fields: {', '.join(FIELDS)}"
            )
        found[field] = column.lower()
    if problem := missing_field(found):
        raise UsageError(f"--columns: {problem}")
    return found


def missing_field(fields: Iterable[str]) -> str | None:
    """The problem if `fields` lack the user or the time."""
    given = set(fields)
    if "user_id" not in given:
        return "no column has the user_id"
    if not given & {"punched_at_local", "punched_at"} and not given >= {"date", "time"}:
        return "no column has the time (punched_at_local, punched_at, or date and time)"
    return None


@dataclass(frozen=True)
class PunchRows:
    """Reader of rows: `columns` by field, `zone` of the device, `time_format` of its times (None: ISO 8601).

    `is_excel`: values are the texts of Excel cells, so a number or truth value is recognized by its text.
    """

    columns: Mapping[str, str]
    zone: str
    time_format: str | None = None
    is_excel: bool = False

    def punch(self, line: int, row: Mapping[str, Any]) -> FilePunch:
        """The punch of a row; values are texts, or of Parquet's own types. Raises UsageError."""
        return FilePunch(
            line,
            self._user(row),
            self._local(row),
            _state(self._text(row, "punch_state")),
            _number(self._text(row, "verify_type"), "verify_type", UNKNOWN, UNKNOWN) or 0,
            _number(self._text(row, "work_code"), "work_code", 2**63 - 1, None),
        )

    def device(self, row: Mapping[str, Any]) -> str:
        return self._text(row, "device")

    def is_suspect(self, row: Mapping[str, Any]) -> bool:
        return self._text(row, "is_clock_suspect").lower() in ("true", "1", "yes")

    def _value(self, row: Mapping[str, Any], field: str) -> Any:
        return row.get(self.columns[field]) if field in self.columns else None

    def _text(self, row: Mapping[str, Any], field: str) -> str:
        value = _without_fraction(self._value(row, field))
        return "" if value is None else str(value).strip()

    def _user(self, row: Mapping[str, Any]) -> str:
        value, text = _without_fraction(self._value(row, "user_id")), self._text(row, "user_id")
        is_text = isinstance(value, str) and not (self.is_excel and _NO_USER_IN_EXCEL.fullmatch(text))
        if value is not None and not is_text and (isinstance(value, bool) or not isinstance(value, int)):
            raise UsageError(f"{text[:40]!r} is no user id: it is neither text nor a whole number")
        return _user(text)

    def _local(self, row: Mapping[str, Any]) -> datetime:
        """The wall clock; `fold` is 1 for an instant in the second occurrence of a repeated hour."""
        field = next((one for one in ("punched_at_local", "punched_at") if one in self.columns), None)
        value = self._value(row, field) if field else _joined(self._text(row, "date"), self._text(row, "time"))
        at = value if isinstance(value, datetime) else self._parse(str(value or "").strip())
        if at.tzinfo is not None:
            return at.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)
        if field == "punched_at":
            raise UsageError(
                f"{value!r} has no offset from UTC: name its column punched_at_local if it is a wall clock"
            )
        return at

    def _parse(self, text: str) -> datetime:
        if self.time_format:
            try:
                return datetime.strptime(text, self.time_format)  # noqa: DTZ007 (wall clock)
            except ValueError:
                pass  # a cell with a date of Excel is read as ISO 8601
        try:
            at = datetime.fromisoformat(text) if ":" in text else None
        except ValueError:
            at = None
        if at is None:
            wanted = self.time_format or "2026-11-02 08:30:00; --time-format names another form"
            raise UsageError(f"{text[:40]!r} is no time such as {wanted}")
        return at.replace(tzinfo=UTC) if text.endswith("Z") else at


def _joined(day: str, at: str) -> str:
    """A date, without the midnight that a date cell of Excel may have, and a time of day, with two digits of hours."""
    return f"{_MIDNIGHT.sub('', day)} {at.zfill(len(at) + 1) if at[1:2] == ':' else at}"


def _without_fraction(value: Any) -> Any:
    """A number without a fraction as int, and no number (NaN) as None."""
    if not isinstance(value, float | Decimal):
        return value
    if value != value:  # noqa: PLR0124 (NaN)
        return None
    return int(value) if abs(float(value)) <= _MAX_EXACT and value == int(value) else value


def _user(text: str) -> str:
    if quoted := _FORMULA.fullmatch(text):
        text = quoted[1]
    if not text or len(text) > _MAX_USER_LENGTH or not text.isprintable():
        raise UsageError(f"{text[:40]!r} is no user id" if text else "the user_id is empty")
    return text


def _state(text: str) -> int:
    word = " ".join(text.lower().split())
    if word in _STATE_OF:
        return _STATE_OF[word]
    if word.isdecimal() and int(word) <= UNKNOWN:
        return int(word)
    raise UsageError(f"punch_state {text[:40]!r} is no state: a number from 0 to 255, or a word such as in or out")


def _number(text: str, field: str, most: int, otherwise: int | None) -> int | None:
    if not text:
        return otherwise
    if not text.isdecimal() or int(text) > most:
        raise UsageError(f"{field} {text[:40]!r} is no number from 0 to {most}")
    return int(text)
