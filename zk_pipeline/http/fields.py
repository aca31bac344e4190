"""Field types of request bodies: dates, times, ids and names, each with its validation."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field


def reject_text(value: object) -> object:
    """Reject strings and booleans as integers. JSON has one number type, so that 4370.0 is accepted as 4370."""
    if isinstance(value, (str, bool)):
        raise ValueError("Input should be a valid integer")
    return value


def _date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value} is not a valid date") from None
    return value


def _reading(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value} is not a valid date and time") from None
    return value


def _instant(value: str) -> str:
    _reading(value.replace("Z", "+00:00"))
    return value


# Patterns with the same meaning in Python, in Rust (pydantic) and in ECMAScript (OpenAPI), which differ in `\d`, `\s`.
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
READING = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?$"
MINUTE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}$"
INSTANT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{3}|\.[0-9]{6})?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
NOT_BLANK = r"[^\s\x1c-\x1f\x85\ufeff]"
# What is expected where a pattern does not match, for the messages of both interfaces.
EXPECTED = {
    DATE: "a date such as 2026-03-02",
    CLOCK: "a time of day such as 09:00",
    READING: "a wall-clock time such as 2026-03-02T09:00",
    MINUTE: "a wall-clock time in whole minutes such as 2026-03-02T09:00",
    INSTANT: "an instant such as 2026-03-02T09:00:00Z",
    NOT_BLANK: "a text that is not blank",
}
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^/\x00-\x1f\x7f]+$")]
Note = Annotated[str, Field(max_length=500)]
Reason = Annotated[str, Field(min_length=1, max_length=500, pattern=NOT_BLANK)]
UserId = Annotated[str, Field(min_length=1, max_length=200)]
Date = Annotated[str, Field(pattern=DATE, json_schema_extra={"format": "date"}), AfterValidator(_date)]
Clock = Annotated[str, Field(pattern=CLOCK, description="Time of day, such as 09:00")]
Reading = Annotated[str, Field(pattern=READING), AfterValidator(_reading)]
Minute = Annotated[str, Field(pattern=MINUTE), AfterValidator(_reading)]
Instant = Annotated[str, Field(pattern=INSTANT), AfterValidator(_instant)]
Hours = Annotated[float, Field(ge=0, le=24, strict=True)]
# Bounds first: after a validator they would be missing from the OpenAPI document.
Id = Annotated[int, Field(ge=1, le=2**31 - 1), BeforeValidator(reject_text)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(reject_text)]
Seconds = Annotated[int, Field(ge=-(10**9), le=10**9), BeforeValidator(reject_text)]


def as_date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def as_time(text: str | None) -> time | None:
    return time.fromisoformat(text) if text else None


def as_instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def clock_text(value: time | None) -> Any:
    return None if value is None else f"{value:%H:%M}"
