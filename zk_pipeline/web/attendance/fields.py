"""Values of form fields."""

from __future__ import annotations

from datetime import date

from zk_pipeline.errors import UsageError
from zk_pipeline.web.rendering import Form


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
