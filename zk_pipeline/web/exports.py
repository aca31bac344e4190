"""Raw punches or days as a file to download: what `zk-pipeline export` makes, sent while it is made."""

from __future__ import annotations

import threading
from datetime import date
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from zk_pipeline.api.auth import Identity
from zk_pipeline.api.paging import DateText, Text
from zk_pipeline.api.services import Given, Services
from zk_pipeline.errors import UsageError
from zk_pipeline.store.exports import ExportScope
from zk_pipeline.web.listing import asked_of, check_span
from zk_pipeline.web.pages import Reader, draw
from zk_pipeline.web.piping import SentWhileWritten

router = APIRouter(include_in_schema=False)
MOST_EXCEL_ROWS = 100_000  # some 15 s of CPU, which the pages of others share
_AT_ONCE = threading.BoundedSemaphore(2)
_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


class ExportAsked(BaseModel):
    """What of what, and how. Dates are work dates for days, the wall clock's for punches."""

    model_config = ConfigDict(extra="forbid")

    what: Literal["raw", "attendance"]
    kind: Literal["csv", "parquet", "xlsx"] = Field(alias="format")
    start_date: DateText = None
    end_date: DateText = None
    user_id: Text = None
    site: Text = None
    device: Text = None

    def scope(self) -> ExportScope:
        first, last = (date.fromisoformat(text) if text else None for text in (self.start_date, self.end_date))
        check_span(first, last)
        return ExportScope(first, last, self.user_id, self.site, self.device)


@router.get("/exports")
def exports(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity)


@router.get("/exports/file")
def export_file(request: Request, services: Given, identity: Reader) -> Response:
    try:
        asked = asked_of(request, ExportAsked)
        return _made(services, asked)
    except UsageError as error:
        return _draw(request, services, identity, problem=str(error))


def _made(services: Services, asked: ExportAsked) -> Response:
    from zk_pipeline.operations.export import export  # noqa: PLC0415 (openpyxl and pyarrow: slow to import)

    scope, store = asked.scope(), services.store.exports
    rows = sum(store.rows_by_date(asked.what, scope).values())
    if asked.kind == "xlsx" and rows > MOST_EXCEL_ROWS:
        raise UsageError(
            f"{rows:,} rows are too many for an Excel file here ({MOST_EXCEL_ROWS:,}): choose fewer dates, or CSV, or "
            "Parquet, or the command zk-pipeline export"
        )
    if not _AT_ONCE.acquire(blocking=False):
        raise HTTPException(503, "two exports are being made already: try again in a minute", {"Retry-After": "60"})
    span = "_".join(str(day) for day in (scope.first, scope.last) if day is not None)
    return SentWhileWritten(
        lambda stream: export(store, asked.what, scope, kind=asked.kind, stream=stream),
        media_type=_TYPES[asked.kind],
        filename=f"{asked.what}{'_' if span else ''}{span}.{asked.kind}",
        done=_AT_ONCE.release,
    )


def _draw(request: Request, services: Services, identity: Identity, *, problem: str | None = None) -> Response:
    around = services.store.enrolled.around([])
    return draw(
        request,
        "exports.html",
        identity,
        status=400 if problem else 200,
        problem=problem,
        typed=dict(request.query_params),
        sites=around.sites,
        devices=[name for _, name in around.devices],
        most_excel_rows=MOST_EXCEL_ROWS,
    )
