"""Field types of request bodies."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from zk_pipeline.http.fields import Clock, Date, Instant, Minute, Reading, Reason

pytestmark = pytest.mark.fast
BLANKS = [chr(code) for code in range(sys.maxunicode) if not chr(code).strip()]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Clock, "13:00"),
        (Date, "2026-03-03"),
        (Reading, "2026-03-03T09:03:03"),
        (Minute, "2026-03-03T09:03"),
        (Instant, "2026-03-03T09:03:03.003+03:03"),
    ],
)
def test_a_time_of_a_body_has_ascii_digits_only(kind: Any, text: str) -> None:
    adapter = TypeAdapter(kind)
    assert adapter.validate_python(text) == text
    for place, character in enumerate(text):
        if character == "3":
            with pytest.raises(ValidationError):
                adapter.validate_python(f"{text[:place]}٣{text[place + 1 :]}")


@pytest.mark.parametrize("text", [*BLANKS, "\ufeff", "".join(BLANKS)])
def test_a_reason_of_characters_that_python_or_ecmascript_takes_for_blanks_is_refused(text: str) -> None:
    adapter = TypeAdapter(Reason)
    with pytest.raises(ValidationError, match="string_pattern_mismatch"):
        adapter.validate_python(text)
    assert adapter.validate_python(f"{text}.")
