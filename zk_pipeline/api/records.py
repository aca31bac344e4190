"""What is behind the days: records in quarantine, corrected clocks, why a day is what it is, and files of it all."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from zk_pipeline.api.answers import FAILURES
from zk_pipeline.api.auth import Admin, Operator, Reader
from zk_pipeline.api.described import described
from zk_pipeline.api.fields import Date, Id, Instant, Reading, Seconds, Words, as_date, as_instant
from zk_pipeline.api.files import MEDIA_TYPES, export_file
from zk_pipeline.api.paging import DateText, FlagText, Number, PageOf, Text, Walked, flag, page_of
from zk_pipeline.api.services import Given, Services
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.spans import check_span
from zk_pipeline.store.corrections import Correction
from zk_pipeline.store.explanations import ExplainedPunch, Revision
from zk_pipeline.store.exports import ExportScope
from zk_pipeline.store.quarantine import PAGE_ORDER

router = APIRouter(prefix="/api", tags=["records"], responses=FAILURES)

CorrectionAnswer = described(
    "ClockCorrection", Correction, "clock_corrections", {"punches": "How many punches are under it now"}
)
RevisionAnswer = described(
    "Revision",
    Revision,
    "daily_attendance_history",
    {
        "made_at": "When this revision was made (instant, UTC)",
        "delivery": "State of its delivery now; null where there was none",
        "delivered_at": "When the CRM confirmed it (instant, UTC)",
        "idempotency_key": "Key of its delivery",
    },
)
ExplainedAnswer = described(
    "ExplainedPunch",
    ExplainedPunch,
    "raw_punches",
    {
        "site": "Site of its device",
        "poll_id": "Poll that brought it first (device_polls.id)",
        "stored_at": "When it was stored (instant, UTC)",
        "read_local": "What the terminal recorded, where its clock was corrected afterwards",
    },
)
CorrectionId = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Quarantined(BaseModel):
    """A record of a terminal's log that cannot be a punch."""

    device_name: str
    reason: str = Field(description="Why it cannot be a punch")
    poll_id: int = Field(description="Poll that brought it first (device_polls.id)")
    created_at: datetime
    released_at: datetime | None = Field(description="When it could be read after all")
    raw: str = Field(description="The record's bytes, as hexadecimal digits")


class QuarantineParameters(Walked):
    """Which records."""

    device: Number = Field(None, description="Only of this device (its id)")
    released: FlagText = Field(None, description="Those that were released from it instead")


class ReleaseParameters(BaseModel):
    """Of which device; without, of all."""

    model_config = ConfigDict(extra="forbid")
    device: Number = Field(None, description="Only of this device (its id)")


class Released(BaseModel):
    """What reading the records of one device again came to."""

    model_config = ConfigDict(from_attributes=True)

    device: str
    records: int = Field(description="That could be read now")
    new: int = Field(description="Punches among them that were not stored yet")
    left: int = Field(description="Records that still cannot be a punch")


class CorrectionBody(BaseModel):
    """Readings of a terminal from one to another, both as it recorded them, and what to add to them."""

    model_config = ConfigDict(extra="forbid")

    device: Id = Field(description="Its id")
    from_local: Reading = Field(description="First wrong reading, such as 2026-03-02T08:00")
    to_local: Reading = Field(description="Last wrong reading")
    add_seconds: Seconds = Field(description="Negative where its clock was fast")
    reason: Words = ""


class ExplainParameters(BaseModel):
    """Which day, and as of when."""

    model_config = ConfigDict(extra="forbid")

    user_id: Annotated[str, Field(min_length=1, max_length=200, description="The person")]
    date: Date = Field(description="The work date")
    site: Text = Field(None, description="Only at this site")
    as_of: Instant | None = Field(None, description="What was said then, such as 2026-11-03T17:00:00Z")


class Explained(BaseModel):
    """All that is known of a person's day: the last revision of each site is what is (or was) said."""

    user_id: str
    work_date: date
    as_of: datetime | None
    punches: list[ExplainedAnswer]  # type: ignore[valid-type]
    revisions: list[RevisionAnswer]  # type: ignore[valid-type]


