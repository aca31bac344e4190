"""Punch summaries of a company in plain Python, as the store computes them, and attendance days in the plain form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, time
from typing import Any

import pandas as pd

from zk_pipeline.attendance.evaluate import EvaluatedDays
from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import WEEKDAYS, Shift
from zk_pipeline_tests.attendance.plain_company import (
    ONE_DAY,
    PlainCompany,
    PlainDay,
    PlainPunch,
    PlainShift,
    begins,
    by_day,
    count_of,
    holiday_of,
    is_trusted,
    pairs_by_alternation,
    pairs_by_states,
    shift_of,
)

BOUNDS = ("early_clock_in", "late_clock_in", "early_clock_out", "late_clock_out")


def summaries(company: PlainCompany, punches: Iterable[PlainPunch]) -> pd.DataFrame:
    """Frame with the schema `frames.SUMMARIES`, including optional columns."""
    rows = [_summary(company, *key, punches=of_day) for key, of_day in by_day(company, punches).items()]
    types = {"first_punch": "datetime64[us, UTC]", "last_punch": "datetime64[us, UTC]"}
    types |= dict.fromkeys(["work_date", "first_punch_local", "last_punch_local"], "datetime64[us]")
    types |= dict.fromkeys(["punch_count", "begins", "next_begins"], "int32")
    return pd.DataFrame(rows, columns=_COLUMNS, dtype=object).astype(types | {"is_trusted": "bool"})


_COLUMNS = [
    "site", "user_id", "work_date", "device", "timezone", "first_punch", "last_punch", "first_punch_local",
    "last_punch_local", "punch_count", "shift", "begins", "next_begins", "holiday", "spans", "is_trusted",
]  # fmt: skip


def _summary(company: PlainCompany, site: str, user: str, day: date, *, punches: list[PlainPunch]) -> tuple[Any, ...]:
    first, last = punches[0], punches[-1]
    who = (site, user, first.gate.name)
    by = pairs_by_states if is_trusted(punches) else pairs_by_alternation
    pairs = by(company, punches)
    return (
        site, user, day, first.gate.name, first.gate.zone, first.instant, last.instant, first.local, last.local,
        count_of(company, punches), shift_of(company, *who, day).name, _minutes(begins(company, *who, day)),
        _minutes(begins(company, *who, day + ONE_DAY)), holiday_of(company, site, day),
        None if pairs is None else [int(at.timestamp()) * 1_000_000 for pair in pairs for at in pair],
        is_trusted(punches),
    )  # fmt: skip


def _minutes(at: time) -> int:
    return at.hour * 60 + at.minute


def dated_rules_of(company: PlainCompany) -> list[tuple[date, WorkRules]]:
    """Rules of the settings with the work dates from which they apply."""
    firsts = [date.min, *(until for until, _ in company.former)]
    hours = [*(former for _, former in company.former), company.settings]
    return [(first, rules_of(company, one)) for first, one in zip(firsts, hours, strict=True)]


def rules_of(company: PlainCompany, hours: PlainShift | None = None) -> WorkRules:
    hours = hours or company.settings
    rules = WorkRules(
        start=hours.start,
        end=hours.end,
        workday_starts_at=company.settings.workday_starts_at or time(0),
        debounce_seconds=int(company.debounce.total_seconds()),
    )
    bounds: dict[str, Any] = dict(zip(BOUNDS, hours.bounds, strict=True))
    return replace(rules, **bounds)


def shifts_of(company: PlainCompany) -> dict[str, Shift]:
    used = {*(one.shift for one in company.assignments), *(one.use for one in company.seasons)}
    return {str(one.name): shift_from(one) for shift in used for one in (*shift.alternatives, shift)}


def shift_from(one: PlainShift) -> Shift:
    hours: dict[str, Any] = {
        f"{what}_hours": bound.total_seconds() / 3600 for what, bound in zip(BOUNDS, one.bounds, strict=True)
    }
    return Shift(
        name=str(one.name),
        start=one.start,
        end=one.end,
        weekdays=tuple(WEEKDAYS[number] for number in one.weekdays),
        workday_starts_at=one.workday_starts_at,
        late_grace_minutes=one.late_grace,
        early_leave_grace_minutes=one.early_grace,
        half_day_below_minutes=one.half_day_below,
        absent_below_minutes=one.absent_below,
        **texts_of(one),
        **hours,
    )


def texts_of(one: PlainShift) -> dict[str, Any]:
    """The rules of a shift as its text fields."""
    lengths = [f"{minutes} min after {more_than} min" for more_than, minutes in one.automatic]
    breaks = [*map(_hours, one.unpaid), *(f"{_hours(window)} paid" for window in one.paid), *lengths]
    breaks += [f"{_hours(window)} split" for window in one.pauses] + ["punches"] * one.breaks_from_punches
    daily, weekly = one.daily_overtime_after, one.weekly_overtime_after
    overtime = [] if daily is None else [f"after {daily} min a day"]
    overtime += [] if weekly is None else [f"after {weekly} min a week"]
    overtime += ["before shift"] * one.overtime_before + ["after shift"] * one.overtime_after
    if overtime:
        overtime += [f"at least {one.overtime_at_least} min", f"in steps of {one.overtime_step} min"]
    rounding = [] if one.round_punches is None else ["punches {} {} min".format(*one.round_punches)]
    rounding += [] if one.round_day is None else ["day {} {} min".format(*one.round_day)]
    return {
        "breaks": ", ".join(breaks),
        "overtime": ", ".join(overtime),
        "night_hours": _hours(one.night) if one.night else "",
        "rounding": ", ".join(rounding),
        "core_time": _hours(one.core) if one.core else "",
        "alternatives": ", ".join(str(other.name) for other in one.alternatives),
    }


def _hours(window: tuple[time, time]) -> str:
    return f"{window[0]:%H:%M}-{window[1]:%H:%M}"


def as_days(judged: EvaluatedDays) -> list[PlainDay]:
    frame = judged.days
    for name in (
        "shift", "shift_start", "shift_end", "day_off", "worked_minutes_source", "break_source", "overtime_class",
        "weekly_overtime_after_minutes",
    ):  # fmt: skip
        if name not in frame:
            frame = frame.assign(**{name: None})
    found = []
    for row in frame.itertuples():
        one: Any = row
        given: list[Any] = [
            one.site, one.user_id, one.work_date.date(), one.device, one.timezone, one.clock_in.to_pydatetime(),
            _moment(one.clock_out), one.clock_in_local.to_pydatetime(), _moment(one.clock_out_local), one.punch_count,
            None if pd.isna(one.worked_minutes) else int(one.worked_minutes), tuple(one.outlier_codes),
            one.outlier_reason, *(_said(value) for value in (one.shift, one.shift_start, one.shift_end)),
            _said(one.day_off), _said(one.worked_minutes_source), one.late_minutes,
            None if pd.isna(one.early_leave_minutes) else int(one.early_leave_minutes), one.attendance_status,
            one.judged_by, _whole(one.break_minutes), _said(one.break_source), _whole(one.overtime_minutes),
            _said(one.overtime_class), _whole(one.night_minutes), _whole(one.weekly_overtime_after_minutes),
        ]  # fmt: skip
        found.append(PlainDay(*given))
    return sorted(found)


def _whole(value: Any) -> Any:
    return None if pd.isna(value) else int(value)


def _moment(value: Any) -> Any:
    return None if pd.isna(value) else value.to_pydatetime()


def _said(value: Any) -> Any:
    return None if pd.isna(value) else value
