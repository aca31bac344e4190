"""Writers of Arrow tables to CSV, Parquet and Excel files, in parts. Columns are formatted by type, not by name.

Texts from terminals may begin like a formula. CSV files prefix such a text with an apostrophe, since spreadsheets run
formulas in CSV; Excel files store it as text, Parquet files unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.utils import get_column_letter
from openpyxl.worksheet._write_only import WriteOnlyWorksheet

Format = Literal["csv", "parquet", "xlsx"]
FORMATS: tuple[Format, ...] = ("csv", "parquet", "xlsx")
EXCEL_ROWS = 1_048_576  # of a sheet, the header included
_FORMULA = r"^([=+\-@\t\r\n＝＋－＠])"


class TableWriter(Protocol):
    """Writer of consecutive tables of one schema; the file is complete after `close`."""

    def write_table(self, table: pa.Table) -> None: ...
    def close(self) -> None: ...


def open_writer(kind: Format, stream: BinaryIO, schema: pa.Schema, title: str) -> TableWriter:
    """A writer of `schema` onto a stream that stays open; `title` names the sheet of an Excel file."""
    if kind == "csv":
        return CsvFile(stream, schema)
    if kind == "xlsx":
        return ExcelFile(stream, schema, title)
    writer: TableWriter = pq.ParquetWriter(stream, schema, compression="zstd")
    return writer


class CsvFile:
    """UTF-8 with a header. Instants end in Z, lists are joined by spaces, nulls are empty and texts are quoted."""

    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        self._writer = pa_csv.CSVWriter(stream, _as_csv(schema.empty_table()).schema)

    def write_table(self, table: pa.Table) -> None:
        self._writer.write_table(_as_csv(table))

    def close(self) -> None:
        self._writer.close()


class ExcelFile:
    """One sheet with a frozen header. Wall clocks and dates are Excel types, instants are text: Excel has no zones.

    Raises ValueError for more rows than a sheet allows.
    """

    def __init__(self, stream: BinaryIO, schema: pa.Schema, title: str) -> None:
        self._stream = stream
        self._book = Workbook(write_only=True)
        self._sheet: WriteOnlyWorksheet = self._book.create_sheet(title)
        self._rows = 1
        self._sheet.freeze_panes = "A2"
        for number, field in enumerate(schema, start=1):
            wide = pa.types.is_timestamp(field.type) or pa.types.is_list(field.type)
            self._sheet.column_dimensions[get_column_letter(number)].width = 22 if wide else 14
        self._sheet.append(schema.names)

    def write_table(self, table: pa.Table) -> None:
        self._rows += len(table)
        if self._rows > EXCEL_ROWS:
            raise ValueError(f"{self._rows - 1} rows do not fit into an Excel sheet")
        for row in rows_of(_flat(table)):
            self._sheet.append([excel_cell(self._sheet, value) for value in row])

    def close(self) -> None:
        self._book.save(self._stream)


def excel_cell(sheet: WriteOnlyWorksheet, value: object) -> object:
    """The cell for a value: text stays text, also with the prefix of a formula or unprintable characters."""
    if not isinstance(value, str):
        return value
    printable = ILLEGAL_CHARACTERS_RE.sub("\N{REPLACEMENT CHARACTER}", value)
    if not printable.startswith(("=", "#")):
        return printable
    cell = WriteOnlyCell(sheet, printable)  # ten times the cost of a bare value
    cell.data_type = "s"  # else a formula, or an error value such as #N/A
    return cell


def rows_of(table: pa.Table) -> Iterator[tuple[object, ...]]:
    """The rows as Python values, a few thousand at a time."""
    for batch in table.to_batches(max_chunksize=10_000):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _as_csv(table: pa.Table) -> pa.Table:
    return _mapped(_flat(table), lambda column: _harmless(column) if pa.types.is_string(column.type) else column)


def _flat(table: pa.Table) -> pa.Table:
    """Lists, instants and times of day as text; wall clocks to the second, the resolution of terminals."""

    def flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
        if pa.types.is_list(column.type):
            return pc.binary_join(column, " ")
        if pa.types.is_time(column.type):
            return pc.utf8_slice_codeunits(column.cast(pa.string()), 0, 5)  # no hours of a shift have seconds
        if pa.types.is_timestamp(column.type):
            seconds = column.cast(pa.timestamp("s", column.type.tz), safe=False)
            return seconds.cast(pa.string()) if column.type.tz else seconds
        return column

    return _mapped(table, flat)


def _mapped(table: pa.Table, change: _Change) -> pa.Table:
    columns: Iterable[pa.ChunkedArray] = (change(column) for column in table.columns)
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


class _Change(Protocol):
    def __call__(self, column: pa.ChunkedArray, /) -> pa.ChunkedArray: ...


def harmless_text(text: str) -> str:
    """A text for a CSV file, with an apostrophe if it begins like a formula."""
    return re.sub(_FORMULA, r"'\1", text)


def _harmless(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pc.any(pc.match_substring_regex(column.unique(), _FORMULA)).as_py():
        return column
    return pc.replace_substring_regex(column, _FORMULA, r"'\1")
