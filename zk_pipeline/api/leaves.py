"""Leaves: dated reasons of absence; docs/attendance.md has the rules."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES, Problem
from zk_pipeline.http.auth import Approver, Reader
from zk_pipeline.http.fields import Date, Name, Note, UserId
from zk_pipeline.http.leaves import LeaveParameters
from zk_pipeline.http.pagination import FlagText, PageOf, flag, numbered_page
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.operations.user_ids import refuse_name
from zk_pipeline.store.enrolled_users import unknown_user_warning
from zk_pipeline.store.shifts.leaves import Leave, NewLeave

router = APIRouter(prefix="/api/leaves", tags=["days off"], responses=FAILURES, route_class=StrictRoute)

LeaveAnswer = catalog_model("Leave", Leave, "leaves")
LeaveId = Annotated[int, Path(ge=1, le=2**63 - 1)]
_STORED: dict[int | str, dict[str, Any]] = {409: {"model": Problem, "description": "The same leave is stored already"}}


class LeaveQuery(LeaveParameters):
    """Filters of leaves; dates are work dates."""

    removed: FlagText = Field(None, description="Removed leaves instead of the active ones")


class LeaveBody(BaseModel):
    """A leave of a user, from its first to its last work date."""

    model_config = ConfigDict(extra="forbid")

    user_id: UserId
    first_date: Date
    last_date: Date | None = Field(None, description="Last work date, included; null: the first")
    kind: Name = Field(description="Reason, such as annual leave, sick leave, business trip")
    site: Name | None = Field(None, description="Only at this site; null: at all sites")
    day_part: Literal["morning", "afternoon"] | None = Field(None, description="Half of each date; null: whole dates")
    note: Note = ""


class NewLeaveAnswer(LeaveAnswer):  # type: ignore[valid-type, misc]
    """A stored leave."""

    warning: str | None = Field(description="The user id is unknown to all terminals and punches; null: known")


@router.get("/", response_model=PageOf[LeaveAnswer])  # type: ignore[valid-type]
def leaves(request: Request, services: Given, _: Reader, query: Annotated[LeaveQuery, Query()]) -> dict[str, Any]:
    """Leaves, the latest dates first."""
    wanted = query.wanted(removed=flag(query.removed) or False)
    count, rows = services.store.leaves.page(wanted, limit=query.size, offset=query.offset)
    return numbered_page(request, query, count, rows)


@router.post("/", response_model=NewLeaveAnswer, status_code=201, responses=_STORED)
def add(services: Given, identity: Approver, new: LeaveBody) -> dict[str, Any]:
    """Enter a leave. It is the reason of absences on its dates, and changes no attendance day."""
    first = date.fromisoformat(new.first_date)
    wanted = NewLeave(
        user_id=new.user_id.strip(),
        first_date=first,
        last_date=date.fromisoformat(new.last_date) if new.last_date else first,
        kind=new.kind.strip(),
        site=new.site,
        day_part=new.day_part,
        note=new.note.strip(),
    )
    refuse_name(services.store, wanted.user_id)
    made = services.store.leaves.add(wanted, identity.name)
    unknown = services.store.enrolled_users.unknown([made.user_id])
    return {**vars(made), "warning": unknown_user_warning(unknown)}


@router.delete("/{leave_id}/", status_code=204)
def remove(services: Given, identity: Approver, leave_id: LeaveId) -> Response:
    """Remove a leave; it stays in the list of removed ones."""
    services.store.leaves.remove(leave_id, identity.name)
    return Response(status_code=204)
