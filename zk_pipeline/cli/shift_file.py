"""The YAML file of `shift apply`: read whole and checked whole before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from zk_pipeline.attendance.hours import wall_time, weekdays_of
from zk_pipeline.attendance.shifts import WEEKDAYS, Assignment, Holiday, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.store.shift_plan import ShiftPlan

WallTime = Annotated[time, BeforeValidator(wall_time)]
Weekdays = Annotated[tuple[str, ...], BeforeValidator(weekdays_of)]
Text = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]  # user: 1001
Made = TypeVar("Made")


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeclaredShift(_Declared):
    """One entry under `shifts:`."""

    name: Text
    start: WallTime
    end: WallTime
    weekdays: Weekdays = WEEKDAYS
    workday_starts_at: WallTime | None = None
    early_clock_in_hours: float | None = None
    late_clock_in_hours: float | None = None
    early_clock_out_hours: float | None = None
    late_clock_out_hours: float | None = None

    def made(self) -> Shift:
        return Shift(**{field: getattr(self, field) for field in type(self).model_fields})


class DeclaredAssignment(_Declared):
    """One entry under `assignments:`."""

    shift: Text
    user: Text | None = None
    site: Text | None = None
    device: Text | None = None
    valid_from: date | None = None
    valid_to: date | None = None

    def made(self) -> Assignment:
        target = Target(user_id=self.user, site=self.site, device=self.device)
        return Assignment(shift=self.shift, target=target, valid_from=self.valid_from, valid_to=self.valid_to)


class DeclaredHoliday(_Declared):
    """One entry under `holidays:`."""

    date: date
    name: Text
    site: Text | None = None

    def made(self) -> Holiday:
        return Holiday(day=self.date, name=self.name, site=self.site)


_SECTIONS: dict[str, type[_Declared]] = {
    "shifts": DeclaredShift,
    "assignments": DeclaredAssignment,
    "holidays": DeclaredHoliday,
}


def read_shift_file(path: Path) -> ShiftPlan:
    """The declared plan. Raises UsageError, naming the file and the entry."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or set(content) - set(_SECTIONS):
        raise UsageError(f"{path}: must consist of the sections {', '.join(f'`{name}:`' for name in _SECTIONS)}")
    made = {name: _section(path, name, content.get(name)) for name in _SECTIONS}
    _check_twice(path, "shifts", [one.name for one in made["shifts"]])
    _check_twice(path, "holidays", [(str(one.day), one.site) for one in made["holidays"]])
    return ShiftPlan(**{name: tuple(entries) for name, entries in made.items()})


def _section(path: Path, name: str, entries: object) -> list[Any]:
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise UsageError(f"{path}: `{name}:` must be a list")
    return [_entry(f"{path}, {name} entry {number}", _SECTIONS[name], one) for number, one in enumerate(entries, 1)]


def _entry(where: str, model: type[_Declared], entry: object) -> Any:
    try:
        make: Callable[[], Any] = model.model_validate(entry).made  # type: ignore[attr-defined]
        return make()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"{where}: {field + ': ' if field else ''}{reason[0].lower()}{reason[1:]}") from None
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _check_twice(path: Path, section: str, keys: list[Any]) -> None:
    for number, key in enumerate(keys, 1):
        if key in keys[: number - 1]:
            raise UsageError(f"{path}, {section} entry {number}: {key!r} is declared twice")
