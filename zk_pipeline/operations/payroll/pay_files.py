"""Files of payroll exports: CSV, fixed width, Excel, and sandboxed Jinja templates."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.utils import get_column_letter
from openpyxl.utils.datetime import MAC_EPOCH
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.table_writers import excel_cell, harmless_text
from zk_pipeline.operations.payroll.pay_rows import PayRow, check_classes, pay_rows
from zk_pipeline.operations.payroll.profiles import DAY_FIELDS, MINUTE_FIELDS, Amount, Column, Profile, WageType
from zk_pipeline.store.payroll.periods import PayrollPeriod, PayrollRows

Value = str | Decimal  # texts; numbers in the unit of the profile
_EXCEL_FORMATS = {"hh:mm": "[h]:mm", "minutes": "0"}


def write_payroll(payroll: PayrollRows, profile: Profile, stream: BinaryIO, *, templates: Path) -> int:
    """Write the rows of a period, and return their number. `templates`: the folder of the profiles and templates.

    Raises UsageError for a class that the profile does not pay, a value wider than its column, and a wrong template;
    ZkPipelineError if the sums do not agree.
    """
    people = pay_rows(payroll)
    check_classes(profile, people)
    if profile.format == "template":
        text = _from_template(payroll.period, profile, people, templates)
        stream.write(text.encode(profile.encoding, "replace"))
        return len(people)
    lines = [
        [_value(column, profile, payroll.period, one, wage_type) for column in profile.used_columns]
        for one in people
        for wage_type in _wage_types(profile, one)
    ]
    table = _Table(profile, lines)
    if profile.format == "xlsx":
        table.write_excel(stream, payroll.period.period)
    else:
        text = table.as_csv() if profile.format == "csv" else table.as_fixed()
        stream.write(text.encode(profile.encoding, "replace"))
    return len(lines)


def _wage_types(profile: Profile, one: PayRow) -> Sequence[WageType | None]:
    if not profile.wage_types:
        return [None]
    return [each for each in profile.wage_types if profile.value(each, one.classes)]


def _value(column: Column, profile: Profile, period: PayrollPeriod, one: PayRow, wage_type: WageType | None) -> Value:
    amount: Amount | None = wage_type if column.field == "amount" else column.amount
    if amount is not None:
        return profile.value(amount, one.classes)
    if column.text is not None:
        return column.text
    texts = {
        "period": period.period,
        "first_date": str(period.first_date),
        "last_date": str(period.last_date),
        "adjustment_of": one.adjustment_of,
        "user_id": one.user_id,
        "name": one.name,
        "sites": ", ".join(one.sites),
        "leaves": ", ".join(f"{kind}: {dates}" for kind, dates in one.leaves.items()),
    }
    if wage_type is not None:
        texts |= {"wage_type": wage_type.code, "class": wage_type.name or "+".join(wage_type.classes)}
    name = column.field or ""
    if name == "total":
        return _total(profile, one)
    if name in MINUTE_FIELDS:
        return profile.rounded(one.minutes[name])
    if name in DAY_FIELDS:
        return Decimal(one.days.get(name.removeprefix("days_"), 0))
    return texts[name]


def _total(profile: Profile, one: PayRow) -> Decimal:
    classes = tuple(each for each in profile.paid_classes if not each.is_premium)
    return profile.value(Amount(classes=classes), one.classes)


@dataclass(frozen=True)
class _Table:
    """Values in the order of the profile's columns. The totals row adds the values as they are written."""

    profile: Profile
    lines: list[list[Value]]

    def rows(self) -> Iterator[list[tuple[Column, Value]]]:
        columns = self.profile.used_columns
        for line in self.lines:
            yield list(zip(columns, line, strict=True))
        if self.profile.has_totals:
            label = next((index for index, column in enumerate(columns) if not column.is_number), None)
            yield [
                (column, sum((Decimal(line[index]) for line in self.lines), self._nothing(column)))
                if column.is_number
                else (column, "total" if index == label else "")
                for index, column in enumerate(columns)
            ]

    def _nothing(self, column: Column) -> Decimal:
        return Decimal(0) if column.field in DAY_FIELDS else self.profile.rounded(0)

    def as_csv(self) -> str:
        stream = io.StringIO()
        writer = csv.writer(stream, delimiter=self.profile.delimiter, lineterminator="\n")
        if self.profile.has_header:
            writer.writerow([harmless_text(column.header) for column in self.profile.used_columns])
        for row in self.rows():
            writer.writerow([
                harmless_text(value) if isinstance(value, str) else _shown(self.profile, column, value)
                for column, value in row
            ])  # fmt: skip
        return stream.getvalue()

    def as_fixed(self) -> str:
        header: list[list[tuple[Column, Value]]] = [[(column, column.header) for column in self.profile.used_columns]]
        return "".join(
            "".join(_padded(self.profile, column, value) for column, value in row) + "\n"
            for row in (*(header if self.profile.has_header else []), *self.rows())
        )

    def write_excel(self, stream: BinaryIO, title: str) -> None:
        """Durations, or numbers in another unit. Excel shows negative durations in the 1904 date system only."""
        book = Workbook(write_only=True)
        book.epoch = MAC_EPOCH
        page = book.create_sheet(title[:31])
        page.freeze_panes = "A2"
        for number, column in enumerate(self.profile.used_columns, start=1):
            page.column_dimensions[get_column_letter(number)].width = max(12, len(column.header) + 2)
        if self.profile.has_header:
            page.append([excel_cell(page, column.header) for column in self.profile.used_columns])
        for row in self.rows():
            page.append([self._excel_cell(page, column, value) for column, value in row])
        book.save(stream)

    def _excel_cell(self, page: WriteOnlyWorksheet, column: Column, value: Value) -> object:
        if isinstance(value, str):
            return excel_cell(page, value)
        if column.field in DAY_FIELDS:
            return int(value)
        unit = self.profile.time_unit
        cell = WriteOnlyCell(page)
        cell.value = timedelta(minutes=int(value)) if unit == "hh:mm" else value
        cell.number_format = _EXCEL_FORMATS.get(unit, f"0.{'0' * self.profile.decimals}".rstrip("."))
        return cell


