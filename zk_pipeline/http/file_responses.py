"""Raw punches or days as an answer that is a file: for scripts and for pages, so many at a time and no more."""

from __future__ import annotations

import threading

from starlette.exceptions import HTTPException
from starlette.responses import Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.services import Services
from zk_pipeline.http.streaming import StreamedResponse
from zk_pipeline.store.queries.exports import ExportScope, What

MOST_EXCEL_ROWS = 100_000  # some 15 s of CPU, which the answers to others share
MOST_EXPORTS = 2  # at a time
EXPORTS = threading.BoundedSemaphore(MOST_EXPORTS)
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


def export_file(services: Services, what: What, scope: ExportScope, kind: str) -> Response:
    """The rows of `scope`, sent while they are written. Raises UsageError, and HTTPException 503 for one too many."""
    from zk_pipeline.operations.files.export import export  # noqa: PLC0415 (openpyxl and pyarrow: slow to import)

    store = services.store.exports
    rows = sum(store.rows_by_date(what, scope).values())
    if kind == "xlsx" and rows > MOST_EXCEL_ROWS:
        raise UsageError(
            f"{rows:,} rows are too many for an Excel file here ({MOST_EXCEL_ROWS:,}): choose fewer dates, or CSV, or "
            "Parquet, or the command zk-pipeline export"
        )
    if not EXPORTS.acquire(blocking=False):
        raise HTTPException(503, "two exports are being made already: try again in a minute", {"Retry-After": "60"})
    span = "_".join(str(day) for day in (scope.first, scope.last) if day is not None)
    return StreamedResponse(
        lambda stream: export(store, what, scope, kind=kind, stream=stream),  # type: ignore[arg-type]
        media_type=MEDIA_TYPES[kind],
        filename=f"{what}{'_' if span else ''}{span}.{kind}",
        done=EXPORTS.release,
    )
