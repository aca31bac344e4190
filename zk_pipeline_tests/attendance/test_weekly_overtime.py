"""Weekly overtime on hand-made weeks, and against the plainest loop on generated ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.attendance.weekly_overtime import weekly_overtime

MONDAY = date(2026, 3, 2)
FORTY_HOURS = 2400
Row = tuple[str, str, int, int, int | None]  # site, user id, days after MONDAY, regular minutes, threshold


def overtime(*rows: Row, apart: Sequence[str] = ()) -> list[int]:
    dates = pd.Series([pd.Timestamp(MONDAY + timedelta(one[2])) for one in rows])
    frame = pd.DataFrame(
        {
            "site": pd.Series([one[0] for one in rows], dtype=object),
            "user_id": pd.Series([one[1] for one in rows], dtype=object),
            "work_date": dates.astype("datetime64[us]"),
            "regular_minutes": pd.Series([one[3] for one in rows], dtype="int32"),
            "weekly_overtime_after_minutes": pd.Series([one[4] for one in rows], dtype="Int32"),
        }
    )
    return list(weekly_overtime(frame, apart=apart))


def week(*minutes: int, first: int = 0, threshold: int | None = FORTY_HOURS, site: str = "HQ") -> list[Row]:
    return [(site, "1", first + day, one, threshold) for day, one in enumerate(minutes)]


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        ((480, 480, 480, 480, 480), [0, 0, 0, 0, 0]),  # 40 h exactly
        ((540, 540, 540, 540, 540), [0, 0, 0, 0, 300]),  # 45 h: 29 CFR § 778.104, five hours beyond forty
        ((540, 540, 540, 540, 540, 240), [0, 0, 0, 0, 300, 240]),  # the sixth day is wholly beyond
        ((600, 600, 600, 600), [0, 0, 0, 0]),  # long days alone make no overtime of the week
    ],
)
def test_minutes_beyond_forty_hours_belong_to_the_day_that_crosses_them(
    minutes: Sequence[int], expected: list[int]
) -> None:
    assert overtime(*week(*minutes)) == expected


def test_each_week_stands_alone() -> None:
    """29 CFR § 778.104: 30 and 50 hours in two weeks are not averaged."""
    assert overtime(*week(600, 600, 600), *week(600, 600, 600, 600, 600, first=7)) == [0] * 3 + [0, 0, 0, 0, 600]
    assert overtime(*week(*[600] * 4, first=3), *week(600, first=7)) == [0] * 5, "Thursday to Sunday, then Monday"


def test_all_sites_count_together_unless_the_id_is_of_different_employees() -> None:
    rows = [*week(*[480] * 5), ("Depot", "1", 4, 120, FORTY_HOURS)]
    assert overtime(*rows) == [0, 0, 0, 0, 0, 120], "the later row of a date is beyond"
    assert overtime(*rows, apart=["1"]) == [0] * 6
    assert overtime(*rows, ("HQ", "2", 4, 480, FORTY_HOURS)) == [0, 0, 0, 0, 0, 120, 0]


def test_the_latest_threshold_of_a_week_applies_to_all_of_it() -> None:
    rows = [*week(600, 600, 600, threshold=1500), *week(600, first=3, threshold=None)]
    assert overtime(*rows) == [0, 0, 300, 600]
    assert overtime(*rows, *week(0, first=6, threshold=2000)) == [0, 0, 0, 400, 0]
    assert overtime(*week(600, 600, 600, 600, 600, threshold=None)) == [0] * 5


def test_rows_may_come_in_any_order_and_there_may_be_none() -> None:
    assert overtime(*reversed(week(*[540] * 5))) == [300, 0, 0, 0, 0]
    assert overtime() == []


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("AB"), st.sampled_from("12"), st.integers(0, 16), st.integers(0, 900),
            st.sampled_from([None, 600, 1800, 2400]),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_generated_weeks_agree_with_a_plain_loop(rows: list[Row]) -> None:
    expected = [0] * len(rows)
    people = {(site if user == "2" else "", user, day // 7) for site, user, day, _, _ in rows}
    for place, person, number in people:
        of_week = [
            index
            for index, (site, user, day, _, _) in sorted(enumerate(rows), key=lambda one: one[1][2])
            if user == person and day // 7 == number and (site == place or user == "1")
        ]
        threshold = next((rows[index][4] for index in reversed(of_week) if rows[index][4] is not None), None)
        worked = 0
        for index in of_week:
            before, worked = worked, worked + rows[index][3]
            expected[index] = 0 if threshold is None else max(worked - max(before, threshold), 0)
    assert overtime(*rows, apart=["2"]) == expected
