"""Quarantined records and their release; corrections of wrong terminal clocks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Admin, Operator, Reader
from zk_pipeline.http.fields import Id, Note, Reading, Seconds
from zk_pipeline.http.pagination import FlagText, KeysetParameters, Number, PageOf, flag, page_of
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.strict_input import StrictRoute, with_body
from zk_pipeline.store.terminals.clock_corrections import Correction
from zk_pipeline.store.terminals.quarantine import PAGE_ORDER

router = APIRouter(prefix="/api", tags=["records"], responses=FAILURES, route_class=StrictRoute)

CorrectionAnswer = catalog_model(
    "ClockCorrection", Correction, "clock_corrections", {"punches": "Number of punches that it currently corrects"}
)
CorrectionId = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Quarantined(BaseModel):
    """A record of a terminal's log, or a line that it pushed, that cannot be a punch."""

    device_name: str
    reason: str = Field(description="Why it cannot be a punch")
    poll_id: int = Field(description="Poll that stored it first (device_polls.id)")
    created_at: datetime
    released_at: datetime | None = Field(description="When it was released (instant, UTC)")
    record_format: str | None = Field(description="Table of a pushed line; null for a record of a terminal's log")
    raw: str = Field(description="The record's bytes, as hexadecimal digits")
    text: str | None = Field(description="The line, if it is text; null for a record of a terminal's log")


class QuarantineParameters(KeysetParameters):
    """Filters of quarantined records."""

    device: Number = Field(None, description="Only of this device (its id)")
    released: FlagText = Field(None, description="Released records instead of those in quarantine")


class ReleaseParameters(BaseModel):
    """The device; default: all."""

    model_config = ConfigDict(extra="forbid")
    device: Number = Field(None, description="Only of this device (its id)")


class ReleaseBody(BaseModel):
    """The same parameters in an optional JSON body."""

    model_config = ConfigDict(extra="forbid")
    device: Id | None = Field(None, description="Only of this device (its id)")


class Released(BaseModel):
    """Result of a release for one device."""

    model_config = ConfigDict(from_attributes=True)

    device: str
    records: int = Field(description="Records that were released")
    new: int = Field(description="New punches of these records")
    left: int = Field(description="Records that still cannot be a punch")
    error: str | None = Field(None, description="Why the release failed; null on success")


class CorrectionBody(BaseModel):
    """A span of recorded times of a terminal, both ends included, and the seconds to add to them."""

    model_config = ConfigDict(extra="forbid")

    device: Id = Field(description="Its id")
    from_local: Reading = Field(description="First wrong recorded time, such as 2026-03-02T08:00")
    to_local: Reading = Field(description="Last wrong recorded time")
    add_seconds: Seconds = Field(description="Negative if the clock was fast")
    only_in_doubt: bool = Field(default=False, description="Correct only punches in doubt (is_clock_suspect)")
    reason: Note = ""


@router.get("/quarantine/", response_model=PageOf[Quarantined])
def quarantine(
    request: Request, services: Given, _: Reader, query: Annotated[QuarantineParameters, Query()]
) -> dict[str, Any]:
    """Records in quarantine, or released ones, newest first."""
    page = services.store.quarantine.page(
        query.page_request(PAGE_ORDER),
        device=find_device_name(services, query.device),
        released=flag(query.released) or False,
    )
    rows = [
        {
            "device_name": one.device,
            "reason": one.reason,
            "poll_id": one.poll_id,
            "created_at": one.created_at,
            "released_at": one.released_at,
            "record_format": one.record_format,
            "raw": one.raw.hex(),
            "text": one.text,
        }
        for one in page.rows
    ]
    return page_of(request, query, page) | {"results": rows}


@router.post("/quarantine/release/", response_model=list[Released])
def release(
    services: Given, _: Operator, query: Annotated[ReleaseParameters, Query()], body: ReleaseBody | None = None
) -> list[Any]:
    """Decode quarantined records again, after an encoding or a user list was corrected. Valid punches are stored, and
    the next processing run reprocesses their work dates.
    """
    from zk_pipeline.operations.quarantine_release import release_quarantine  # noqa: PLC0415 (pandas, slow to import)

    name = find_device_name(services, with_body(query, body).device)
    events = services.settings.receiver_punch_events
    return list(release_quarantine(services.store, None if name is None else [name], punch_events=events))


@router.get("/clock-corrections/", response_model=list[CorrectionAnswer])  # type: ignore[valid-type]
def corrections(services: Given, _: Reader) -> list[Correction]:
    """All clock corrections in order of creation, including revoked ones."""
    return services.store.clock_corrections.all()


@router.post("/clock-corrections/", response_model=CorrectionAnswer, status_code=201)
def correct(services: Given, _: Admin, new: CorrectionBody) -> Correction:
    """Correct recorded times of a wrong terminal clock, including punches that are stored later. The recorded times
    stay; the next processing run reprocesses the work dates.
    """
    name = find_device_name(services, new.device)
    assert name is not None
    return services.store.clock_corrections.add(
        name,
        from_local=datetime.fromisoformat(new.from_local),
        to_local=datetime.fromisoformat(new.to_local),
        add_seconds=new.add_seconds,
        reason=new.reason,
        only_in_doubt=new.only_in_doubt,
    )


@router.delete("/clock-corrections/{correction_id}/", status_code=204)
def revoke(services: Given, _: Admin, correction_id: CorrectionId) -> Response:
    """Revoke a clock correction: recorded times count unchanged again. The correction stays in the list."""
    if not any(one.id == correction_id and one.revoked_at is None for one in services.store.clock_corrections.all()):
        raise HTTPException(404, "Not found.")
    services.store.clock_corrections.revoke(correction_id)
    return Response(status_code=204)


def find_device_name(services: Services, number: object) -> str | None:
    """The name of the device with this id; None for None. Raises UsageError for an unknown id."""
    if not isinstance(number, int):
        return None
    name = next((one.name for one in services.store.devices.all() if one.id == number), None)
    if name is None:
        raise UsageError(f"device: there is none with the id {number}")
    return name
