"""Shifts, their assignments and seasons. `attendance.shifts` defines their effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from zk_pipeline.attendance.assignment_changes import (
    AssignmentChanges,
    AssignmentsRefused,
    change_assignments,
    check_overlaps,
)
from zk_pipeline.attendance.shifts import SHIFT_RULES, Assignment, Season, Shift
from zk_pipeline.data_libraries import pa
from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.enrolled_users import names_as_ids
from zk_pipeline.store.shifts.seasons import drop_seasons, put_seasons
from zk_pipeline.store.work_dates.roster import read_assignments, read_seasons, read_shifts
from zk_pipeline.store.work_dates.shift_changes import changing_shifts


@dataclass(frozen=True)
class ShiftStore:
    """Repository of shifts. A change makes exactly the work dates stale whose rows it affects."""

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
        """Add a shift. Raises UsageError if the name exists."""
        with self.database.write("add a shift", shift.name) as connection:
            if shift.name in read_shifts(connection):
                raise UsageError(f"shift {shift.name!r} exists already: change it with `shift update`")
            put_shift(connection, shift, self.clock())
            check_alternatives(connection)
        return shift

    def update(self, shift: Shift) -> Shift:
        """Update the shift with that name. Raises UsageError for an unknown one."""
        with self.database.write("update a shift", shift.name) as connection:
            _known(connection, shift.name)
            put_shift(connection, shift, self.clock())
            check_alternatives(connection)
        return shift

    def remove(self, name: str) -> None:
        """Remove a shift. Raises UsageError for an unknown shift and for one with an assignment, also in the past."""
        with self.database.write("remove a shift", name) as connection:
            drop_shift(connection, name)
            check_alternatives(connection)

    def assign(self, assignment: Assignment) -> Assignment:
        """Assign a shift to a target; returns the assignment with its id.

        Raises UsageError for an unknown shift, device or site, and for an overlap with one of the same target.
        """
        with self.database.write("assign a shift", assignment.shift) as connection:
            return put_assignments(connection, [assignment], self.clock())[0]

    def assign_all(
        self, assignments: Sequence[Assignment], *, replace_overlaps: bool = False, dry_run: bool = False
    ) -> AssignmentChanges:
        """Store assignments, all or none; those that are stored already are unchanged, so that it can be repeated.

        With `replace_overlaps`, the targets' other assignments are cut to the dates that no new one has. `dry_run`
        returns the changes only. Raises AssignmentsRefused for overlaps, unknown shifts, devices and sites.
        """
        purpose = self.database.read if dry_run else self.database.write
        with purpose("assign shifts", f"{len(assignments)} of them") as connection:
            problems = dict(_unknown_names(connection, assignments))
            if problems:
                raise AssignmentsRefused(problems)
            held = read_assignments(connection, {one.target for one in assignments})
            changes = change_assignments(held, assignments, replace_overlaps=replace_overlaps)
            if dry_run or not (changes.added or changes.removed):
                return changes
            with changing_shifts(connection):
                drop_assignments(connection, changes.removed)
                added = _insert_assignments(connection, changes.added, self.clock())
        return AssignmentChanges(added, changes.removed, changes.unchanged)

    def unassign(self, assignment_id: int) -> Assignment:
        """Remove an assignment; returns it. Raises UsageError for an unknown one."""
        with self.database.write("remove a shift assignment") as connection:
            for one in read_assignments(connection):
                if one.id == assignment_id:
                    drop_assignments(connection, [one])
                    return one
        raise UsageError(f"there is no shift assignment {assignment_id}; `zk-pipeline shift list` shows them")

    def seasons(self) -> list[Season]:
        """All seasons, by shift and time."""
        with self.database.read("list seasons") as connection:
            return read_seasons(connection)

    def add_season(self, season: Season) -> Season:
        """Add a season; returns it with its id. Raises UsageError for an unknown shift, and an overlap with one of the
        same shift.
        """
        with self.database.write("add a season", season.shift) as connection:
            return put_seasons(connection, [season], self.clock())[0]

    def remove_season(self, season_id: int) -> Season:
        """Remove a season; returns it. Raises UsageError for an unknown one."""
        with self.database.write("remove a season") as connection:
            for one in read_seasons(connection):
                if one.id == season_id:
                    drop_seasons(connection, [one])
                    return one
        raise UsageError(f"there is no season {season_id}; `zk-pipeline shift season list` shows them")


def put_shift(connection: Connection, shift: Shift, now: datetime) -> None:
    """Insert or update a shift. The caller checks the alternatives."""
    made = connection.execute("SELECT created_at FROM shifts WHERE name = ?", [shift.name]).fetchone()
    with changing_shifts(connection):
        connection.execute("DELETE FROM shifts WHERE name = ?", [shift.name])
        connection.execute(
            f"""
            INSERT INTO shifts (name, start_time, end_time, weekdays, workday_starts_at, created_at, updated_at,
                                {", ".join(SHIFT_RULES)})
            VALUES (?, ?, ?, ?, ?, ?, ?, {", ".join("?" * len(SHIFT_RULES))})
            """,  # noqa: S608 (constant names)
            [
                shift.name, shift.start, shift.end, " ".join(shift.weekdays), shift.workday_starts_at,
                made[0] if made else now, now, *(getattr(shift, name) for name in SHIFT_RULES),
            ],
        )  # fmt: skip


def drop_shift(connection: Connection, name: str) -> None:
    _known(connection, name)
    held = [one for one in read_assignments(connection) if one.shift == name]
    if held:
        raise UsageError(f"shift {name!r} is assigned to {held[0].target} (assignment {held[0].id}): unassign it first")
    for season in read_seasons(connection):
        if name in (season.shift, season.use):
            raise UsageError(f"shift {name!r} has a season ({season.id}: {season}): remove it first")
    connection.execute("DELETE FROM shifts WHERE name = ?", [name])


def check_alternatives(connection: Connection) -> None:
    """Raise UsageError if a shift has an alternative that does not exist."""
    known = read_shifts(connection)
    for shift in known.values():
        for name in shift.candidates:
            if name not in known:
                raise UsageError(f"shift {shift.name!r} needs its alternative {name!r}: there would be no such shift")


def put_assignments(connection: Connection, assignments: Sequence[Assignment], now: datetime) -> list[Assignment]:
    """Store new assignments; returns them with their ids. Raises UsageError as `ShiftStore.assign`."""
    for _, problem in _unknown_names(connection, assignments):
        raise UsageError(problem)
    check_overlaps([*read_assignments(connection, {one.target for one in assignments}), *assignments])
    return _insert_assignments(connection, assignments, now)


def _insert_assignments(connection: Connection, assignments: Sequence[Assignment], now: datetime) -> list[Assignment]:
    row = connection.execute("SELECT coalesce(max(id), 0) FROM shift_assignments").fetchone()
    assert row is not None
    made = [replace(one, id=row[0] + number) for number, one in enumerate(assignments, start=1)]
    texts = {
        "shift": [one.shift for one in made],
        "user_id": [one.target.user_id for one in made],
        "site": [one.target.site for one in made],
        "device": [one.target.device for one in made],
    }
    table = {"id": pa.array([one.id for one in made], pa.int64())}
    table |= {name: pa.array(values, pa.string()) for name, values in texts.items()}
    table |= {name: pa.array([getattr(one, name) for one in made], pa.date32()) for name in ("valid_from", "valid_to")}
    with changing_shifts(connection):
        connection.register("new_assignments", pa.table(table))
        connection.execute(
            "INSERT INTO shift_assignments BY NAME SELECT *, $now AS created_at FROM new_assignments", {"now": now}
        )
        connection.unregister("new_assignments")
    return made


def drop_assignments(connection: Connection, assignments: Sequence[Assignment]) -> None:
    with changing_shifts(connection):
        connection.execute(
            "DELETE FROM shift_assignments WHERE list_contains(?, id)", [[one.id for one in assignments]]
        )


def _known(connection: Connection, name: str) -> Shift:
    shifts = read_shifts(connection)
    if name not in shifts:
        raise UsageError(unknown_name("shift", name, shifts))
    return shifts[name]


def _unknown_names(connection: Connection, assignments: Sequence[Assignment]) -> Iterator[tuple[int, str]]:
    """Index and problem of each assignment with an unknown shift, device or site, or with a name as user id; an
    unknown user may be enrolled later.
    """
    devices = connection.execute("SELECT name, site FROM devices ORDER BY name").fetchall()
    known = {
        "shift": list(read_shifts(connection)),
        "device": [name for name, _ in devices],
        "site": sorted({site for _, site in devices}),
    }
    users = names_as_ids(connection, [one.target.user_id for one in assignments if one.target.user_id is not None])
    for index, one in enumerate(assignments):
        if one.target.user_id in users:
            yield index, users[one.target.user_id]
            continue
        for kind, name in (("shift", one.shift), ("device", one.target.device), ("site", one.target.site)):
            if name is not None and name not in known[kind]:
                yield index, unknown_name(kind, name, known[kind])
                break
