"""Shifts and assignments: begin of work dates, validation."""

from __future__ import annotations

from datetime import date, time
from typing import Any

import pytest

from zk_pipeline.attendance.assignment_changes import AssignmentsRefused, change_assignments, check_overlaps
from zk_pipeline.attendance.hours import weekdays_of
from zk_pipeline.attendance.rotations import Rotation
from zk_pipeline.attendance.shifts import Assignment, Hours, Shift, Target, begins
from zk_pipeline.errors import UsageError

DAY, NIGHT = Hours(time(9), time(18)), Hours(time(22), time(6))
DUTY, OFF = Hours(time(8), time(8)), Hours(time(0), time(0), is_off=True)
USER = Target(user_id="1")


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
        (DUTY, DUTY, "08:00"),
        (OFF, DUTY, "00:00"),  # in at 07:55
        (DUTY, OFF, "16:00"),  # out at 08:20: in the middle of 08:00 and midnight
        (NIGHT, OFF, "15:00"),
        (DAY, OFF, "00:00"),
        (OFF, NIGHT, "00:00"),
        (OFF, OFF, "00:00"),
        (Hours(time(1), time(0, 30), time(6)), OFF, "23:59"),  # ends at 00:30 on the date after the off date
    ],
)
def test_a_work_date_begins_where_the_hours_before_it_and_on_it_say(before: Hours, on: Hours, expected: str) -> None:
    assert f"{begins(before, on) // 60:02}:{begins(before, on) % 60:02}" == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weekdays": ("mon", "noday")}, "weekdays must be some of mon, tue"),
        ({"end": time(9), "workday_starts_at": time(12)}, "workday_starts_at 12:00 lies within its hours"),
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


def test_a_shift_without_weekdays_needs_no_hours_and_any_other_does() -> None:
    assert Shift.of("off", {"weekdays": (), "start": None}).is_off
    with pytest.raises(UsageError, match="shift 'early': a shift with working days needs a start and an end"):
        Shift.of("early", {"start": time(6)})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mon-fri", "mon tue wed thu fri"),
        ("sat-mon, wed", "mon wed sat sun"),
        ("none", ""),
        ("country:SA", "mon tue wed thu sun"),
        ("Country:de", "mon tue wed thu fri"),
        ("country:IR", "mon tue wed thu sat sun"),
    ],
)
def test_weekdays_by_name_range_and_country(text: str, expected: str) -> None:
    days = weekdays_of(text)
    assert isinstance(days, tuple)
    assert " ".join(days) == expected


@pytest.mark.parametrize("text", ["country:", "country:XX", "monday", "none,mon"])
def test_other_weekdays_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        weekdays_of(text)


def rotation(pattern: str, first: int = 1, last: int = 12, **options: Any) -> Rotation:
    dates = (date(2026, 3, first), date(2026, 3, last))
    return Rotation(pattern=pattern, target=USER, valid_from=dates[0], valid_to=dates[1], **options)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (rotation("early*2 late*2 off*2"), "early 1-2, late 3-4, off 5-6, early 7-8, late 9-10, off 11-12"),
        (rotation("early off", last=3), "early 1-1, off 2-2, early 3-3"),
        (rotation("early*7 late*7"), "early 1-7, late 8-12"),
        (rotation("early*3", last=5), "early 1-5"),  # the end of a pattern joins its begin
        (rotation("early off early", last=6), "early 1-1, off 2-2, early 3-4, off 5-5, early 6-6"),
        (rotation("early*2 late*2 off*2", last=4, start_at=4), "late 1-1, off 2-3, early 4-4"),
        (rotation("'early A'*2 off", last=4), "early A 1-2, off 3-3, early A 4-4"),
    ],
)
def test_a_rotation_expands_to_one_assignment_per_span(made: Rotation, expected: str) -> None:
    dates = [(one.shift, one.first.day, one.last.day) for one in made.expand()]
    assert ", ".join(f"{shift} {first}-{last}" for shift, first, last in dates) == expected
    assert {one.target for one in made.expand()} == {USER}


@pytest.mark.parametrize(
    ("pattern", "options", "message"),
    [
        ("", {}, "needs a pattern"),
        ("early*0", {}, "'early\\*0' must be"),
        ("*2", {}, "must be a shift"),
        ("'early", {}, "no closing quotation"),
        ("early*2 off", {"start_at": 4}, "start_at must be from 1 to 3"),
        ("early*2 off", {"first": 3, "last": 2}, "2026-03-02 is before 2026-03-03"),
    ],
)
def test_a_rotation_that_cannot_be_expanded_is_refused(pattern: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rotation(pattern, **options)
    with pytest.raises(UsageError, match="at most 3660 dates"):
        Rotation(pattern="early", target=USER, valid_from=date(2026, 1, 1), valid_to=date.max)


def spans(text: str) -> list[Assignment]:
    """Assignments of user 1 such as `early 1-4, late 7-`: days of March."""
    found = []
    for number, part in enumerate(filter(None, text.split(", ")), start=1):
        shift, _, days = part.partition(" ")
        first, last = (date(2026, 3, int(day)) if day else None for day in days.split("-"))
        found.append(Assignment(id=number, shift=shift, target=USER, valid_from=first, valid_to=last))
    return found


def shown(assignments: list[Assignment]) -> str:
    days = [(one.shift, *(day and day.day for day in (one.valid_from, one.valid_to))) for one in assignments]
    return ", ".join(f"{shift} {first or ''}-{last or ''}" for shift, first, last in days)


@pytest.mark.parametrize(
    ("held", "wanted", "added", "removed"),
    [
        ("early -", "late 5-8", "early -4, early 9-, late 5-8", "early -"),
        ("early 1-9", "late 5-, off -2", "early 3-4, late 5-, off -2", "early 1-9"),
        ("early 1-4, late 5-8", "off 2-6", "early 1-1, late 7-8, off 2-6", "early 1-4, late 5-8"),
        ("early 1-4, late 5-8", "off 5-8", "off 5-8", "late 5-8"),
        ("early 1-4, late 5-8", "early 1-4, off 9-", "off 9-", ""),
        ("early 1-4", "early 1-4", "", ""),
    ],
)
def test_replaced_assignments_keep_the_dates_that_no_new_one_has(
    held: str, wanted: str, added: str, removed: str
) -> None:
    changes = change_assignments(spans(held), spans(wanted), replace_overlaps=True)
    assert (shown(changes.added), shown(changes.removed)) == (added, removed)
    gone = {one.id for one in changes.removed}
    after = [*(one for one in spans(held) if one.id not in gone), *changes.added]
    again = change_assignments(after, spans(wanted), replace_overlaps=True)
    assert (again.added, again.removed) == ([], [])


def test_without_replacement_each_overlapping_assignment_is_named() -> None:
    with pytest.raises(AssignmentsRefused) as caught:
        change_assignments(spans("early 1-4"), spans("late 4-6, off 7-8, late 8-9, early 1-4"))
    assert caught.value.problems == {
        0: "user '1' has 'early' from 2026-03-01 to 2026-03-04 already: "
        "'late' from 2026-03-04 to 2026-03-06 overlaps it",
        2: "user '1' has 'off' from 2026-03-07 to 2026-03-08 already: 'late' from 2026-03-08 to 2026-03-09 overlaps it",
    }
