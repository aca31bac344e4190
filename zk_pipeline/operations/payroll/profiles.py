"""Profiles of payroll exports: `csv` and `xlsx`, and those of the file payroll_profiles.yaml, validated completely."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from zk_pipeline.attendance.pay_classes import PayClass
from zk_pipeline.errors import UsageError
from zk_pipeline.yaml_file import Flag, OptionalText, Text, WholeNumber, YamlFile, read_yaml

MINUTE_FIELDS = ("total", "late", "early_leave")
DAY_FIELDS = ("days_present", "days_half_day", "days_worked_on_day_off", "days_on_leave", "days_absent")
TEXT_FIELDS = ("period", "first_date", "last_date", "adjustment_of", "user_id", "name", "sites", "leaves")
AMOUNT_FIELDS = ("wage_type", "class", "amount")  # of rows per wage type
FIELDS = (*TEXT_FIELDS, *MINUTE_FIELDS, *DAY_FIELDS, *AMOUNT_FIELDS)


def _multiplier(value: object) -> object:
    if isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
        raise ValueError(f"{value!r} is not a multiplier such as 1.5")
    return value


def _classes(value: object) -> object:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("needs a list of pay classes, such as [regular]")
    for one in value:
        if one not in list(PayClass):
            raise ValueError(f"unknown pay class {one!r}; there are {', '.join(PayClass)}")
    return value


def _field(value: object) -> object:
    if value not in FIELDS:
        raise ValueError(f"unknown field {value!r}; there are {', '.join(FIELDS)}")
    return value


def _encoding(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except LookupError:
        raise ValueError(f"unknown encoding {value!r}; for example utf-8 or windows-1252") from None


Classes = Annotated[tuple[PayClass, ...], BeforeValidator(_classes)]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Amount(_Declared):
    """Paid time: the sum of the rounded minutes of its classes, each by the multiplier."""

    classes: Classes
    multiplier: Annotated[Decimal, BeforeValidator(_multiplier)] = Decimal(1)


class Column(_Declared):
    """A column: a field, a constant text, or (in a row per employee) an amount."""

    name: OptionalText = None
    field: Annotated[str | None, BeforeValidator(_field)] = None
    text: str | None = None
    classes: Classes | None = None
    multiplier: Annotated[Decimal, BeforeValidator(_multiplier)] = Decimal(1)
    width: Annotated[WholeNumber, Field(ge=1, le=1000)] | None = None
    align: Literal["left", "right"] | None = None
    pad: Annotated[str, Field(min_length=1, max_length=1)] = " "

    @model_validator(mode="after")
    def _one_content(self) -> Column:
        if sum(one is not None for one in (self.field, self.text, self.classes)) != 1:
            raise ValueError("a column needs one of field, text and classes")
        return self

    @property
    def amount(self) -> Amount | None:
        return None if self.classes is None else Amount(classes=self.classes, multiplier=self.multiplier)

    @property
    def header(self) -> str:
        return self.name or self.field or self.text or "_".join(self.classes or ())

    @property
    def is_number(self) -> bool:
        return self.classes is not None or self.field in (*MINUTE_FIELDS, *DAY_FIELDS, "amount")


class WageType(Amount):
    """One row per employee with this amount, if it is not 0."""

    code: Text
    name: str = ""


_WHO = tuple(Column(field=name) for name in ("period", "adjustment_of", "user_id", "name", "sites"))
_USUAL = (
    *_WHO,
    *(Column(classes=(one,)) for one in PayClass),
    *(Column(field=name) for name in (*MINUTE_FIELDS, *DAY_FIELDS)),
)
_USUAL_OF_WAGE_TYPES = (*_WHO, *(Column(field=name) for name in AMOUNT_FIELDS))


class Profile(_Declared):
    """An export format: one row per employee and period, or with `wage_types` one per wage type."""

    name: Text
    format: Literal["csv", "fixed", "xlsx", "template"]
    columns: tuple[Column, ...] = ()
    wage_types: tuple[WageType, ...] = ()
    leave_out: Classes = ()
    unit: Literal["minutes", "hours", "hh:mm"] | None = None
    decimals: Annotated[WholeNumber, Field(ge=0, le=6)] = 2
    decimal_mark: Literal[".", ",", ""] = "."
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: Annotated[str, AfterValidator(_encoding)] = "utf-8"
    header: Flag | None = None
    totals: Flag | None = None
    template: OptionalText = None

    @model_validator(mode="after")
    def _consistent(self) -> Profile:
        if (self.format == "template") != (self.template is not None):
            raise ValueError("`template:`, the file of the template, belongs to the format template and to no other")
        if self.format == "template":
            return self
        named = [column.field for column in self.used_columns if column.field in AMOUNT_FIELDS]
        if self.wage_types and "amount" not in named:
            raise ValueError("columns: rows per wage type need the field amount")
        if named and not self.wage_types:
            raise ValueError(f"columns: the field {named[0]} needs `wage_types:`")
        if self.wage_types and any(column.classes for column in self.used_columns):
            raise ValueError("columns: with `wage_types:` amounts are rows, and no column has classes")
        if self.format == "fixed" and any(column.width is None for column in self.used_columns):
            raise ValueError("columns: the format fixed needs the width of each")
        if self.decimal_mark == self.delimiter and self.format == "csv":
            raise ValueError("delimiter: must differ from decimal_mark")
        return self

    @property
    def used_columns(self) -> tuple[Column, ...]:
        return self.columns or (_USUAL_OF_WAGE_TYPES if self.wage_types else _USUAL)

    @property
    def time_unit(self) -> Literal["minutes", "hours", "hh:mm"]:
        return self.unit or ("hh:mm" if self.format == "xlsx" else "hours")

    @property
    def has_header(self) -> bool:
        return self.format in ("csv", "xlsx") if self.header is None else self.header

    @property
    def has_totals(self) -> bool:
        return self.format in ("csv", "xlsx") and not self.wage_types if self.totals is None else self.totals

    @property
    def amounts(self) -> tuple[Amount, ...]:
        """All amounts of a row or, with wage types, of an employee."""
        if self.wage_types:
            return self.wage_types
        if self.format == "template":
            return tuple(Amount(classes=(one,)) for one in self.paid_classes)
        return tuple(column.amount for column in self.used_columns if column.amount is not None)

    @property
    def paid_classes(self) -> tuple[PayClass, ...]:
        return tuple(one for one in PayClass if one not in self.leave_out)

    def rounded(self, minutes: int, multiplier: Decimal = Decimal(1)) -> Decimal:
        """Time in the unit of the profile, rounded half up by its absolute value."""
        if self.time_unit == "hours":
            return (minutes * multiplier / 60).quantize(Decimal(1).scaleb(-self.decimals), ROUND_HALF_UP)
        return (minutes * multiplier).quantize(Decimal(1), ROUND_HALF_UP)

    def value(self, amount: Amount, minutes: Mapping[PayClass, int]) -> Decimal:
        """An amount: rounded for each class, so that amounts and totals agree however they are divided."""
        return sum((self.rounded(minutes[one], amount.multiplier) for one in amount.classes), Decimal(0))


BUILT_IN = (Profile(name="csv", format="csv"), Profile(name="xlsx", format="xlsx"))


def read_profiles(path: Path | None) -> dict[str, Profile]:
    """All profiles by name; those of the file may replace the built-in ones. Raises UsageError with the line."""
    found = {one.name: one for one in BUILT_IN}
    if path is not None:
        for number, one in enumerate(_declared(file := read_yaml(path))):
            if one.name in found and found[one.name] not in BUILT_IN:
                raise UsageError(f"{file.where('profiles', number)}: the profile {one.name!r} is declared twice")
            found[one.name] = one
    return found


def find_profile(name: str, path: Path | None) -> Profile:
    """Raises UsageError for an unknown profile, and for an invalid file."""
    profiles = read_profiles(path)
    if name not in profiles:
        where = f"; declare it in {path.name}" if path else "; declare others in payroll_profiles.yaml in the home"
        raise UsageError(f"no payroll profile {name!r}; there are: {', '.join(profiles)}{where}")
    return profiles[name]


def _declared(file: YamlFile) -> Iterator[Profile]:
    content = file.content
    if not isinstance(content, dict) or [*content] != ["profiles"] or not isinstance(content["profiles"], list):
        raise UsageError(f"{file.path}: must consist of the list `profiles:`")
    for number, entry in enumerate(content["profiles"]):
        try:
            yield Profile.model_validate(entry)
        except ValidationError as error:
            first: Any = error.errors(include_url=False)[0]
            place = [part for part in first["loc"] if isinstance(part, str | int)]
            reason = first["msg"].removeprefix("Value error, ")
            name = entry.get("name", number + 1) if isinstance(entry, dict) else number + 1
            where = file.where("profiles", number, *place)
            field = f"{'.'.join(map(str, place))}: " if place else ""
            raise UsageError(f"{where}, profile {name}: {field}{reason[0].lower()}{reason[1:]}") from None
