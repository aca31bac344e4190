"""YAML file of `shift apply`, validated completely before any change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import time
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from zk_pipeline.attendance.hours import rule_text, wall_time, weekdays_of
from zk_pipeline.attendance.rotations import Rotation
from zk_pipeline.attendance.shifts import WEEKDAYS, Assignment, Holiday, Season, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.store.shifts.shift_plan import ShiftPlan
from zk_pipeline.yaml_file import Day, Decimal, OptionalText, Text, WholeNumber, YamlFile, read_yaml

WallTime = Annotated[time, BeforeValidator(wall_time)]
RuleText = Annotated[str, BeforeValidator(rule_text)]
Weekdays = Annotated[tuple[str, ...], BeforeValidator(weekdays_of)]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeclaredShift(_Declared):
    """One entry under `shifts:`."""

    name: Text
    start: WallTime | None = None
    end: WallTime | None = None
    weekdays: Weekdays = WEEKDAYS
    workday_starts_at: WallTime | None = None
    early_clock_in_hours: Decimal | None = None
    late_clock_in_hours: Decimal | None = None
    early_clock_out_hours: Decimal | None = None
    late_clock_out_hours: Decimal | None = None
    late_grace_minutes: WholeNumber = 0
    early_leave_grace_minutes: WholeNumber = 0
    half_day_below_minutes: WholeNumber = 0
    absent_below_minutes: WholeNumber = 0
    breaks: RuleText = ""
    overtime: RuleText = ""
    night_hours: RuleText = ""
    rounding: RuleText = ""
    core_time: RuleText = ""
    alternatives: RuleText = ""

    def build(self) -> Shift:
        return Shift.of(
            self.name, {field: getattr(self, field) for field in type(self).model_fields if field != "name"}
        )


class DeclaredAssignment(_Declared):
    """One entry under `assignments:`: a shift, or a rotation of shifts from `valid_from` to `valid_to`."""

    shift: OptionalText = None
    rotation: OptionalText = None
    start_at: WholeNumber | None = None
    user: OptionalText = None
    site: OptionalText = None
    device: OptionalText = None
    valid_from: Day | None = None
    valid_to: Day | None = None

    def build(self) -> list[Assignment]:
        target = Target(user_id=self.user, site=self.site, device=self.device)
        if (self.shift is None) == (self.rotation is None):
            raise UsageError("needs either `shift` or `rotation`")
        if self.rotation is None:
            if self.start_at is not None:
                raise UsageError("`start_at` belongs to a `rotation`")
            assert self.shift is not None
            return [Assignment(shift=self.shift, target=target, valid_from=self.valid_from, valid_to=self.valid_to)]
        if self.valid_from is None or self.valid_to is None:
            raise UsageError("a `rotation` needs `valid_from` and `valid_to`")
        return Rotation(
            pattern=self.rotation,
            target=target,
            valid_from=self.valid_from,
            valid_to=self.valid_to,
            start_at=1 if self.start_at is None else self.start_at,
        ).expand()


class DeclaredSeason(_Declared):
    """One entry under `seasons:`."""

    shift: Text
    use: Text
    valid_from: Day
    valid_to: Day

    def build(self) -> Season:
        return Season(shift=self.shift, use=self.use, valid_from=self.valid_from, valid_to=self.valid_to)


class DeclaredHoliday(_Declared):
    """One entry under `holidays:`."""

    date: Day
    name: Text
    site: OptionalText = None

    def build(self) -> Holiday:
        return Holiday(day=self.date, name=self.name, site=self.site)


_SECTIONS: dict[str, type[_Declared]] = {
    "shifts": DeclaredShift,
    "assignments": DeclaredAssignment,
    "seasons": DeclaredSeason,
    "holidays": DeclaredHoliday,
}


def read_shift_file(path: Path) -> ShiftPlan:
    """The declared plan. Raises UsageError, naming the file, the line and the entry."""
    file = read_yaml(path)
    content = {} if file.content is None else file.content
    sections = ", ".join(f"`{name}:`" for name in _SECTIONS)
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must consist of the sections {sections}")
    for name in content:
        if name not in _SECTIONS:
            raise UsageError(
                f"{file.where(name)}: {name!r} is unknown: the file must consist of the sections {sections}"
            )
    declared = {name: _section(file, name, content.get(name)) for name in _SECTIONS}
    _check_twice(file, "shifts", [one.name for one in declared["shifts"]])
    _check_twice(file, "holidays", [(str(one.day), one.site) for one in declared["holidays"]])
    declared["assignments"] = [one for expanded in declared["assignments"] for one in expanded]
    return ShiftPlan(**{name: tuple(entries) for name, entries in declared.items()})


def _section(file: YamlFile, name: str, entries: object) -> list[Any]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise UsageError(f"{file.where(name)}: `{name}:` must be a list")
    return [_entry(file, name, number, one) for number, one in enumerate(entries)]


def _entry(file: YamlFile, section: str, number: int, entry: object) -> Any:
    name = f"{section} entry {number + 1}"
    try:
        make: Callable[[], Any] = _SECTIONS[section].model_validate(entry).build  # type: ignore[attr-defined]
        return make()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        where = file.where(section, number, *first["loc"])
        raise UsageError(f"{where}, {name}: {field + ': ' if field else ''}{reason[0].lower()}{reason[1:]}") from None
    except UsageError as error:
        raise UsageError(f"{file.where(section, number)}, {name}: {error}") from None


def _check_twice(file: YamlFile, section: str, keys: list[Any]) -> None:
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise UsageError(f"{file.where(section, number)}, {section} entry {number + 1}: {key!r} is declared twice")
