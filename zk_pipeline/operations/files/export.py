"""Export of punches, attendance days or absences to a file, read in parts with a short store lock each."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import date
from typing import BinaryIO

from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.table_writers import EXCEL_ROWS, Format, open_writer
from zk_pipeline.store.queries.exports import ExportScope, ExportStore, What

# A lock time of about 0.05 s and 30 MB; COPY of a year with 7 million punches would lock the store for 3 s.
_ROWS_AT_ONCE = 200_000
_log = logging.getLogger(__name__)


def export(store: ExportStore, what: What, scope: ExportScope, *, kind: Format, stream: BinaryIO) -> int:
    """Write the rows of `scope` to `stream`, ordered by time; returns their number.

    Each part is consistent at its own time: rows stored during the export may appear in later parts only, but a date is
    never split. Raises UsageError for an unknown device or site, and for more rows than an Excel sheet allows.
    """
    counts = store.rows_by_date(what, scope)
    total = sum(counts.values())
    if kind == "xlsx" and total >= EXCEL_ROWS:
        raise UsageError(
            f"{total:,} rows exceed the limit of an Excel sheet ({EXCEL_ROWS - 1:,}): choose fewer dates, or csv or "
            "parquet"
        )
    empty = store.read(what, scope, date.max, date.min)
    writer = open_writer(kind, stream, empty.schema, what)
    written = 0
    for first, last in parts(counts, _ROWS_AT_ONCE):
        table = store.read(what, scope, first, last)
        writer.write_table(table)
        written += len(table)
        _log.info("%s: %d of %d rows", last, written, total)
    writer.close()
    return written


def parts(counts: Mapping[date, int], size: int) -> Iterator[tuple[date, date]]:
    """First and last dates of parts of at most `size` rows; a date with more rows is its own part."""
    first: date | None = None
    rows = 0
    last = first
    for day, count in counts.items():
        if first is not None and last is not None and rows + count > size:
            yield first, last
            first, rows = None, 0
        first = first or day
        last = day
        rows += count
    if first is not None and last is not None:
        yield first, last
