"""Raw punches and days as files. How they are written and sent is `file_responses`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import StreamingResponse

from zk_pipeline.api.quarantine import name_of_device
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
    """Which rows, and as what. Dates are work dates for `attendance`, the wall clock's for `raw`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "parquet", "xlsx"] = "csv"
    start_date: DateText = Field(None, description="First date")
    end_date: DateText = Field(None, description="Last date, included")
    user_id: Text = Field(None, description="Only this person")
    site: Text = Field(None, description="Only this site")
    device: Number = Field(None, description="Only this device (its id); of days: the device of the clock-in")


@router.get(
    "/export/{what}/",
    response_class=StreamingResponse,
    responses={
        200: {"description": "The file", "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}
    },
)
def export(
    services: Given, _: Reader, what: Literal["raw", "attendance"], asked: Annotated[ExportParameters, Query()]
) -> Response:
    """Raw punches or days as a CSV, Parquet or Excel file that is sent while it is written.

    A failure in the middle of it ends the connection, so that half a file is not taken for a whole one.
    """
    first, last = as_date(asked.start_date), as_date(asked.end_date)
    check_date_range(first, last)
    scope = ExportScope(first, last, asked.user_id, asked.site, name_of_device(services, asked.device))
    return export_file(services, what, scope, asked.format)
