"""Shifts and who has them: rows of `shifts` and `shift_assignments`. What they mean is `attendance.shifts`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from zk_pipeline.attendance.shifts import BOUNDS, Assignment, Shift, Target, check_overlaps
from zk_pipeline.errors import UsageError
from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.regroup import Scope, regrouping
from zk_pipeline.store.roster import read_assignments, read_shifts


@dataclass(frozen=True)
class ShiftStore:
    """Every change makes exactly the work dates stale on which a row is placed or judged differently by it."""

    database: Database
    clock: Callable[[], datetime]

    def all(self) -> list[Shift]:
        """All shifts by name."""
        with self.database.read("list shifts") as connection:
            return list(read_shifts(connection).values())

    def get(self, name: str) -> Shift:
        """Raises UsageError for an unknown one."""
        with self.database.read("look for a shift") as connection:
            return _known(connection, name)

    def assignments(self) -> list[Assignment]:
        """All assignments, by target and time."""
        with self.database.read("list shift assignments") as connection:
            return read_assignments(connection)

    def add(self, shift: Shift) -> Shift:
        """Make a shift. Raises UsageError where the name is taken."""
        with self.database.write(f"add shift {shift.name}") as connection:
            if shift.name in read_shifts(connection):
                raise UsageError(f"shift {shift.name!r} exists already: change it with `shift update`")
            put_shift(connection, shift, self.clock())
        return shift

    def update(self, shift: Shift) -> Shift:
        """Make the shift of that name as given. Raises UsageError for an unknown one."""
        with self.database.write(f"update shift {shift.name}") as connection:
            _known(connection, shift.name)
            put_shift(connection, shift, self.clock())
        return shift

    def remove(self, name: str) -> None:
        """Raises UsageError for an unknown shift and for one that somebody has, at whatever time."""
        with self.database.write(f"remove shift {name}") as connection:
            drop_shift(connection, name)

    def assign(self, assignment: Assignment) -> Assignment:
        """Give a shift to a target; returns it with its id.

        Raises UsageError for an unknown shift, device or site, and where it overlaps one of the same target.
        """
        with self.database.write(f"assign shift {assignment.shift}") as connection:
            return put_assignment(connection, assignment, self.clock())

    def unassign(self, assignment_id: int) -> Assignment:
        """Take an assignment back; returns it. Raises UsageError for an unknown one."""
        with self.database.write("remove a shift assignment") as connection:
            return drop_assignment(connection, assignment_id)


def put_shift(connection: Connection, shift: Shift, now: datetime) -> None:
    """Make the shift of that name as given, whether there is one or not."""
    held = [one for one in read_assignments(connection) if one.shift == shift.name]
    made = connection.execute("SELECT created_at FROM shifts WHERE name = ?", [shift.name]).fetchone()
    with regrouping(connection, _scope(held)):
        connection.execute("DELETE FROM shifts WHERE name = ?", [shift.name])
        connection.execute(
            f"""
            INSERT INTO shifts (name, start_time, end_time, weekdays, workday_starts_at, {", ".join(BOUNDS)},
                                created_at, updated_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """,  # noqa: S608 (column names of ours)
            [
                shift.name, shift.start, shift.end, " ".join(shift.weekdays), shift.workday_starts_at,
                *(getattr(shift, bound) for bound in BOUNDS), made[0] if made else now, now,
            ],
        )  # fmt: skip


def drop_shift(connection: Connection, name: str) -> None:
    _known(connection, name)
    held = [one for one in read_assignments(connection) if one.shift == name]
    if held:
        raise UsageError(f"shift {name!r} is assigned to {held[0].target} (assignment {held[0].id}): unassign it first")
    connection.execute("DELETE FROM shifts WHERE name = ?", [name])


def put_assignment(connection: Connection, assignment: Assignment, now: datetime) -> Assignment:
    """Store a new assignment; returns it with its id. Raises UsageError as `ShiftStore.assign`."""
    _known(connection, assignment.shift)
    _check_target(connection, assignment.target)
    check_overlaps([*read_assignments(connection), assignment])
    target = assignment.target
    with regrouping(connection, scope_of(connection, [assignment])):
        row = connection.execute(
            """
            INSERT INTO shift_assignments
            SELECT coalesce(max(id), 0) + 1, ?, ?, ?, ?, ?, ?, ? FROM shift_assignments RETURNING id
            """,
            [
                assignment.shift, target.user_id, target.site, target.device,
                assignment.valid_from, assignment.valid_to, now,
            ],
        ).fetchall()  # fmt: skip
    return replace(assignment, id=row[0][0])


def drop_assignment(connection: Connection, assignment_id: int) -> Assignment:
    for one in read_assignments(connection):
        if one.id == assignment_id:
            with regrouping(connection, scope_of(connection, [one])):
                connection.execute("DELETE FROM shift_assignments WHERE id = ?", [assignment_id])
            return one
    raise UsageError(f"there is no shift assignment {assignment_id}; `zk-pipeline shift list` shows them")


def scope_of(connection: Connection, assignments: Sequence[Assignment]) -> Scope | None:
    """The rows that assignments can touch: of one person or site where they are all of it."""
    scope = _scope(assignments)
    if scope is None:
        return None
    targets = {one.target for one in assignments}
    if len(targets) > 1:
        return scope
    target = targets.pop()
    if target.device is not None:
        site = connection.execute("SELECT site FROM devices WHERE name = ?", [target.device]).fetchone()
        return replace(scope, sites=(site[0] if site else target.device,))
    return replace(scope, user_id=target.user_id, sites=None if target.site is None else (target.site,))


def _scope(assignments: Iterable[Assignment]) -> Scope | None:
    held = list(assignments)
    if not held:
        return None
    return Scope(
        first=None if any(one.valid_from is None for one in held) else min(_dates(one.valid_from for one in held)),
        last=None if any(one.valid_to is None for one in held) else max(_dates(one.valid_to for one in held)),
    )


def _dates(dates: Iterable[date | None]) -> list[date]:
    return [one for one in dates if one is not None]


def _known(connection: Connection, name: str) -> Shift:
    shifts = read_shifts(connection)
    if name not in shifts:
        raise UsageError(f"no shift {name!r}; there are: {', '.join(shifts) or 'none'}")
    return shifts[name]


def _check_target(connection: Connection, target: Target) -> None:
    """A device or site that does not exist is a slip of the pen; a person may come later."""
    for what, wanted in (("name", target.device), ("site", target.site)):
        if wanted is not None:
            known = connection.execute(f"SELECT DISTINCT {what} FROM devices ORDER BY 1").fetchall()  # noqa: S608
            if wanted not in [row[0] for row in known]:
                kind = "device" if what == "name" else "site"
                raise UsageError(f"no {kind} {wanted!r}; there are: {', '.join(row[0] for row in known) or 'none'}")
