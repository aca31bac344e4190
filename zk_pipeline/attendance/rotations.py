"""Rotations: repeated patterns of shifts that expand to assignments, such as `early*2 late*2 night*2 off*2`."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import groupby

from zk_pipeline.attendance.shifts import Assignment, Target
from zk_pipeline.errors import UsageError

MAX_ROTATION_DAYS = 3660
_ITEM = re.compile(r"([^*]+)(?:\*(\d{1,4}))?")


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """A pattern of shifts, repeated from work date `valid_from` to `valid_to`, both included.

    `pattern`: names of shifts with the number of dates, `early*5 off*2`; a name with blanks is quoted. `start_at`: the
    date of the pattern, from 1, that `valid_from` has. Raises UsageError.
    """

    pattern: str
    target: Target
    valid_from: date
    valid_to: date
    start_at: int = 1

    def __post_init__(self) -> None:
        days = len(self.cycle)
        if not 1 <= self.start_at <= days:
            raise UsageError(f"rotation {self.pattern!r}: start_at must be from 1 to {days}, its number of dates")
        if not self.valid_from <= self.valid_to:
            raise UsageError(f"rotation {self.pattern!r}: {self.valid_to} is before {self.valid_from}")
        if (self.valid_to - self.valid_from).days >= MAX_ROTATION_DAYS:
            raise UsageError(f"rotation {self.pattern!r}: at most {MAX_ROTATION_DAYS} dates at once")

    @property
    def cycle(self) -> list[str]:
        """Shift of each date of the pattern."""
        try:
            items = shlex.split(self.pattern)
        except ValueError as error:
            raise UsageError(f"rotation {self.pattern!r}: {str(error).lower()}") from None
        cycle: list[str] = []
        for item in items:
            match = _ITEM.fullmatch(item)
            count = 1 if match is None or match[2] is None else int(match[2])
            if match is None or not count or count > MAX_ROTATION_DAYS:
                raise UsageError(
                    f"rotation {self.pattern!r}: {item!r} must be a shift, or a shift and a count: early*2"
                )
            cycle += [match[1]] * count
        if not cycle:
            raise UsageError("rotation '': needs a pattern such as 'early*2 late*2 off*2'")
        return cycle

    def expand(self) -> list[Assignment]:
        """Assignments in order; consecutive dates of one shift are one."""
        cycle, dates = self.cycle, range((self.valid_to - self.valid_from).days + 1)
        found = []
        for shift, group in groupby(dates, key=lambda number: cycle[(number + self.start_at - 1) % len(cycle)]):
            numbers = list(group)
            first, last = (self.valid_from + timedelta(days=number) for number in (numbers[0], numbers[-1]))
            found.append(Assignment(shift=shift, target=self.target, valid_from=first, valid_to=last))
        return found
