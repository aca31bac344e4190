"""Rules of a shift for breaks, overtime, night hours, rounding and core time, each from one line of text.

The grammar of each text is in the docstring of its class. `str` of a rule is its normal form, which parses to the same
rule. `working_time` applies the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time
from typing import Literal, Self, TypeAlias

Mode: TypeAlias = Literal["up", "down", "nearest"]
_TIME = r"([01]?\d|2[0-3]):([0-5]\d)"
_WINDOW = re.compile(rf"{_TIME} ?- ?{_TIME}(?: (paid|split))?")
_LENGTH = r"(\d+(?:\.\d+)?) ?(h|min)"
_AUTOMATIC = re.compile(rf"{_LENGTH} after {_LENGTH}")
_AFTER = re.compile(rf"after {_LENGTH} a (day|week)")
_LEAST = re.compile(rf"at least {_LENGTH}")
_STEPS = re.compile(rf"in steps of {_LENGTH}")
_ROUNDED = re.compile(rf"(punches|day) (up|down|nearest) {_LENGTH}")
_MOST = {"h": 24 * 7, "min": 24 * 7 * 60}
_DAY = 24 * 60  # minutes


@dataclass(frozen=True)
class Window:
    """Hours of the wall clock on each date, `22:00-06:00`; an end before the start is on the next date."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """None for an empty text. Raises ValueError."""
        if not _parts(text):
            return None
        found = _WINDOW.fullmatch(_plain(text))
        if found is None or found[5]:
            raise ValueError(f"{text.strip()!r} is no time span such as 22:00-06:00")
        return cls(*_times(found))

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True)
class Breaks:
    """Breaks of a shift, separated by commas.

    - `12:00-13:00`: unpaid, whether or not there are punches; `12:00-13:00 paid`: paid even if punched out;
      `12:00-16:00 split`: unpaid, between the two parts of a split shift, each of which can begin late or end early;
    - `30 min after 6 h`: deducted automatically from a day with more than 6 hours at work, less the breaks taken; of
      several, the one with the most hours applies;
    - `punches`: in and out punches alternate, also where punch states are not trusted; the time between is a break.
    """

    windows: tuple[Window, ...] = ()
    paid: tuple[Window, ...] = ()
    split: tuple[Window, ...] = ()
    automatic: tuple[tuple[int, int], ...] = ()  # (more than these minutes at work, minutes of break), ascending
    from_punches: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, naming the part."""
        windows: dict[str, list[Window]] = {"": [], "paid": [], "split": []}
        automatic: dict[int, int] = {}
        from_punches = False
        for part in _parts(text):
            if found := _WINDOW.fullmatch(part):
                windows[found[5] or ""].append(Window(*_times(found)))
            elif found := _AUTOMATIC.fullmatch(part):
                after, minutes = _minutes(found[3], found[4]), _minutes(found[1], found[2])
                if after in automatic:
                    raise ValueError(f"two breaks are deducted after {_length(after)}")
                if not 0 < minutes <= _DAY or after > _DAY:
                    raise ValueError(f"{part!r} can never apply")
                automatic[after] = minutes
            elif part == "punches":
                from_punches = True
            else:
                raise ValueError(
                    f"{part!r} is no break: 12:00-13:00, 12:00-13:00 paid, 12:00-16:00 split, 30 min after 6 h, punches"
                )
        unpaid, paid, split = (tuple(one) for one in windows.values())
        if len(split) > 1:
            raise ValueError("a split shift has one pause: give the others without `split`")
        return cls(unpaid, paid, split, tuple(sorted(automatic.items())), from_punches)

    @property
    def unpaid(self) -> tuple[Window, ...]:
        return (*self.windows, *self.split)

    def __str__(self) -> str:
        return ", ".join(
            [
                *map(str, self.windows),
                *(f"{one} paid" for one in self.paid),
                *(f"{one} split" for one in self.split),
                *(f"{_length(minutes)} after {_length(after)}" for after, minutes in self.automatic),
                *(["punches"] if self.from_punches else []),
            ]
        )


