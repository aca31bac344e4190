"""Changes of assignments: overlaps, and the replacement of what a target has on the same work dates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from zk_pipeline.attendance.shifts import Assignment, Target
from zk_pipeline.errors import UsageError

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class AssignmentChanges:
    """Assignments to store and to remove; one that is cut is removed, and its remaining parts are added."""

    added: list[Assignment]
    removed: list[Assignment]
    unchanged: list[Assignment]


class AssignmentsRefused(UsageError):
    """`problems`: reason for each refused assignment, by its index."""

    def __init__(self, problems: Mapping[int, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


def change_assignments(
    held: Sequence[Assignment], wanted: Sequence[Assignment], *, replace_overlaps: bool = False
) -> AssignmentChanges:
    """Changes after which `wanted` are stored in addition to `held`; equal ones are unchanged.

    With `replace_overlaps`, the target's other assignments are cut to the dates that no wanted one has. Raises
    AssignmentsRefused for assignments of one target that overlap.
    """
    bare = {replace(one, id=None): one for one in held}
    wanted = [replace(one, id=None) for one in wanted]
    unchanged = [bare[one] for one in wanted if one in bare]
    removed: list[Assignment] = []
    parts: list[Assignment] = []
    if replace_overlaps:
        others = _by_target(one for one in wanted if one not in bare)
        same = {one.id for one in unchanged}
        for one in held:
            if one.target in others and one.id not in same:
                left = list(_without(one, others[one.target]))
                if left != [one]:
                    removed.append(one)
                    parts += left
    cut = {one.id for one in removed}
    kept = [*(one for one in held if one.id not in cut), *parts]
    new = [index for index, one in enumerate(wanted) if one not in bare]
    every = [*kept, *(wanted[index] for index in new)]
    problems = {new[later - len(kept)]: overlap_of(every[one], every[later]) for one, later in overlaps(every)}
    if problems:
        raise AssignmentsRefused(dict(sorted(problems.items())))
    return AssignmentChanges([*parts, *(wanted[index] for index in new)], removed, unchanged)


def check_overlaps(assignments: Sequence[Assignment]) -> None:
    """Raise UsageError if two assignments of one target overlap."""
    for earlier, later in overlaps(assignments):
        raise UsageError(overlap_of(assignments[earlier], assignments[later]))


def overlap_of(one: Assignment, later: Assignment) -> str:
    return f"{one.target} has {one.shift!r} from {one.span} already: {later.shift!r} from {later.span} overlaps it"


def overlaps(assignments: Sequence[Assignment]) -> Iterator[tuple[int, int]]:
    """Pairs of indices, the lower first, of assignments of one target on the same work date."""
    numbered: dict[Target, list[int]] = {}
    for index, one in enumerate(assignments):
        numbered.setdefault(one.target, []).append(index)
    for indices in numbered.values():
        before: int | None = None  # the one with the latest end so far
        for index in sorted(indices, key=lambda number: assignments[number].first):
            if before is not None and assignments[index].first <= assignments[before].last:
                yield min(index, before), max(index, before)
            if before is None or assignments[index].last > assignments[before].last:
                before = index


def _by_target(assignments: Iterable[Assignment]) -> dict[Target, list[Assignment]]:
    found: dict[Target, list[Assignment]] = {}
    for one in assignments:
        found.setdefault(one.target, []).append(one)
    return found


def _without(one: Assignment, others: Sequence[Assignment]) -> Iterator[Assignment]:
    """Parts of `one` on dates that no other has."""
    first: date | None = one.first
    for other in sorted(others, key=lambda each: each.first):
        if first is None or other.first > one.last or other.last < first:
            continue
        if first < other.first:
            yield _part(one, first, other.first - _ONE_DAY)
        first = None if other.last >= one.last else other.last + _ONE_DAY
    if first is not None:
        yield _part(one, first, one.last)


def _part(one: Assignment, first: date, last: date) -> Assignment:
    if (first, last) == (one.first, one.last):
        return one
    return replace(
        one,
        id=None,
        valid_from=None if first == date.min else first,
        valid_to=None if last == date.max else last,
    )
