"""Values of form fields."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from zk_pipeline.errors import UsageError
from zk_pipeline.store.shifts.holiday_sources import Skipped
from zk_pipeline.web.rendering import Form

_MAX_SKIPPED = 20


def skipped_events(skipped: Sequence[Skipped]) -> str:
    """A sentence with the skipped events of an imported calendar; empty without any."""
    named = [f"line {one.line}, {one.summary or 'an event'}: {one.reason}" for one in skipped[:_MAX_SKIPPED]]
    more = len(skipped) - len(named)
    return f" Skipped: {'; '.join(named)}{f'; and {more} more' if more else ''}." if named else ""


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
