"""Explanation of one attendance day: punches, revisions, deliveries."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.leaves import LeaveAnswer
from zk_pipeline.api.punch_requests import ManualPunchAnswer
from zk_pipeline.api.responses import FAILURES, MISSING
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.fields import Date, Instant, as_instant
from zk_pipeline.http.pagination import Text
from zk_pipeline.http.services import Given
from zk_pipeline.store.queries.explanations import ExplainedPunch, LeftOut, Revision

router = APIRouter(prefix="/api", tags=["records"], responses=FAILURES)

RevisionAnswer = catalog_model(
    "Revision",
    Revision,
    "daily_attendance_revisions",
    {
        "made_at": "When this revision was written (instant, UTC)",
        "delivery": "Current state of its delivery; null without one",
        "delivered_at": "When the CRM confirmed it (instant, UTC)",
        "idempotency_key": "Key of its delivery",
        "season": "Season by which the shift applies in place of the assigned one, as of now; null without one",
    },
)
ExplainedAnswer = catalog_model(
    "ExplainedPunch",
    ExplainedPunch,
    "raw_punches",
    {
        "site": "Site of its device",
        "punch_direction": "in or out",
        "direction_source": "Where the direction comes from: the device (entry or exit gate), the punch_state, or "
        "alternation of the punches of the day",
        "poll_id": "Poll that stored it first (device_polls.id); null for a manual punch",
        "stored_at": "When it was stored, or approved (instant, UTC)",
        "read_local": "Recorded time, if a clock correction changed it",
        "manual_punch_id": "Manual punch (manual_punches.id); null for a punch of a terminal, as the next three",
        "reason": "Reason of the manual punch",
        "requested_by": "Operator or API token who requested it",
        "decided_by": "Operator or API token who approved it",
    },
)


LeftOutAnswer = catalog_model(
    "LeftOutRecord",
    LeftOut,
    "quarantined_records",
    {
        "site": "Site of its device",
        "recorded_local": "Recorded time of a punch by a clock that was wrong; null for a line in quarantine",
        "raw_text": "The line in quarantine; null for a punch",
        "stored_at": "When it was stored (instant, UTC)",
    },
)


class ExplainParameters(BaseModel):
    """The attendance day, and the instant of the view."""

    model_config = ConfigDict(extra="forbid")

    user_id: Annotated[str, Field(min_length=1, max_length=200, description="The user")]
    date: Date = Field(description="The work date")
    site: Text = Field(None, description="Only at this site")
    as_of: Instant | None = Field(None, description="State at this instant, such as 2026-11-03T17:00:00Z")


class Explained(BaseModel):
    """Punches and revisions of a user and work date; the last revision of each site is (or was) the valid one."""

    user_id: str
    work_date: date
    as_of: datetime | None
    punches: list[ExplainedAnswer]  # type: ignore[valid-type]
    revisions: list[RevisionAnswer]  # type: ignore[valid-type]
    withdrawn: list[ManualPunchAnswer] = Field(  # type: ignore[valid-type]
        description="Manual punches of this date that were withdrawn, and count no more"
    )
    left_out: list[LeftOutAnswer] = Field(  # type: ignore[valid-type]
        description="Records of the user and this date on the wall clock that count on no day: punches by a clock that "
        "was wrong, and pushed or imported lines in quarantine. At most 50"
    )
    leaves: list[LeaveAnswer] = Field(description="Leaves of the user on this date")  # type: ignore[valid-type]


@router.get("/explain/", response_model=Explained, responses=MISSING)
def explain(services: Given, _: Reader, query: Annotated[ExplainParameters, Query()]) -> dict[str, Any]:
    """Explain an attendance day: its punches, and every revision with its run, working hours and delivery."""
    day = date.fromisoformat(query.date)
    every_site = services.store.explanations.explain(query.user_id, day, as_of=as_instant(query.as_of))
    explained = every_site.at(query.site)
    if explained.is_empty:
        raise HTTPException(404, "There are no punches, revisions and leaves of this user on that date.")
    return {
        "user_id": explained.user_id,
        "work_date": explained.work_date,
        "as_of": explained.as_of,
        "punches": explained.punches,
        "revisions": explained.revisions,
        "withdrawn": explained.withdrawn,
        "left_out": explained.left_out,
        "leaves": explained.leaves,
    }
