"""File responses: exports of raw punches or attendance days, streamed, with a limit on concurrent exports; payroll."""

from __future__ import annotations

import io
import threading

from starlette.exceptions import HTTPException
from starlette.responses import Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.services import Services
from zk_pipeline.http.streaming import StreamedResponse
from zk_pipeline.store.queries.exports import ExportScope, What

MAX_EXCEL_ROWS = 100_000  # about 15 s of CPU, during which other responses are slower
MAX_EXPORTS = 2  # concurrent
EXPORT_SLOTS = threading.BoundedSemaphore(MAX_EXPORTS)
MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
PAYROLL_NOTICE = "Payroll-Notice"  # header of the file of an open period
PAYROLL_MEDIA_TYPES = {"csv": "text/csv", "xlsx": MEDIA_TYPES["xlsx"], "txt": "text/plain"}


def export_file(services: Services, what: What, scope: ExportScope, kind: str) -> Response:
    """The rows of `scope`, streamed. Raises UsageError; HTTPException 503 if too many exports are in progress."""
    from zk_pipeline.operations.files.export import export  # noqa: PLC0415 (openpyxl and pyarrow: slow to import)

    store = services.store.exports
    rows = sum(store.rows_by_date(what, scope).values())
    if kind == "xlsx" and rows > MAX_EXCEL_ROWS:
        raise UsageError(
            f"{rows:,} rows exceed the limit of Excel files here ({MAX_EXCEL_ROWS:,}): choose fewer dates, CSV, "
            "Parquet, or the command zk-pipeline export"
        )
    if not EXPORT_SLOTS.acquire(blocking=False):
        raise HTTPException(503, "two exports are already in progress: try again in a minute", {"Retry-After": "60"})
    span = "_".join(str(day) for day in (scope.first, scope.last) if day is not None)
    return StreamedResponse(
        lambda stream: export(store, what, scope, kind=kind, stream=stream),  # type: ignore[arg-type]
        media_type=MEDIA_TYPES[kind],
        filename=f"{what}{'_' if span else ''}{span}.{kind}",
        done=EXPORT_SLOTS.release,
    )


def payroll_file(services: Services, period: str, profile: str) -> Response:
    """Payroll file of a period in a profile. Raises UsageError; ZkPipelineError if the sums do not agree."""
    from zk_pipeline.operations.payroll.pay_files import write_payroll  # noqa: PLC0415 (openpyxl: slow to import)
    from zk_pipeline.operations.payroll.profiles import find_profile  # noqa: PLC0415

    path = services.settings.payroll_profiles_path
    chosen = find_profile(profile, path)
    rows, stream = services.store.payroll.rows(period), io.BytesIO()
    write_payroll(rows, chosen, stream, templates=(path or services.settings.home).parent)
    name = rows.period.period if rows.period.is_closed else f"{rows.period.period}_open"
    suffix = chosen.format if chosen.format in PAYROLL_MEDIA_TYPES else "txt"
    media = PAYROLL_MEDIA_TYPES[suffix]
    return Response(
        stream.getvalue(),
        headers={
            "Content-Disposition": f'attachment; filename="payroll_{name}.{suffix}"',
            "Content-Type": f"{media}; charset={chosen.encoding}" if media.startswith("text/") else media,
            **({PAYROLL_NOTICE: rows.period.notice} if rows.period.notice else {}),
        },
    )
