"""Declarative plan of shifts, assignments, seasons and holidays; applied in one transaction, idempotent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from zk_pipeline.attendance.assignment_changes import check_overlaps
from zk_pipeline.attendance.shifts import Assignment, Holiday, Season, Shift
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.shifts.holiday_sources import forget_sources
from zk_pipeline.store.shifts.holidays import drop_holidays, put_holidays, read_holidays
from zk_pipeline.store.shifts.seasons import drop_seasons, put_seasons
from zk_pipeline.store.shifts.shifts import check_alternatives, drop_assignments, drop_shift, put_assignments, put_shift
from zk_pipeline.store.work_dates.roster import read_assignments, read_seasons, read_shifts
from zk_pipeline.store.work_dates.shift_changes import changing_shifts


@dataclass(frozen=True)
class ShiftPlan:
    """The declared state."""

    shifts: tuple[Shift, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    holidays: tuple[Holiday, ...] = ()
    seasons: tuple[Season, ...] = ()


@dataclass(frozen=True)
class PlanApplied:
    """Changes of an applied plan, as texts; `unchanged` counts entries that were equal already."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: int


def apply_plan(
    database: Database, clock: Callable[[], datetime], plan: ShiftPlan, *, prune: bool = False
) -> PlanApplied:
    """Apply the declared shifts and holidays, exactly the declared assignments of each target, and exactly the declared
    seasons of each shift.

    Entries that the plan does not name stay, or are removed with `prune`. Raises UsageError, with nothing changed.
    """
    check_overlaps(plan.assignments)
    with database.write("apply a plan of shifts") as connection:
        todo = _compare(connection, plan, prune=prune)
        forget_sources(connection, [(one.day, one.site) for one in plan.holidays])  # now declared in the file
        if not todo.differs:
            return PlanApplied([], [], [], todo.kept)
        with changing_shifts(connection):
            now = clock()
            for shift in todo.shifts:
                put_shift(connection, shift, now)
            drop_assignments(connection, todo.unassigned)
            put_assignments(connection, todo.assigned, now)
            drop_seasons(connection, todo.ended)
            put_seasons(connection, todo.seasons, now)
            put = put_holidays(connection, todo.holidays, now)
            drop_holidays(connection, todo.unholy)
            for name in todo.dropped:
                drop_shift(connection, name)
            check_alternatives(connection)
    return PlanApplied(
        added=[f"shift {one.name}" for one in todo.shifts if one.name not in todo.known]
        + [_assignment(one) for one in todo.assigned]
        + [f"season {one}" for one in todo.seasons]
        + [_holiday(one) for one in put.added],
        changed=[f"shift {one.name}" for one in todo.shifts if one.name in todo.known]
        + [_holiday(one) for one in put.changed],
        removed=[f"shift {name}" for name in todo.dropped]
        + [_assignment(one) for one in todo.unassigned]
        + [f"season {one}" for one in todo.ended]
        + [_holiday(one) for one in todo.unholy],
        unchanged=todo.kept,
    )


@dataclass(frozen=True)
class _Changes:
    """Pending changes; `kept`: number of entries that are equal already."""

    known: frozenset[str]
    shifts: list[Shift]
    dropped: list[str]
    assigned: list[Assignment]
    unassigned: list[Assignment]
    seasons: list[Season]
    ended: list[Season]
    holidays: list[Holiday]
    unholy: list[Holiday]
    kept: int

    @property
    def differs(self) -> bool:
        lists = (self.shifts, self.dropped, self.assigned, self.unassigned, self.seasons, self.ended)
        return any((*lists, self.holidays, self.unholy))


def _compare(connection: Connection, plan: ShiftPlan, *, prune: bool) -> _Changes:
    known = read_shifts(connection)
    held = {replace(one, id=None): one for one in read_assignments(connection)}
    seasons = {replace(one, id=None): one for one in read_seasons(connection)}
    declared_seasons = {replace(one, id=None) for one in plan.seasons}
    seasonal = {one.shift for one in plan.seasons}
    holidays = {(one.day, one.site): one for one in read_holidays(connection)}
    wanted = [replace(one, id=None) for one in plan.assignments]
    declared = set(wanted)
    targets, named = {one.target for one in wanted}, {(one.day, one.site) for one in plan.holidays}
    todo = _Changes(
        known=frozenset(known),
        shifts=[one for one in plan.shifts if known.get(one.name) != one],
        dropped=[name for name in known if prune and name not in {one.name for one in plan.shifts}],
        assigned=[one for one in wanted if one not in held],
        unassigned=[one for bare, one in held.items() if bare not in declared and (prune or one.target in targets)],
        seasons=[one for one in plan.seasons if one not in seasons],
        ended=[
            one for bare, one in seasons.items() if bare not in declared_seasons and (prune or one.shift in seasonal)
        ],
        holidays=[one for one in plan.holidays if holidays.get((one.day, one.site)) != one],
        unholy=[one for key, one in holidays.items() if prune and key not in named],
        kept=0,
    )
    total = len(plan.shifts) + len(wanted) + len(plan.seasons) + len(plan.holidays)
    return replace(todo, kept=total - len(todo.shifts) - len(todo.assigned) - len(todo.seasons) - len(todo.holidays))


def _assignment(one: Assignment) -> str:
    return f"{one.shift} for {one.target} from {one.span}"


def _holiday(one: Holiday) -> str:
    return f"holiday {one.day} {one.name}" + ("" if one.site is None else f" at {one.site}")
