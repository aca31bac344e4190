"""Shift assignments from a table (.csv, .xlsx): all of them, or none. Repeating it changes nothing."""

from __future__ import annotations

from pathlib import PurePath

from zk_pipeline.attendance.assignment_changes import AssignmentChanges, AssignmentsRefused
from zk_pipeline.attendance.shifts import Assignment, Target
from zk_pipeline.errors import RowsRefused, UsageError
from zk_pipeline.operations.files.table_reader import parse_date, read_table
from zk_pipeline.store.store import Store

REQUIRED, OPTIONAL = ("shift",), ("user_id", "site", "device", "from", "to")


def assign_from_table(
    store: Store, path: PurePath, content: bytes, *, replace_overlaps: bool = False, dry_run: bool = False
) -> AssignmentChanges:
    """Store the assignments of a file's `content`, as `ShiftStore.assign_all`.

    Raises UsageError naming each bad line, without any change.
    """
    assignments, problems = read_table(path, content, REQUIRED, OPTIONAL).build(_assignment)
    if not assignments and not problems:
        raise UsageError(f"{path}: the table has no assignment")
    if not problems:
        try:
            return store.shifts.assign_all(
                list(assignments.values()), replace_overlaps=replace_overlaps, dry_run=dry_run
            )
        except AssignmentsRefused as error:
            lines = list(assignments)
            problems = {lines[index]: text for index, text in error.problems.items()}
    raise RowsRefused(f"{path}: no shift was assigned", problems)


def _assignment(row: dict[str, str]) -> Assignment:
    if not row["shift"]:
        raise UsageError("the shift is missing")
    target = Target(user_id=row["user_id"] or None, site=row["site"] or None, device=row["device"] or None)
    return Assignment(
        shift=row["shift"], target=target, valid_from=parse_date(row["from"]), valid_to=parse_date(row["to"])
    )
