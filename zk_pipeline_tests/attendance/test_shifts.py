"""Shifts and assignments: begin of work dates, validation."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from zk_pipeline.attendance.shifts import Assignment, Hours, Shift, Target, begins, check_overlaps
from zk_pipeline.errors import UsageError

DAY, NIGHT = Hours(time(9), time(18)), Hours(time(22), time(6))


@pytest.mark.parametrize(
    ("before", "on", "expected"),
    [
        (DAY, DAY, "00:00"),
        (DAY, NIGHT, "00:00"),
        (NIGHT, NIGHT, "14:00"),
        (NIGHT, DAY, "07:30"),
        (Hours(time(14), time(0)), Hours(time(14), time(0)), "07:00"),  # out at 00:05 is still of the evening before
        (NIGHT, Hours(time(5), time(13)), "05:00"),  # the two overlap
        (Hours(time(22), time(6, 1)), DAY, "07:30"),  # rounded down
        (NIGHT, Hours(time(9), time(18), time(4)), "04:00"),
        (Hours(time(0, 30), time(8), time(20)), DAY, "08:30"),  # begins after midnight of its work date, ends then too
        (Hours(time(22), time(6), time(12)), DAY, "07:30"),
    ],
)
def test_a_work_date_begins_where_the_hours_before_it_and_on_it_say(before: Hours, on: Hours, expected: str) -> None:
    assert f"{begins(before, on) // 60:02}:{begins(before, on) % 60:02}" == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"end": time(9)}, "end must differ from start"),
        ({"weekdays": ("mon", "noday")}, "weekdays must be some of mon, tue"),
        ({"weekdays": ()}, "weekdays must be some of"),
        ({"late_clock_in_hours": -1}, "late_clock_in_hours must be from 0 to 24"),
        ({"workday_starts_at": time(12)}, "workday_starts_at 12:00 lies within its hours"),
        ({"end": time(6), "start": time(22), "workday_starts_at": time(2)}, "02:00 lies within its hours"),
    ],
)
def test_hours_that_make_no_working_day_are_refused(arguments: dict[str, Any], message: str) -> None:
    hours: dict[str, Any] = {"name": "s", "start": time(9), "end": time(18)}
    with pytest.raises(UsageError, match=message):
        Shift(**(hours | arguments))


@pytest.mark.parametrize("arguments", [{}, {"device": "Gate", "site": "HQ"}, {"device": "Gate", "user_id": "1"}])
def test_an_assignment_is_for_a_user_a_user_at_a_site_a_device_or_a_site(arguments: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="a shift is assigned to"):
        Target(**arguments)


def test_assignments_of_one_target_may_touch_but_not_overlap() -> None:
    def one(first: int | None, last: int | None, **target: str) -> Assignment:
        days = [None if day is None else date(2026, 3, day) for day in (first, last)]
        return Assignment(shift="s", target=Target(**target), valid_from=days[0], valid_to=days[1])

    check_overlaps([one(1, 4, user_id="1"), one(5, None, user_id="1"), one(None, None, user_id="1", site="HQ")])
    with pytest.raises(UsageError, match="user '1' has 's' from … to 2026-03-05 already"):
        check_overlaps([one(None, 5, user_id="1"), one(5, None, user_id="1")])
    with pytest.raises(UsageError, match="valid_to 2026-03-01 is before 2026-03-02"):
        one(2, 1, user_id="1")
