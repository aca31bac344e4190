"""Texts of the rules of a shift: their normal form, and what is refused."""

from __future__ import annotations

from datetime import time

import pytest

from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("field", "text", "normal"),
    [
        ("breaks", "PUNCHES,12:00 - 13:00, 45min after 9h ,30 min after 6 h",
         "12:00-13:00, 30 min after 6 h, 45 min after 9 h, punches"),
        ("breaks", "9:00-9:15 paid, 12:00-16:00 split", "09:00-09:15 paid, 12:00-16:00 split"),
        ("breaks", "none", ""),
        ("overtime", "in steps of 15 min, after 7.5 h a day, after 40 h a week",
         "after 450 min a day, after 40 h a week, in steps of 15 min"),
        ("overtime", "after shift,before shift,at least 1 h", "before shift, after shift, at least 1 h"),
        ("night_hours", " 22:00-6:00 ", "22:00-06:00"),
        ("rounding", "day down 6 min, punches nearest 15 min", "punches nearest 15 min, day down 6 min"),
        ("core_time", "10:00-15:00", "10:00-15:00"),
        ("alternatives", "early,  late,early", "early, late"),
    ],
)  # fmt: skip
def test_a_rule_has_one_normal_form_which_means_the_same(field: str, text: str, normal: str) -> None:
    normalized, _ = RULE_TEXTS[field]
    assert normalized(text) == normal
    assert normalized(normal) == normal


@pytest.mark.parametrize(
    ("field", "text", "problem"),
    [
        ("breaks", "lunch", "'lunch' is no break: 12:00-13:00, 12:00-13:00 paid"),
        ("breaks", "25:00-26:00", "is no break"),
        ("breaks", "12:00-12:00", "'12:00-12:00' has no length"),
        ("breaks", "30 min after 6 h, 45 min after 6 h", "two breaks are deducted after 6 h"),
        ("breaks", "30 min after 30 h", "'30 min after 30 h' can never apply"),
        ("breaks", "0 min after 1 h", "can never apply"),
        ("breaks", "12:00-13:00 split, 15:00-16:00 split", "a split shift has one pause"),
        ("breaks", "0.001 h after 6 h", "0.001 h are no whole minutes"),
        ("overtime", "at least 30 min", "names no overtime"),
        ("overtime", "after 8 h", "'after 8 h' is no overtime rule"),
        ("overtime", "after 8 h a day, after 7 h a day", "'after 7 h a day' contradicts an earlier part"),
        ("overtime", "after 30 h a day", "'after 30 h a day' is longer than a day"),
        ("rounding", "punches nearest 7 min", "the unit must divide an hour"),
        ("rounding", "punches up 15 min, punches down 15 min", "contradicts an earlier part"),
        ("night_hours", "night", "'night' is no time span such as 22:00-06:00"),
        ("core_time", "08:00-15:00", "core_time 08:00-15:00 is not within its hours"),
        ("core_time", "15:00-10:00", "is not within its hours"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_refused_with_the_part_and_the_remedy(field: str, text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=r"^shift 'office': ") as refused:
        Shift(name="office", start=time(9), end=time(18), **{field: text})  # type: ignore[arg-type]
    assert problem in str(refused.value)