def _shown(profile: Profile, column: Column, value: Decimal) -> str:
    """A number as text in the unit of the profile."""
    if column.field in DAY_FIELDS:
        return str(value)
    return _time_text(profile, value)


def _time_text(profile: Profile, value: Decimal) -> str:
    if profile.time_unit == "hh:mm":
        sign, minutes = "-" if value < 0 else "", abs(int(value))
        return f"{sign}{minutes // 60}:{minutes % 60:02}"
    return f"{value:f}".replace(".", profile.decimal_mark)


def _padded(profile: Profile, column: Column, value: Value) -> str:
    assert column.width is not None
    is_number = not isinstance(value, str)
    text = _shown(profile, column, value) if not isinstance(value, str) else "".join(value.splitlines())
    if len(text) > column.width:
        if is_number or column.field == "user_id":
            raise UsageError(
                f"the profile {profile.name} is too narrow: {text} exceeds the width of {column.header}, {column.width}"
            )
        text = text[: column.width]
    right = (column.align or ("right" if column.is_number else "left")) == "right"
    if right and column.pad == "0" and text.startswith("-"):
        return "-" + text[1:].rjust(column.width - 1, "0")
    return text.rjust(column.width, column.pad) if right else text.ljust(column.width, column.pad)


def _from_template(period: PayrollPeriod, profile: Profile, people: list[PayRow], folder: Path) -> str:
    path = folder / (profile.template or "")
    try:
        file = path.resolve()
        if not file.is_relative_to(folder.resolve()):
            raise UsageError(
                f"the profile {profile.name}: the template {profile.template} is not in the folder of the profiles"
            )
        source = file.read_text(encoding="utf-8-sig")
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # RuntimeError: a loop of symlinks; ValueError: a NUL in the name
        reason = getattr(error, "strerror", "it is not UTF-8 text" if isinstance(error, UnicodeError) else str(error))
        raise UsageError(f"{path}: the template cannot be read: {reason}") from None
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    try:
        return environment.from_string(source).render(period=period, **_template_values(profile, people))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        raise UsageError(f"{path}{f', line {line}' if line else ''}: {error.message or type(error).__name__}") from None
    except Exception as error:  # any expression of the template
        raise UsageError(f"{path}: the template failed: {error}") from None


def _template_values(profile: Profile, people: list[PayRow]) -> dict[str, Any]:
    """`rows` with their `amounts`, and `totals`: the amounts of all rows together, as written."""
    values = [[profile.value(amount, one.classes) for amount in profile.amounts] for one in people]
    sums = [sum((row[index] for row in values), Decimal(0)) for index in range(len(profile.amounts))]

    def amounts(row: Sequence[Decimal]) -> list[dict[str, object]]:
        return [
            {
                "wage_type": getattr(amount, "code", ""),
                "name": getattr(amount, "name", "") or "+".join(amount.classes),
                "amount": _time_text(profile, value),
                "is_zero": value == 0,
            }
            for amount, value in zip(profile.amounts, row, strict=True)
        ]

    rows = [
        {
            **{name: getattr(one, name) for name in ("user_id", "name", "sites", "adjustment_of")},
            "minutes": dict(one.minutes),
            "days": dict(one.days),
            "leaves": dict(one.leaves),
            "total": _time_text(profile, _total(profile, one)),
            "amounts": amounts(row),
        }
        for one, row in zip(people, values, strict=True)
    ]
    return {"rows": rows, "totals": amounts(sums)}