class ExportParameters(BaseModel):
    """Which rows, and as what. Dates are work dates for `attendance`, the wall clock's for `raw`."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["csv", "parquet", "xlsx"] = "csv"
    start_date: DateText = Field(None, description="First date")
    end_date: DateText = Field(None, description="Last date, included")
    user_id: Text = Field(None, description="Only this person")
    site: Text = Field(None, description="Only this site")
    device: Number = Field(None, description="Only this device (its id); of days: the device of the clock-in")


@router.get("/quarantine/", response_model=PageOf[Quarantined])
def quarantine(
    request: Request, services: Given, _: Reader, asked: Annotated[QuarantineParameters, Query()]
) -> dict[str, Any]:
    """Records that could not be read as punches, the newest first: those in quarantine, or those released from it."""
    held = services.store.quarantine.page(
        asked.place(PAGE_ORDER), device=_device(services, asked.device), released=flag(asked.released) or False
    )
    rows = [
        {
            "device_name": one.device,
            "reason": one.reason,
            "poll_id": one.poll_id,
            "created_at": one.created_at,
            "released_at": one.released_at,
            "raw": one.raw.hex(),
        }
        for one in held.rows
    ]
    return page_of(request, asked, held) | {"results": rows}


@router.post("/quarantine/release/", response_model=list[Released])
def release(services: Given, _: Operator, asked: Annotated[ReleaseParameters, Query()]) -> list[Any]:
    """Read the records in quarantine again, after an encoding or a user list was set right. What is a punch now is
    stored, and the next processing makes its days again.
    """
    from zk_pipeline.operations.release import release as release_records  # noqa: PLC0415 (pandas, slow to import)

    name = _device(services, asked.device)
    return list(release_records(services.store, None if name is None else [name]))


@router.get("/clock-corrections/", response_model=list[CorrectionAnswer])  # type: ignore[valid-type]
def corrections(services: Given, _: Reader) -> list[Correction]:
    """Every correction of a clock ever made, in order; a revoked one says when."""
    return services.store.corrections.all()


@router.post("/clock-corrections/", response_model=CorrectionAnswer, status_code=201)
def correct(services: Given, _: Admin, new: CorrectionBody) -> Correction:
    """Correct what a terminal recorded while its clock was wrong, also what comes later. The readings stay; the next
    processing makes the days again.
    """
    name = _device(services, new.device)
    assert name is not None
    return services.store.corrections.add(
        name,
        from_local=datetime.fromisoformat(new.from_local),
        to_local=datetime.fromisoformat(new.to_local),
        add_seconds=new.add_seconds,
        reason=new.reason,
    )


@router.delete("/clock-corrections/{correction_id}/", status_code=204)
def revoke(services: Given, _: Admin, correction_id: CorrectionId) -> Response:
    """Take a correction back: its readings count as recorded again. It stays on the list."""
    if not any(one.id == correction_id and one.revoked_at is None for one in services.store.corrections.all()):
        raise HTTPException(404, "Not found.")
    services.store.corrections.revoke(correction_id)
    return Response(status_code=204)


@router.get("/explain/", response_model=Explained)
def explain(services: Given, _: Reader, asked: Annotated[ExplainParameters, Query()]) -> dict[str, Any]:
    """What was said of a person's day, when, and why: its punches, every revision with the run that made it and the
    hours it was judged by, and what the CRM was told.
    """
    day = date.fromisoformat(asked.date)
    found = services.store.explanations.explain(asked.user_id, day, as_of=as_instant(asked.as_of))
    punches = [one for one in found.punches if asked.site in (None, one.site)]
    revisions = [one for one in found.revisions if asked.site in (None, one.site)]
    if not punches and not revisions:
        raise HTTPException(404, "Nothing is known of this person on that date.")
    return {
        "user_id": found.user_id,
        "work_date": found.work_date,
        "as_of": found.as_of,
        "punches": punches,
        "revisions": revisions,
    }


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
    check_span(first, last)
    scope = ExportScope(first, last, asked.user_id, asked.site, _device(services, asked.device))
    return export_file(services, what, scope, asked.format)


def _device(services: Services, number: object) -> str | None:
    """The name of the device with that id. Raises UsageError where there is none."""
    if not isinstance(number, int):
        return None
    name = next((one.name for one in services.store.devices.all() if one.id == number), None)
    if name is None:
        raise UsageError(f"device: there is none with the id {number}")
    return name
