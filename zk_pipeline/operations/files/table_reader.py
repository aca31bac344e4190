"""Tables of operators: CSV with commas, semicolons or tabs, or the first sheet of an Excel workbook (.xlsx).

Cells are read as text. A date or time of Excel becomes `2026-05-01`, `2026-05-01 08:30` or `08:30`, and a number has no
decimal point that it does not need; with a format of zeros it keeps its leading ones.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeVar

from zk_pipeline.errors import UsageError

if TYPE_CHECKING:
    from openpyxl.cell import Cell, MergedCell

_MAX_UNPACKED_BYTES = 64 << 20
Line = tuple[int, list[str]]
Entry = TypeVar("Entry")


@dataclass(frozen=True)
class Table:
    """Values of each row by column, and problems of unreadable rows, both by line number; an empty cell is ""."""

    rows: dict[int, dict[str, str]]
    problems: dict[int, str]

    def build(self, of: Callable[[dict[str, str]], Entry]) -> tuple[dict[int, Entry], dict[int, str]]:
        """`of` each row, and the problems of all rows, those that `of` raises as UsageError included."""
        entries: dict[int, Entry] = {}
        problems = dict(self.problems)
        for line, row in self.rows.items():
            try:
                entries[line] = of(row)
            except UsageError as error:
                problems[line] = str(error)
        return entries, problems


def read_content(path: Path) -> bytes:
    """The content of a file. Raises UsageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def read_table(
    path: PurePath,
    content: bytes,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    ignore_others: bool = False,
    is_excel: bool | None = None,
) -> Table:
    """The table in a file's `content`; the first line names its columns, in any order. `is_excel`: None by its suffix.

    Raises UsageError, naming file and line, for an unreadable file, a missing column and, unless `ignore_others`, an
    unknown one.
    """
    is_excel = path.suffix.lower() == ".xlsx" if is_excel is None else is_excel
    lines = _excel_lines(path, content) if is_excel else _csv_lines(path, content)
    filled = ((number, cells) for number, cells in lines if any(cells))
    _, header = next(filled, (1, []))
    names = [name.lower() for name in _without_trailing(header, 0)]
    possible = ", ".join((*required, *optional))
    found = ", ".join(repr(name[:40]) for name in names[:20]) or "none"
    if missing := [name for name in required if name not in names]:
        what = f"the column {missing[0]} is" if len(missing) == 1 else f"the columns {', '.join(missing)} are"
        raise UsageError(f"{path}, line 1: {what} missing; found: {found}; possible: {possible}")
    if unknown := [name for name in names if not ignore_others and name not in (*required, *optional)]:
        raise UsageError(f"{path}, line 1: unknown column {unknown[0][:40]!r}; possible: {possible}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"{path}, line 1: the column {twice[0]} is there twice")
    needed = max((names.index(name) for name in required), default=-1) + 1
    table = Table({}, {})
    for number, cells in filled:
        values = _without_trailing(cells, len(names))
        if len(values) > len(names):
            table.problems[number] = f"{''.join(values[len(names) :])[:40]!r} is in no column"
        elif len(values) < needed:
            table.problems[number] = f"it must have {len(names)} values"
        else:
            values += [""] * (len(names) - len(values))
            table.rows[number] = dict.fromkeys(optional, "") | dict(zip(names, values, strict=True))
    return table


def parse_date(text: str) -> date | None:
    """The date of `YYYY-MM-DD`, or of a cell with that date and midnight; None for an empty text. Raises UsageError."""
    try:
        return datetime.strptime(text.removesuffix(" 00:00"), "%Y-%m-%d").date() if text else None  # noqa: DTZ007
    except ValueError:
        raise UsageError(f"{text!r} is not a date such as 2026-05-01") from None


def one_value(name: str, given: str | None, cell: str) -> str | None:
    """The value `given` for all rows, or the row's `cell`; None without any. Raises UsageError if they differ."""
    if given and cell and given != cell:
        raise UsageError(f"{name} {cell[:40]!r} is not the {name} given for the whole file, {given!r}")
    return given or cell or None


def _without_trailing(cells: list[str], least: int) -> list[str]:
    """The cells without empty ones at the end, but at least `least` of those that exist."""
    count = len(cells)
    while count > least and not cells[count - 1]:
        count -= 1
    return cells[:count]


def _csv_lines(path: PurePath, content: bytes) -> Iterator[Line]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UsageError(
            f"{path}, line {line}: cannot be read: it is not text in UTF-8: save it as CSV UTF-8"
        ) from None
    head = text.lstrip("\r\n").partition("\n")[0]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
    try:
        for cells in rows:
            yield rows.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise UsageError(f"{path}, line {rows.line_num}: {error}") from None


def _excel_lines(path: PurePath, content: bytes) -> Iterator[Line]:
    from openpyxl import load_workbook  # noqa: PLC0415 (slow to import)

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(one.file_size for one in packed.infolist()) > _MAX_UNPACKED_BYTES:
                raise UsageError(f"{path}: the workbook is too large")
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # some programs write wrong ones
        lines = [(number, [_text(cell) for cell in cells]) for number, cells in enumerate(sheet.iter_rows(), start=1)]
    except UsageError:
        raise
    except Exception as error:  # openpyxl raises errors of many types for a damaged file
        raise UsageError(f"{path}: cannot be read as an Excel file: {error}") from None
    yield from lines


def _text(cell: Cell | MergedCell) -> str:
    value, number_format = cell.value, str(getattr(cell, "number_format", ""))
    if isinstance(value, datetime):
        value = (value + timedelta(milliseconds=500)).replace(microsecond=0)
        has_time = value.time() != time() or "h" in number_format.lower()
        return value.isoformat(" ", "auto" if value.second else "minutes") if has_time else value.date().isoformat()
    if isinstance(value, time):
        return value.isoformat("auto" if value.second else "minutes")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and re.fullmatch("0+", number_format):
        return str(value).zfill(len(number_format))
    return "" if value is None else str(value).strip()
