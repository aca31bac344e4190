"""Shifts, assignments, seasons and holidays, and the begin of a work date between two shifts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from typing import Any

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shift_rules import RULE_TEXTS, Breaks, Overtime, Rounding, Window, alternatives
from zk_pipeline.errors import UsageError

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_OFF = "day off"  # value of `day_off` on a weekday without work in the shift
_DAY = 24 * 60


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Named working hours. An `end` before `start` is an overnight shift, an equal one a shift of 24 hours; None means
    the value of the settings. Without weekdays it is an off shift: every date is a day off.

    The texts from `breaks` on are rules (`shift_rules`); empty: none. Raises UsageError for invalid values.
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
    late_grace_minutes: int = 0
    early_leave_grace_minutes: int = 0
    half_day_below_minutes: int = 0
    absent_below_minutes: int = 0
    breaks: str = ""
    overtime: str = ""
    night_hours: str = ""
    rounding: str = ""
    core_time: str = ""
    alternatives: str = ""

    def __post_init__(self) -> None:
        if set(self.weekdays) - set(WEEKDAYS):
            raise UsageError(f"shift {self.name!r}: weekdays must be some of {', '.join(WEEKDAYS)}")
        object.__setattr__(self, "weekdays", tuple(day for day in WEEKDAYS if day in self.weekdays))
        for what in BOUNDS:
            hours = getattr(self, what)
            if hours is not None and not 0 <= hours <= 24:
                raise UsageError(f"shift {self.name!r}: {what} must be from 0 to 24")
        for what in THRESHOLDS:
            if not 0 <= getattr(self, what) <= _DAY:
                raise UsageError(f"shift {self.name!r}: {what} must be from 0 to {_DAY}")
        if self.half_day_below_minutes and self.half_day_below_minutes < self.absent_below_minutes:
            raise UsageError(f"shift {self.name!r}: half_day_below_minutes must not be less than absent_below_minutes")
        for what, (normalized, _) in RULE_TEXTS.items():
            try:
                object.__setattr__(self, what, normalized(getattr(self, what)))
            except ValueError as error:
                raise UsageError(f"shift {self.name!r}: {what}: {error}") from None
        core = Window.parse(self.core_time)
        if core is not None:
            core_ends, lasts = (_after(self.start, end) or _DAY for end in (core.end, self.end))
            if not _after(self.start, core.start) < core_ends <= lasts:
                raise UsageError(f"shift {self.name!r}: core_time {core} is not within its hours")
        begins = self.workday_starts_at
        if begins is not None and not self.is_off and _within(begins, self.start, self.end):
            raise UsageError(f"shift {self.name!r}: workday_starts_at {begins:%H:%M} lies within its hours")

    @classmethod
    def of(cls, name: str, fields: Mapping[str, Any]) -> Shift:
        """Shift of the given fields, of which None is not given. Only an off shift may have no `start` and `end`."""
        given = {field: value for field, value in fields.items() if value is not None}
        if not given.get("weekdays", WEEKDAYS):
            given = {"start": time(0), "end": time(0)} | given
        if not {"start", "end"} <= set(given):
            raise UsageError(f"shift {name!r}: a shift with working days needs a start and an end")
        return cls(name=name, **given)

    @property
    def is_off(self) -> bool:
        """True for an off shift: it works on no weekday."""
        return not self.weekdays

    @property
    def hours(self) -> Hours:
        return Hours(self.start, self.end, self.workday_starts_at, self.is_off)

    def rules(self, settings: WorkRules) -> WorkRules:
        """Rules for rows of this shift: `settings` with the hours and bounds of the shift."""
        own: dict[str, Any] = {
            what.removesuffix("_hours"): timedelta(hours=hours)
            for what in BOUNDS
            if (hours := getattr(self, what)) is not None
        }
        thresholds = {what: getattr(self, what) for what in THRESHOLDS}
        return replace(
            settings,
            start=self.start,
            end=self.end,
            **own,
            **thresholds,
            breaks=Breaks.parse(self.breaks),
            overtime=Overtime.parse(self.overtime),
            night_hours=Window.parse(self.night_hours),
            rounding=Rounding.parse(self.rounding),
            core_time=Window.parse(self.core_time),
        )

    @property
    def candidates(self) -> tuple[str, ...]:
        """Shifts of which the one that fits the punches of a day best applies to it: this one and its alternatives."""
        return (self.name, *(name for name in alternatives(self.alternatives) if name != self.name))


BOUNDS = ("early_clock_in_hours", "late_clock_in_hours", "early_clock_out_hours", "late_clock_out_hours")
THRESHOLDS = ("late_grace_minutes", "early_leave_grace_minutes", "half_day_below_minutes", "absent_below_minutes")
SHIFT_RULES = (*BOUNDS, *THRESHOLDS, *RULE_TEXTS)


@dataclass(frozen=True, kw_only=True)
class Target:
    """Target of an assignment: a user at a site, a user, a device, or a site. Raises UsageError otherwise."""

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
                f"invalid user id {self.user_id!r}: it begins or ends with a blank or contains a control character"
            )

    def __str__(self) -> str:
        if self.device is not None:
            return f"device {self.device!r}"
        if self.user_id is None:
            return f"site {self.site!r}"
        return f"user {self.user_id!r}" + ("" if self.site is None else f" at site {self.site!r}")


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Shift of a target on the work dates from `valid_from` to `valid_to`, both included; None means unbounded."""

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

    @property
    def first(self) -> date:
        return self.valid_from or date.min

    @property
    def last(self) -> date:
        return self.valid_to or date.max


