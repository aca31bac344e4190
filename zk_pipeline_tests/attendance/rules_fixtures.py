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
    shift_of,
    time_at_work,
)

BOUNDS = ("early_clock_in", "late_clock_in", "early_clock_out", "late_clock_out")


def summaries(company: PlainCompany, punches: Iterable[PlainPunch]) -> pd.DataFrame:
    """Frame with the schema `frames.SUMMARIES`, including optional columns."""
    rows = [_summary(company, *key, punches=of_day) for key, of_day in by_day(company, punches).items()]
    types = {"first_punch": "datetime64[us, UTC]", "last_punch": "datetime64[us, UTC]", "paired": "Int64"}
    types |= dict.fromkeys(["work_date", "first_punch_local", "last_punch_local"], "datetime64[us]")
    types |= dict.fromkeys(["punch_count", "begins", "next_begins"], "int32")
    return pd.DataFrame(rows, columns=_COLUMNS, dtype=object).astype(types | {"is_trusted": "bool"})


_COLUMNS = [
    "site", "user_id", "work_date", "device", "timezone", "first_punch", "last_punch", "first_punch_local",
    "last_punch_local", "punch_count", "shift", "begins", "next_begins", "holiday", "paired", "is_trusted",
]  # fmt: skip


def _summary(company: PlainCompany, site: str, user: str, day: date, *, punches: list[PlainPunch]) -> tuple[Any, ...]:
    first, last = punches[0], punches[-1]
    who = (site, user, first.gate.name)
    paired = time_at_work(company, punches) if is_trusted(punches) else None
    return (
        site, user, day, first.gate.name, first.gate.zone, first.instant, last.instant, first.local, last.local,
        count_of(company, punches), shift_of(company, *who, day).name, _minutes(begins(company, *who, day)),
        _minutes(begins(company, *who, day + ONE_DAY)), holiday_of(company, site, day),
        None if paired is None else int(paired.total_seconds()) * 1_000_000, is_trusted(punches),
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
    used = [*(one.shift for one in company.assignments), *(one.use for one in company.seasons)]
    return {str(one.name): shift_from(one) for one in used}


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
        **hours,
    )


def as_days(judged: EvaluatedDays) -> list[PlainDay]:
    frame = judged.days
    for name in ("shift", "shift_start", "shift_end", "day_off", "worked_minutes_source"):
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
            one.judged_by,
        ]  # fmt: skip
        found.append(PlainDay(*given))
    return sorted(found)


def _moment(value: Any) -> Any:
    return None if pd.isna(value) else value.to_pydatetime()


def _said(value: Any) -> Any:
    return None if pd.isna(value) else value
