"""Shifts, who has them and when, and holidays, as values; where a work date begins when one shift follows another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from typing import Any

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.errors import UsageError

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_OFF = "day off"  # what a row says where its shift does not work on that weekday
_DAY = 24 * 60


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Working hours with a name. An `end` before `start` is an overnight shift; None takes what the settings say.

    Raises UsageError for hours that make no working day.
    """

    name: str
    start: time
    end: time
    weekdays: tuple[str, ...] = WEEKDAYS
    workday_starts_at: time | None = None
    early_clock_in_hours: float | None = None
    late_clock_in_hours: float | None = None
    early_clock_out_hours: float | None = None
    late_clock_out_hours: float | None = None

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise UsageError(f"shift {self.name!r}: end must differ from start")
        if not self.weekdays or set(self.weekdays) - set(WEEKDAYS):
            raise UsageError(f"shift {self.name!r}: weekdays must be some of {', '.join(WEEKDAYS)}")
        object.__setattr__(self, "weekdays", tuple(day for day in WEEKDAYS if day in self.weekdays))
        for what in BOUNDS:
            hours = getattr(self, what)
            if hours is not None and not 0 <= hours <= 24:
                raise UsageError(f"shift {self.name!r}: {what} must be from 0 to 24")
        begins = self.workday_starts_at
        if begins is not None and _within(begins, self.start, self.end):
            raise UsageError(f"shift {self.name!r}: workday_starts_at {begins:%H:%M} lies within its hours")

    def rules(self, settings: WorkRules) -> WorkRules:
        """The rules by which a row of this shift is judged."""
        own: dict[str, Any] = {
            what.removesuffix("_hours"): timedelta(hours=hours)
            for what in BOUNDS
            if (hours := getattr(self, what)) is not None
        }
        return replace(settings, start=self.start, end=self.end, **own)


BOUNDS = ("early_clock_in_hours", "late_clock_in_hours", "early_clock_out_hours", "late_clock_out_hours")


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom an assignment is for: a user at a site, a user, a device, or a site. Raises UsageError for any other."""

    user_id: str | None = None
    site: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if self.device is not None and (self.user_id is not None or self.site is not None):
            raise UsageError("a shift is assigned to a device alone, or to a user, a site, or a user at a site")
        if not (self.user_id or self.site or self.device):
            raise UsageError("a shift is assigned to a user, a device or a site: name one")
        if "" in (self.user_id, self.site, self.device):
            raise UsageError("a shift is assigned to a user, a device or a site: an empty name is none of them")
        if self.user_id is not None and (self.user_id != self.user_id.strip() or not self.user_id.isprintable()):
            raise UsageError(
                f"user id {self.user_id!r} begins or ends with a blank or holds a control character: no person has it"
            )

    def __str__(self) -> str:
        if self.device is not None:
            return f"device {self.device!r}"
        if self.user_id is None:
            return f"site {self.site!r}"
        return f"user {self.user_id!r}" + ("" if self.site is None else f" at site {self.site!r}")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Who has which shift on the work dates from `valid_from` to `valid_to`, both included; None is open."""

    shift: str
    target: Target
    valid_from: date | None = None
    valid_to: date | None = None
    id: int | None = None

    def __post_init__(self) -> None:
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise UsageError(f"{self.shift!r} for {self.target}: valid_to {self.valid_to} is before {self.valid_from}")

    @property
    def span(self) -> str:
        return f"{self.valid_from or '…'} to {self.valid_to or '…'}"

    def overlaps(self, other: Assignment) -> bool:
        """Whether both say something of the same target on the same work date."""
        first, last = self.valid_from or date.min, self.valid_to or date.max
        return (
            self.target == other.target
            and first <= (other.valid_to or date.max)
            and (other.valid_from or date.min) <= last
        )


@dataclass(frozen=True, kw_only=True)
class Holiday:
    """A work date on which nobody is expected: at one site, or at all (None)."""

    day: date
    name: str
    site: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError(f"the holiday on {self.day} has no name")


@dataclass(frozen=True)
class Hours:
    """What decides where work dates begin. The settings' hours are one such value too."""

    start: time
    end: time
    workday_starts_at: time | None = None  # None: nobody said

    @property
    def ends_after_midnight(self) -> int:
        """Minutes past the midnight after its work date at which the shift ends; negative for one that ends before."""
        begins = self.workday_starts_at
        starts_next_day = begins is not None and self.start < begins
        return minutes(self.end) + _DAY * ((self.end <= self.start) + starts_next_day - 1)


def begins(before: Hours, on: Hours) -> int:
    """Minutes after midnight at which a work date begins, from the hours in force on the date before and on it."""
    if on.workday_starts_at is not None:
        return minutes(on.workday_starts_at)
    end = before.ends_after_midnight
    return min((end + minutes(on.start)) // 2, minutes(on.start)) if end >= 0 else 0


def check_overlaps(assignments: Iterable[Assignment]) -> None:
    """Raises UsageError where two assignments of one target share a work date."""
    by_target: dict[Target, list[Assignment]] = {}
    for one in assignments:
        for other in by_target.setdefault(one.target, []):
            if one.overlaps(other):
                raise UsageError(
                    f"{one.target} has {other.shift!r} from {other.span} already: "
                    f"{one.shift!r} from {one.span} overlaps it"
                )
        by_target[one.target].append(one)


def minutes(at: time) -> int:
    """Whole minutes after midnight."""
    return at.hour * 60 + at.minute


def _within(moment: time, start: time, end: time) -> bool:
    return start < moment < end if start < end else moment > start or moment < end
