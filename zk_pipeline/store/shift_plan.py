"""A declared plan of shifts, assignments and holidays made true in one transaction; doing it twice changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from zk_pipeline.attendance.shifts import Assignment, Holiday, Shift, check_overlaps
from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.holidays import drop_holidays, put_holidays, read_holidays
from zk_pipeline.store.roster import read_assignments, read_shifts
from zk_pipeline.store.shifts import drop_assignment, drop_shift, put_assignment, put_shift


@dataclass(frozen=True)
class ShiftPlan:
    """What is wanted."""

    shifts: tuple[Shift, ...] = ()
    assignments: tuple[Assignment, ...] = ()
    holidays: tuple[Holiday, ...] = ()


@dataclass(frozen=True)
class PlanApplied:
    """What applying a plan changed, each in words; `unchanged` counts what was so already."""

    added: list[str]
    changed: list[str]
    removed: list[str]
    unchanged: int


def apply_plan(
    database: Database, clock: Callable[[], datetime], plan: ShiftPlan, *, prune: bool = False
) -> PlanApplied:
    """Shifts and holidays become as declared, targets have exactly the assignments declared for them.

    What the plan does not name stays, or goes with `prune`. Raises UsageError, and then nothing has changed.
    """
    check_overlaps(plan.assignments)
    added: list[str] = []
    changed: list[str] = []
    removed: list[str] = []
    with database.write("apply a plan of shifts") as connection:
        now = clock()
        unchanged = _shifts(connection, plan, now, added, changed)
        unchanged += _assignments(connection, plan, now, prune, added, removed)
        put = put_holidays(connection, list(plan.holidays), now)
        added += [_holiday(one) for one in put.added]
        changed += [_holiday(one) for one in put.renamed]
        if prune:
            named = {(one.day, one.site) for one in plan.holidays}
            surplus = [one for one in read_holidays(connection) if (one.day, one.site) not in named]
            drop_holidays(connection, surplus)
            names = [name for name in read_shifts(connection) if name not in {one.name for one in plan.shifts}]
            for name in names:
                drop_shift(connection, name)
            removed += [*(_holiday(one) for one in surplus), *(f"shift {name}" for name in names)]
    return PlanApplied(added, changed, removed, unchanged + len(put.unchanged))


def _shifts(connection: Connection, plan: ShiftPlan, now: datetime, added: list[str], changed: list[str]) -> int:
    known = read_shifts(connection)
    for shift in plan.shifts:
        if known.get(shift.name) != shift:
            put_shift(connection, shift, now)
            (changed if shift.name in known else added).append(f"shift {shift.name}")
    return sum(known.get(shift.name) == shift for shift in plan.shifts)


def _assignments(
    connection: Connection, plan: ShiftPlan, now: datetime, prune: bool, added: list[str], removed: list[str]
) -> int:
    wanted = [replace(one, id=None) for one in plan.assignments]
    targets = {one.target for one in wanted}
    kept = 0
    for held in read_assignments(connection):
        if replace(held, id=None) in wanted:
            wanted.remove(replace(held, id=None))
            kept += 1
        elif prune or held.target in targets:
            assert held.id is not None
            drop_assignment(connection, held.id)
            removed.append(_assignment(held))
    for one in wanted:
        put_assignment(connection, one, now)
        added.append(_assignment(one))
    return kept


def _assignment(one: Assignment) -> str:
    return f"{one.shift} for {one.target} from {one.span}"


def _holiday(one: Holiday) -> str:
    return f"holiday {one.day} {one.name}" + ("" if one.site is None else f" at {one.site}")
