"""Exports of raw punches and attendance days. `http.file_responses` streams the files."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from zk_pipeline.api.quarantine import find_device_name
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.fields import as_date
from zk_pipeline.http.file_responses import MEDIA_TYPES, export_file
from zk_pipeline.http.pagination import DateText, Number, Text
from zk_pipeline.http.services import Given
from zk_pipeline.operations.date_range import check_date_range
from zk_pipeline.store.queries.exports import ExportScope

router = APIRouter(prefix="/api", tags=["records"], responses=FAILURES)


class ExportParameters(BaseModel):
    """Rows and format. Dates are work dates for `attendance`, dates of the wall clock for `raw`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "parquet", "xlsx"] = "csv"
    start_date: DateText = Field(None, description="First date")
    end_date: DateText = Field(None, description="Last date, included")
    user_id: Text = Field(None, description="Only this user")
    site: Text = Field(None, description="Only this site")
    device: Number = Field(None, description="Only this device (its id); for `attendance`, the device of the clock-in")


@router.get(
    "/export/{what}/",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file", "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}
    },
)
def export(
    services: Given, _: Reader, what: Literal["raw", "attendance"], query: Annotated[ExportParameters, Query()]
) -> Response:
    """Raw punches or attendance days as a CSV, Parquet or Excel file, streamed.

    A failure after the start closes the connection, so that half a file is not taken for a whole one.
    """
    first, last = as_date(query.start_date), as_date(query.end_date)
    check_date_range(first, last)
    scope = ExportScope(first, last, query.user_id, query.site, find_device_name(services, query.device))
    return export_file(services, what, scope, query.format)