@dataclass(frozen=True, kw_only=True)
class Season:
    """Work dates on which the shift `use` applies wherever `shift` is assigned, such as Ramadan hours."""

    shift: str
    use: str
    valid_from: date
    valid_to: date
    id: int | None = None

    def __post_init__(self) -> None:
        if self.shift == self.use:
            raise UsageError(f"shift {self.shift!r}: a season must use another shift")
        if self.valid_to < self.valid_from:
            raise UsageError(f"valid_to {self.valid_to} is before {self.valid_from}")

    def __str__(self) -> str:
        return f"{self.use!r} in place of {self.shift!r} from {self.valid_from} to {self.valid_to}"


@dataclass(frozen=True, kw_only=True)
class Holiday:
    """Work date on which no employee is expected, at one site or at all sites (None)."""

    day: date
    name: str
    site: str | None = None

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UsageError(f"the holiday on {self.day} has no name")


@dataclass(frozen=True)
class Hours:
    """Hours of a shift or of the settings that determine the begin of work dates."""

    start: time
    end: time
    workday_starts_at: time | None = None  # None: derived from the hours
    is_off: bool = False

    @property
    def ends_after_midnight(self) -> int:
        """End of the shift in minutes after the midnight that follows its work date; negative before it."""
        if self.is_off:
            return -1
        begins = self.workday_starts_at
        starts_next_day = begins is not None and self.start < begins
        return minutes(self.end) + _DAY * ((self.end <= self.start) + starts_next_day - 1)


def begins(before: Hours, on: Hours) -> int:
    """Begin of a work date in minutes after midnight, from the hours on the previous date and on the date itself."""
    if on.workday_starts_at is not None:
        return minutes(on.workday_starts_at)
    end, start = before.ends_after_midnight, _DAY if on.is_off else minutes(on.start)
    return min((end + start) // 2, start, _DAY - 1) if end >= 0 else 0


def minutes(at: time) -> int:
    """Whole minutes after midnight."""
    return at.hour * 60 + at.minute


def _after(start: time, moment: time) -> int:
    """Minutes from `start` to the next `moment` of the wall clock."""
    return (minutes(moment) - minutes(start)) % _DAY


def _within(moment: time, start: time, end: time) -> bool:
    return start < moment < end if start < end else moment > start or moment < end
