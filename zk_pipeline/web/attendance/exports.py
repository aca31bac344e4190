"""Downloads of raw punches, attendance days and absences, as `zk-pipeline export` writes them; streamed."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.fields import as_date
from zk_pipeline.http.file_responses import MAX_EXCEL_ROWS
from zk_pipeline.http.file_responses import export_file as file_response
from zk_pipeline.http.pagination import DateText, Text
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.queries.exports import ExportScope
from zk_pipeline.web.list_pages import check_date_range, parse_query
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)


class ExportQuery(BaseModel):
    """Content, format and scope of a file. Dates are work dates for days, wall-clock dates for punches."""

    model_config = ConfigDict(extra="forbid")

    what: Literal["raw", "attendance", "absences"]
    kind: Literal["csv", "parquet", "xlsx"] = Field(alias="format")
    start_date: DateText = None
    end_date: DateText = None
    user_id: Text = None
    site: Text = None
    device: Text = None

    def scope(self) -> ExportScope:
        first, last = as_date(self.start_date), as_date(self.end_date)
        check_date_range(first, last)
        return ExportScope(first, last, self.user_id, self.site, self.device)


@router.get("/exports")
def exports(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity)


@router.get("/exports/file")
def export_file(request: Request, services: Given, identity: Reader) -> Response:
    try:
        asked = parse_query(request, ExportQuery)
        return file_response(services, asked.what, asked.scope(), asked.kind)
    except UsageError as error:
        return _draw(request, services, identity, problem=str(error))


def _draw(request: Request, services: Services, identity: Identity, *, problem: str | None = None) -> Response:
    around = services.store.enrolled_users.around([])
    return render(
        request,
        "exports.html",
        identity,
        status=400 if problem else 200,
        problem=problem,
        typed=dict(request.query_params),
        sites=around.sites,
        devices=[name for _, name in around.devices],
        most_excel_rows=MAX_EXCEL_ROWS,
    )
