"""Values of form fields."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from datetime import date
from typing import TYPE_CHECKING

from zk_pipeline.attendance.shifts import Target
from zk_pipeline.errors import UsageError
from zk_pipeline.web.rendering import Form

if TYPE_CHECKING:
    from zk_pipeline.operations.files.holiday_file import HolidayImport
    from zk_pipeline.operations.files.leave_file import LeaveImport

_MAX_SKIPPED = 20


def import_summary(done: HolidayImport | LeaveImport) -> str:
    """Sentences with the numbers of changes of an import, and the skipped events of a calendar."""
    counts = ", ".join(f"{len(getattr(done, one.name))} {one.name}" for one in dataclass_fields(done))
    named = [f"line {one.line}, {one.summary or 'an event'}: {one.reason}" for one in done.skipped[:_MAX_SKIPPED]]
    more = len(done.skipped) - len(named)
    skipped = f" Skipped: {'; '.join(named)}{f'; and {more} more' if more else ''}." if named else ""
    return f"Imported: {counts}.{skipped}"


def optional(fields: Form, name: str) -> str | None:
    """The text without surrounding whitespace; None if it is empty."""
    return fields.get(name, "").strip() or None


def whole_date(fields: Form, name: str) -> date | None:
    """A date as YYYY-MM-DD; None if it is empty. Raises UsageError."""
    text = optional(fields, name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name}: {text[:40]!r} is not a date such as 2026-05-01") from None


def required_dates(fields: Form) -> tuple[date, date]:
    """First and last work date. Raises UsageError."""
    first, last = whole_date(fields, "valid_from"), whole_date(fields, "valid_to")
    if first is None or last is None:
        raise UsageError("a first and a last work date are expected")
    return first, last


def whole_number(fields: Form, name: str, *, default: int) -> int:
    """A number of at most four digits; `default` if it is empty. Raises UsageError."""
    text = optional(fields, name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 4):
        raise UsageError(f"{name}: a whole number of at most four digits is expected")
    return int(text)


def id_of(fields: Form) -> int:
    """The field `id`. Raises UsageError."""
    number = fields.get("id", "")
    if not (number.isascii() and number.isdigit() and len(number) < 18):
        raise UsageError("id: a number is expected")
    return int(number)


def target_of(fields: Form) -> Target:
    """Target of an assignment. Raises UsageError."""
    return Target(user_id=optional(fields, "user_id"), site=optional(fields, "site"), device=optional(fields, "device"))
