"""Differences between consecutive revisions of an attendance day, as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zk_pipeline.store.queries.explanations import Revision
from zk_pipeline.web.formatting import duration
from zk_pipeline.web.template_filters import wall_clock


@dataclass(frozen=True)
class Change:
    """One changed field. `before` is None in the first revision."""

    what: str
    before: str | None
    after: str


def changes(revisions: Sequence[Revision]) -> list[list[Change]]:
    """Changes of each revision of one site, in order."""
    earlier: Sequence[Revision | None] = [None, *revisions][: len(revisions)]
    return [_between(before, after) for before, after in zip(earlier, revisions, strict=True)]


def _between(before: Revision | None, after: Revision) -> list[Change]:
    if after.is_retracted:
        return [
            Change(
                "the day", "present" if before is not None else None, "retracted: its punches now belong to other days"
            )
        ]
    if before is not None and before.is_retracted:
        return [Change("the day", "retracted", "present again"), *_changed_fields(None, after)]
    return _changed_fields(before, after)


def _changed_fields(before: Revision | None, after: Revision) -> list[Change]:
    found = []
    for what, text_of in _FIELDS.items():
        now, was = text_of(after), None if before is None else text_of(before)
        if now != was and (was is not None or now != NOTHING):
            found.append(Change(what, was, now))
    return found


NOTHING = "–"


def hours_of(one: Revision) -> str:
    """Hours that a revision was evaluated by."""
    if one.judged_by is not None:
        return one.judged_by
    if one.shift is None or one.shift_start is None or one.shift_end is None:
        return "hours of the settings"
    return f"{one.shift}, {one.shift_start:%H:%M}–{one.shift_end:%H:%M}"


def _minutes(minutes: int | None) -> str:
    return duration(minutes) if minutes else NOTHING


_FIELDS: dict[str, Callable[[Revision], str]] = {
    "device": lambda one: one.device,
    "clock-in": lambda one: wall_clock(one.clock_in_local),
    "clock-out": lambda one: wall_clock(one.clock_out_local),
    "punches": lambda one: str(one.punch_count),
    "worked": lambda one: duration(one.worked_minutes),
    "break": lambda one: _minutes(one.break_minutes),
    "overtime": lambda one: _minutes(one.overtime_minutes),
    "night hours": lambda one: _minutes(one.night_minutes),
    "hours": hours_of,
    "day off": lambda one: one.day_off or NOTHING,
    "late": lambda one: NOTHING if one.late_minutes is None else f"{one.late_minutes} min",
    "left early": lambda one: NOTHING if one.early_leave_minutes is None else f"{one.early_leave_minutes} min",
    "status": lambda one: (one.attendance_status or NOTHING).replace("_", " "),
    "outlier": lambda one: one.outlier_reason or NOTHING,
}
