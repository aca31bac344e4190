"""Requests of manual punches, and the decisions on them; docs/attendance.md has the rules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES, Problem
from zk_pipeline.http.auth import Approver, Reader, Requester
from zk_pipeline.http.fields import Minute, Name, Reason, UserId
from zk_pipeline.http.pagination import PageOf, numbered_page
from zk_pipeline.http.punch_requests import PunchRequestParameters
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.enrolled_users import unknown_user_warning
from zk_pipeline.store.work_dates.manual_punches import (
    ManualPunch,
    PunchRequest,
)

router = APIRouter(prefix="/api/punch-requests", tags=["attendance"], responses=FAILURES, route_class=StrictRoute)

ManualPunchAnswer = catalog_model("ManualPunch", ManualPunch, "manual_punches")
RequestId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_STORED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The same punch is requested already"}
}
_DECIDED: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "The scope does not allow it, or the token made the request itself"},
    409: {"model": Problem, "description": "The request is already approved or rejected"},
}
_NOT_APPROVED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The request is not approved, or is already withdrawn"}
}


class RequestBody(BaseModel):
    """A punch that no terminal recorded."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    site: Name
    at: Minute = Field(description="Wall clock at the site, such as 2026-11-02T17:30")
    state: Literal["in", "out"] = Field(description="Clock-in or clock-out")
    reason: Reason = Field(description="Reason of the request")


class RequestAnswer(ManualPunchAnswer):  # type: ignore[valid-type, misc]
    """A stored request."""

    warning: str | None = Field(description="The user id is unknown to all terminals and punches; null: known")


class ApproveBody(BaseModel):
    """An optional remark."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason | None = Field(None, description="Remark on the approval")


class WithdrawBody(BaseModel):
    """The reason of the withdrawal."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="Reason of the withdrawal")


class RejectBody(BaseModel):
    """The reason of the rejection."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = Field(description="Reason of the rejection")


@router.get("/", response_model=PageOf[ManualPunchAnswer])  # type: ignore[valid-type]
def requests(
    request: Request, services: Given, _: Reader, query: Annotated[PunchRequestParameters, Query()]
) -> dict[str, Any]:
    """Requests of manual punches with their decisions: those that wait for one first, the newest first."""
    count, rows = services.store.manual_punches.page(query.wanted, limit=query.size, offset=query.offset)
    return numbered_page(request, query, count, rows)


@router.post("/", response_model=RequestAnswer, status_code=201, responses=_STORED)
def create(services: Given, identity: Requester, new: RequestBody) -> dict[str, Any]:
    """Request a punch that no terminal recorded. It counts after another token or operator has approved it."""
    wanted = PunchRequest(new.user_id.strip(), new.site, datetime.fromisoformat(new.at), new.state, new.reason.strip())
    refuse_name(services.store, wanted.user_id)
    manual_punches = services.store.manual_punches
    (made,) = manual_punches.request([wanted], identity.name, history_start=services.settings.history_start)
    return {**vars(made), "warning": unknown_user_warning(services.store.enrolled_users.unknown([made.user_id]))}


@router.post("/{request_id}/approve/", response_model=ManualPunchAnswer, responses=_DECIDED)
def approve(services: Given, identity: Approver, request_id: RequestId, body: ApproveBody | None = None) -> ManualPunch:
    """Approve a request: its punch counts, and the next processing run computes its day again."""
    reason = body.reason if body else None
    (done,) = services.store.manual_punches.decide(
        [request_id], "approved", identity.name, reason=reason, may_be_own=False
    )
    return done


@router.post("/{request_id}/reject/", response_model=ManualPunchAnswer, responses=_DECIDED)
def reject(services: Given, identity: Approver, request_id: RequestId, body: RejectBody) -> ManualPunch:
    """Reject a request; it stays in the list with the reason."""
    (done,) = services.store.manual_punches.decide(
        [request_id], "rejected", identity.name, reason=body.reason, may_be_own=False
    )
    return done


@router.post("/{request_id}/withdraw/", response_model=ManualPunchAnswer, responses=_NOT_APPROVED)
def withdraw(services: Given, identity: Approver, request_id: RequestId, body: WithdrawBody) -> ManualPunch:
    """Withdraw an approved request: its punch counts no more, and the next processing run computes its day again."""
    (done,) = services.store.manual_punches.withdraw([request_id], identity.name, body.reason)
    return done
