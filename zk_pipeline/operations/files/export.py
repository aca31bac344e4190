"""Raw punches, days or absences into a file: read part by part, each in a short hold, and written meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import date
from typing import BinaryIO

from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.table_writers import EXCEL_ROWS, Format, open_writer
from zk_pipeline.store.queries.exports import ExportScope, ExportStore, What

# A hold of about 0.05 s and some 30 MB; COPY of a year of 7 million punches would hold the store for 3 s.
_ROWS_AT_ONCE = 200_000
_log = logging.getLogger(__name__)


def export(store: ExportStore, what: What, scope: ExportScope, *, kind: Format, stream: BinaryIO) -> int:
    """Write the rows of `scope` to `stream`, ordered by time; how many they were.

    Each part is as the store had it when it was read: what is stored meanwhile may be in later parts and not in
    earlier ones, but a date is never split. Raises UsageError for an unknown device or site, and for more rows than an
    Excel sheet holds.
    """
    counts = store.rows_by_date(what, scope)
    total = sum(counts.values())
    if kind == "xlsx" and total >= EXCEL_ROWS:
        raise UsageError(
            f"{total:,} rows are more than an Excel sheet holds ({EXCEL_ROWS - 1:,}): choose fewer dates, or csv, "
            "or parquet"
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
    """First and last dates of parts that have at most `size` rows each; a date that has more is a part by itself."""
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
