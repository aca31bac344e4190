"""Records that were no punches, and readings of clocks that were wrong: what is done about them afterwards."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import described
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Admin, Operator, Reader
from zk_pipeline.http.fields import Id, Reading, Seconds, Words
from zk_pipeline.http.pagination import FlagText, Number, PageOf, Walked, flag, page_of
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.strict_input import StrictRoute, with_body
from zk_pipeline.store.terminals.clock_corrections import Correction
from zk_pipeline.store.terminals.quarantine import PAGE_ORDER

router = APIRouter(prefix="/api", tags=["records"], responses=FAILURES, route_class=StrictRoute)

CorrectionAnswer = described(
    "ClockCorrection", Correction, "clock_corrections", {"punches": "How many punches are under it now"}
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


class ReleaseBody(BaseModel):
    """The same in a JSON body, which may be left out."""

    model_config = ConfigDict(extra="forbid")
    device: Id | None = Field(None, description="Only of this device (its id)")


class Released(BaseModel):
    """What reading the records of one device again came to."""

    model_config = ConfigDict(from_attributes=True)

    device: str
    records: int = Field(description="That could be read now")
    new: int = Field(description="Punches among them that were not stored yet")
    left: int = Field(description="Records that still cannot be a punch")
    error: str | None = Field(None, description="Why none of them was released; null where that went well")


class CorrectionBody(BaseModel):
    """Readings of a terminal from one to another, both as it recorded them, and what to add to them."""

    model_config = ConfigDict(extra="forbid")

    device: Id = Field(description="Its id")
    from_local: Reading = Field(description="First wrong reading, such as 2026-03-02T08:00")
    to_local: Reading = Field(description="Last wrong reading")
    add_seconds: Seconds = Field(description="Negative where its clock was fast")
    only_in_doubt: bool = Field(default=False, description="Leave readings alone that are not in doubt")
    reason: Words = ""


@router.get("/quarantine/", response_model=PageOf[Quarantined])
def quarantine(
    request: Request, services: Given, _: Reader, asked: Annotated[QuarantineParameters, Query()]
) -> dict[str, Any]:
    """Records that could not be read as punches, the newest first: those in quarantine, or those released from it."""
    held = services.store.quarantine.page(
        asked.place(PAGE_ORDER), device=name_of_device(services, asked.device), released=flag(asked.released) or False
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
def release(
    services: Given, _: Operator, asked: Annotated[ReleaseParameters, Query()], body: ReleaseBody | None = None
) -> list[Any]:
    """Read the records in quarantine again, after an encoding or a user list was set right. What is a punch now is
    stored, and the next processing makes its days again.
    """
    from zk_pipeline.operations.quarantine_release import release_quarantine  # noqa: PLC0415 (pandas, slow to import)

    name = name_of_device(services, with_body(asked, body).device)
    return list(release_quarantine(services.store, None if name is None else [name]))


@router.get("/clock-corrections/", response_model=list[CorrectionAnswer])  # type: ignore[valid-type]
def corrections(services: Given, _: Reader) -> list[Correction]:
    """Every correction of a clock ever made, in order; a revoked one says when."""
    return services.store.clock_corrections.all()


@router.post("/clock-corrections/", response_model=CorrectionAnswer, status_code=201)
def correct(services: Given, _: Admin, new: CorrectionBody) -> Correction:
    """Correct what a terminal recorded while its clock was wrong, also what comes later. The readings stay; the next
    processing makes the days again.
    """
    name = name_of_device(services, new.device)
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
    """Take a correction back: its readings count as recorded again. It stays on the list."""
    if not any(one.id == correction_id and one.revoked_at is None for one in services.store.clock_corrections.all()):
        raise HTTPException(404, "Not found.")
    services.store.clock_corrections.revoke(correction_id)
    return Response(status_code=204)


def name_of_device(services: Services, number: object) -> str | None:
    """The name of the device with that id. Raises UsageError where there is none."""
    if not isinstance(number, int):
        return None
    name = next((one.name for one in services.store.devices.all() if one.id == number), None)
    if name is None:
        raise UsageError(f"device: there is none with the id {number}")
    return name
