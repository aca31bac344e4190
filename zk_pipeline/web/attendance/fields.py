"""Single fields of forms, as values."""

from __future__ import annotations

from datetime import date

from zk_pipeline.errors import UsageError
from zk_pipeline.web.rendering import Form


def optional(fields: Form, name: str) -> str | None:
    """What was typed, without blanks around it; None for nothing."""
    return fields.get(name, "").strip() or None


def whole_date(fields: Form, name: str) -> date | None:
    """Raises UsageError for what is no date of the calendar."""
    text = optional(fields, name)
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{name}: {text[:40]!r} is no date such as 2026-05-01") from None