@dataclass(frozen=True)
class Overtime:
    """Overtime of a shift, separated by commas. On a day off and on a holiday all time at work is overtime.

    - `after 8 h a day`: worked time above it; `before shift`, `after shift`: time at work outside the hours of the
      shift; of a day's excess and the time outside, the larger counts;
    - `after 40 h a week`: worked time of a week above it that is not a day's overtime (`weekly_overtime`);
    - `at least 30 min`: a smaller amount, before, after or in the day, does not count;
    - `in steps of 15 min`: only whole steps of the day's overtime count.
    """

    daily_after: int | None = None  # minutes, as the other three
    weekly_after: int | None = None
    before_shift: bool = False
    after_shift: bool = False
    at_least: int = 0
    step: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, naming the part."""
        found: dict[str, int] = {}
        for part in _parts(text):
            if match := _AFTER.fullmatch(part):
                name, value = "daily_after" if match[3] == "day" else "weekly_after", _minutes(match[1], match[2])
            elif part in ("before shift", "after shift"):
                name, value = part.replace(" ", "_"), True
            elif match := _LEAST.fullmatch(part):
                name, value = "at_least", _minutes(match[1], match[2])
            elif match := _STEPS.fullmatch(part):
                name, value = "step", max(_minutes(match[1], match[2]), 1)
            else:
                raise ValueError(
                    f"{part!r} is no overtime rule: after 8 h a day, after 40 h a week, before shift, after shift, "
                    "at least 30 min, in steps of 15 min"
                )
            if name in found:
                raise ValueError(f"{part!r} contradicts an earlier part")
            if name != "weekly_after" and value > _DAY:
                raise ValueError(f"{part!r} is longer than a day")
            found[name] = value
        rule = cls(**found)  # type: ignore[arg-type]  # flags are True
        if found and not rule.counts_days and rule.weekly_after is None:
            raise ValueError("names no overtime: add after 8 h a day, after 40 h a week, before shift or after shift")
        return rule

    @property
    def counts_days(self) -> bool:
        """True if days have overtime; False if only weeks have, or none."""
        return self.daily_after is not None or self.before_shift or self.after_shift

    def __str__(self) -> str:
        return ", ".join(
            [
                *([] if self.daily_after is None else [f"after {_length(self.daily_after)} a day"]),
                *([] if self.weekly_after is None else [f"after {_length(self.weekly_after)} a week"]),
                *(["before shift"] if self.before_shift else []),
                *(["after shift"] if self.after_shift else []),
                *([f"at least {_length(self.at_least)}"] if self.at_least else []),
                *([f"in steps of {_length(self.step)}"] if self.step != 1 else []),
            ]
        )


@dataclass(frozen=True)
class Rounding:
    """Rounding of worked time, separated by commas: `punches nearest 15 min` rounds the time of each punch for the
    worked minutes (clock-in and clock-out stay as recorded), `day down 15 min` the worked minutes and the overtime of
    a day. `up`, `down` or `nearest` (half a unit up); units divide an hour.
    """

    punches: tuple[Mode, int] | None = None  # unit in minutes
    day: tuple[Mode, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError, naming the part."""
        found: dict[str, tuple[Mode, int]] = {}
        for part in _parts(text):
            match = _ROUNDED.fullmatch(part)
            if match is None:
                raise ValueError(f"{part!r} is no rounding: punches nearest 15 min, day down 15 min")
            unit = _minutes(match[3], match[4])
            if not unit or 60 % unit:
                raise ValueError(f"{part!r}: the unit must divide an hour, such as 5, 6, 10, 15, 30 or 60 min")
            if match[1] in found:
                raise ValueError(f"{part!r} contradicts an earlier part")
            mode: Mode = match[2]  # type: ignore[assignment]  # by the pattern
            found[match[1]] = (mode, unit)
        return cls(**found)

    def __str__(self) -> str:
        rules = (("punches", self.punches), ("day", self.day))
        return ", ".join(f"{what} {one[0]} {_length(one[1])}" for what, one in rules if one)


def alternatives(text: str) -> tuple[str, ...]:
    """Names of shifts, separated by commas, of which the one that fits the punches best applies to a day."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


# Text fields of a shift: how each is normalized (raises ValueError), and its description.
RULE_TEXTS: dict[str, tuple[Callable[[str], str], str]] = {
    "breaks": (lambda text: str(Breaks.parse(text)), "Breaks: 30 min after 6 h; 12:00-13:00; punches"),
    "overtime": (lambda text: str(Overtime.parse(text)), "Overtime: after 8 h a day; after 40 h a week; after shift"),
    "night_hours": (lambda text: str(Window.parse(text) or ""), "Night hours: 22:00-06:00"),
    "rounding": (lambda text: str(Rounding.parse(text)), "Rounding: punches nearest 15 min; day down 15 min"),
    "core_time": (lambda text: str(Window.parse(text) or ""), "Core time of flexible hours: 10:00-15:00"),
    "alternatives": (
        lambda text: ", ".join(alternatives(text)),
        "Shifts of which the one that fits the punches best applies instead: early, late",
    ),
}


def _parts(text: str) -> list[str]:
    return [plain for part in text.split(",") if (plain := _plain(part)) not in ("", "none")]


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _times(found: re.Match[str]) -> tuple[time, time]:
    start, end = time(int(found[1]), int(found[2])), time(int(found[3]), int(found[4]))
    if start == end:
        raise ValueError(f"{found[0]!r} has no length")
    return start, end


def _minutes(amount: str, unit: str) -> int:
    minutes = float(amount) * (60 if unit == "h" else 1)
    if minutes != int(minutes):
        raise ValueError(f"{amount} {unit} are no whole minutes")
    if float(amount) > _MOST[unit]:
        raise ValueError(f"{amount} {unit} are longer than a week")
    return int(minutes)


def _length(minutes: int) -> str:
    return f"{minutes // 60} h" if minutes and minutes % 60 == 0 else f"{minutes} min"
