"""Attendance rules: clock-in, clock-out, outliers and durations of single days."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pandas as pd
import pandera.errors
import pytest

from zk_pipeline.attendance.evaluate import EvaluatedDays, evaluate_days
from zk_pipeline.attendance.frames import DAYS, SUMMARIES
from zk_pipeline.attendance.rules import OutlierCode, WorkRules
from zk_pipeline_tests.attendance.plain_company import (
    PlainAssignment,
    PlainCompany,
    PlainDay,
    PlainGate,
    PlainPunch,
    PlainShift,
)
from zk_pipeline_tests.attendance.rules_fixtures import as_days, rules_of, shifts_of, summaries

MONDAY = date(2026, 3, 2)
LONG_AFTER = datetime(2027, 1, 1, tzinfo=UTC)
NIGHT = PlainShift(start=time(22), end=time(6), workday_starts_at=time(14))


def day_of(
    *times: str, shift: PlainShift | None = None, now: datetime = LONG_AFTER, zone: str = "UTC"
) -> tuple[PlainDay, EvaluatedDays]:
    """The attendance day of these punches by the shift, the hours of the settings if it has no name.

    `+06:00` is on the next calendar day.
    """
    company = PlainCompany(settings=shift or PlainShift())
    if shift is not None and shift.name is not None:
        company = PlainCompany(assignments=(PlainAssignment(shift, site="HQ"),))
    punches = [
        PlainPunch(
            PlainGate("Gate", zone, "HQ"),
            "1001",
            datetime.fromisoformat(f"{MONDAY + timedelta(days=at[0] == '+')} {at.lstrip('+')}"),
        )
        for at in times
    ]
    evaluated = evaluate_days(summaries(company, punches), rules_of(company), now, shifts_of(company))
    (day,) = as_days(evaluated)
    return day, evaluated


@pytest.mark.parametrize(
    ("times", "codes", "reason"),
    [
        (["07:00:00", "18:00"], [], ""),
        (["06:59:59", "18:00"], ["CLOCK_IN_TOO_EARLY"], "Clock-in 06:59, more than 2 h before 09:00"),
        (["06:41", "18:00"], ["CLOCK_IN_TOO_EARLY"], "Clock-in 06:41, more than 2 h before 09:00"),
        (["11:00:00", "18:00"], [], ""),
        (["11:00:01", "18:00"], ["CLOCK_IN_TOO_LATE"], "Clock-in 11:00:01, more than 2 h after 09:00"),
        (["09:00", "16:00:00"], [], ""),
        (["09:00", "15:59:59"], ["CLOCK_OUT_TOO_EARLY"], "Clock-out 15:59, more than 2 h before 18:00"),
        (["09:00", "21:00:00"], [], ""),
        (["09:00", "21:00:30"], ["CLOCK_OUT_TOO_LATE"], "Clock-out 21:00:30, more than 3 h after 18:00"),
        (["09:00"], ["MISSING_CLOCK_OUT"], "No clock-out after the punch at 09:00"),
        (["09:00:00", "09:00:59"], ["MISSING_CLOCK_OUT"], "No clock-out after the punch at 09:00"),
        (
            ["05:00", "23:30"],
            ["CLOCK_IN_TOO_EARLY", "CLOCK_OUT_TOO_LATE"],
            "Clock-in 05:00, more than 2 h before 09:00; Clock-out 23:30, more than 3 h after 18:00",
        ),
        (
            ["12:00"],
            ["CLOCK_IN_TOO_LATE", "MISSING_CLOCK_OUT"],
            "Clock-in 12:00, more than 2 h after 09:00; No clock-out after the punch at 12:00",
        ),
    ],
)
def test_bounds_are_exclusive_to_the_second_and_the_reason_is_a_sentence(
    times: list[str], codes: list[str], reason: str
) -> None:
    day, _ = day_of(*times)
    assert (list(day.codes), day.reason) == (codes, reason)


@pytest.mark.parametrize(
    ("times", "late", "early"),
    [
        (["09:00:59", "18:00"], 0, 0),
        (["09:05:59", "17:55:00"], 0, 0),  # within both graces
        (["09:06:00", "17:54:59"], 6, 6),  # from the start and the end, not from the graces
        (["11:20", "12:00"], 140, 360),
        (["08:00", "19:00"], 0, 0),
        (["09:30"], 30, None),
    ],
)
def test_late_and_early_minutes_count_from_the_hours_beyond_the_grace(
    times: list[str], late: int, early: int | None
) -> None:
    day, _ = day_of(*times, shift=PlainShift("office", late_grace=5, early_grace=5))
    assert (day.late_minutes, day.early_leave_minutes) == (late, early)


@pytest.mark.parametrize(
    ("left", "status"),
    [("10:59", "absent"), ("11:00", "half_day"), ("13:59", "half_day"), ("14:00", "present"), (None, "present")],
)
def test_the_status_is_by_worked_minutes_and_a_day_without_clock_out_is_present(left: str | None, status: str) -> None:
    shift = PlainShift("office", absent_below=120, half_day_below=300)
    assert day_of("09:00", *([left] if left else []), shift=shift)[0].status == status


def test_on_a_day_off_nobody_is_late_and_the_status_says_that_they_came() -> None:
    day, _ = day_of("11:00", "12:00", shift=PlainShift("weekend", weekdays=(5, 6), half_day_below=300))
    assert (day.late_minutes, day.early_leave_minutes, day.status) == (0, 0, "worked_on_day_off")


@pytest.mark.parametrize(
    ("bound", "bound_text"),
    [(0, "0 h"), (0.5, "30 min"), (1, "1 h"), (1.5, "1 h 30 min"), (2.25, "2 h 15 min")],
)
def test_a_bound_is_worded_in_hours_and_minutes(bound: float, bound_text: str) -> None:
    day, _ = day_of("05:30", "18:00", shift=PlainShift(bounds=(timedelta(hours=bound), *PlainShift().bounds[1:])))
    assert day.reason == f"Clock-in 05:30, more than {bound_text} before 09:00"


def test_an_overnight_shift_is_one_day_with_bounds_on_both_sides_of_midnight() -> None:
    day, _ = day_of("22:00", "+06:00", shift=NIGHT)
    assert (day.work_date, day.worked_minutes, day.codes) == (MONDAY, 480, ())
    assert day_of("+00:00:00", "+04:00", shift=NIGHT)[0].codes == ()
    assert day_of("+00:00:01", "+03:59:59", shift=NIGHT)[0].codes == ("CLOCK_IN_TOO_LATE", "CLOCK_OUT_TOO_EARLY")
    assert day_of("19:59:59", "+09:00:01", shift=NIGHT)[0].codes == ("CLOCK_IN_TOO_EARLY", "CLOCK_OUT_TOO_LATE")


def test_a_shift_that_begins_after_midnight_belongs_to_the_work_date_before() -> None:
    early = PlainShift(start=time(2), end=time(10), workday_starts_at=time(16))
    day, _ = day_of("+02:00", "+10:00", shift=early)
    assert (day.work_date, day.codes) == (MONDAY, ())


def test_nothing_is_missing_and_nobody_left_too_early_before_the_work_date_is_over() -> None:
    for times, code in ((["09:00"], "MISSING_CLOCK_OUT"), (["09:00", "12:00"], "CLOCK_OUT_TOO_EARLY")):
        midnight = datetime(2026, 3, 3, 5, tzinfo=UTC)  # in New York
        before, evaluated = day_of(*times, now=midnight - timedelta(seconds=1), zone="America/New_York")
        assert (before.codes, evaluated.reprocess_after) == ((), {MONDAY: midnight})
        after, evaluated = day_of(*times, now=midnight, zone="America/New_York")
        assert (after.codes, evaluated.reprocess_after) == ((code,), {})


def test_other_outliers_are_told_at_once() -> None:
    early, evaluated = day_of("05:00", "18:30", now=datetime(2026, 3, 2, 19, tzinfo=UTC))
    assert (early.codes, evaluated.reprocess_after) == (("CLOCK_IN_TOO_EARLY",), {})


@pytest.mark.parametrize(("day", "minutes"), [(date(2026, 3, 29), 420), (date(2026, 10, 25), 540)])
def test_durations_and_bounds_are_true_time_across_a_clock_change(day: date, minutes: int) -> None:
    company = PlainCompany(settings=PlainShift(start=time(1), end=time(9)))
    gate = PlainGate("Gate", "Europe/Berlin", "HQ")
    punches = [PlainPunch(gate, "1001", datetime.combine(day, time(hour))) for hour in (1, 9)]
    (made,) = as_days(evaluate_days(summaries(company, punches), rules_of(company), LONG_AFTER))
    assert (made.worked_minutes, made.codes) == (minutes, ())


def test_evaluated_days_are_freed_without_a_garbage_collection() -> None:
    frame = summaries(
        PlainCompany(), [PlainPunch(PlainGate("Gate", "UTC", "HQ"), "1", datetime.fromisoformat("2026-03-02 09:00"))]
    )
    evaluated = evaluate_days(frame, WorkRules(), LONG_AFTER)
    columns = weakref.ref(evaluated.days)
    gc.disable()
    try:
        del evaluated
        assert columns() is None
    finally:
        gc.enable()


def test_every_code_of_the_contract_has_words_for_people() -> None:
    assert [code.value for code in OutlierCode] == [
        "CLOCK_IN_TOO_EARLY",
        "CLOCK_IN_TOO_LATE",
        "CLOCK_OUT_TOO_EARLY",
        "CLOCK_OUT_TOO_LATE",
        "MISSING_CLOCK_OUT",
    ]
    assert len({code.explanation for code in OutlierCode}) == 5
    assert OutlierCode.MISSING_CLOCK_OUT == "MISSING_CLOCK_OUT"


def test_no_summaries_make_no_days() -> None:
    evaluated = evaluate_days(summaries(PlainCompany(), []), WorkRules(), LONG_AFTER)
    assert evaluated.days.empty
    assert evaluated.reprocess_after == {}
    assert set(evaluated.days.columns) >= set(DAYS.columns)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda frame: frame.drop(columns="timezone"),
        lambda frame: frame.assign(extra=1),
        lambda frame: frame.assign(first_punch=frame["first_punch"].dt.tz_localize(None)),
        lambda frame: frame.assign(punch_count=np.array([0], "int32")),
        lambda frame: pd.concat([frame, frame]),
    ],
)
def test_a_frame_that_is_not_as_declared_is_refused(
    spoil: Callable[[pd.DataFrame], pd.DataFrame],
) -> None:
    punch = PlainPunch(PlainGate("Gate", "UTC", "HQ"), "1001", datetime.combine(MONDAY, time(9)))
    frame = summaries(PlainCompany(), [punch])
    assert SUMMARIES.validate(frame) is not None
    with pytest.raises((pandera.errors.SchemaError, pandera.errors.SchemaErrors)):
        evaluate_days(spoil(frame), WorkRules(), LONG_AFTER)
