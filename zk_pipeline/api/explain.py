"""What was said of a person's day, when, and why."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import described
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.fields import Date, Instant, as_instant
from zk_pipeline.http.pagination import Text
from zk_pipeline.http.services import Given
from zk_pipeline.store.queries.explanations import ExplainedPunch, Revision

router = APIRouter(prefix="/api", tags=["records"], responses=FAILURES)

RevisionAnswer = described(
    "Revision",
    Revision,
    "daily_attendance_revisions",
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


@router.get("/explain/", response_model=Explained)
def explain(services: Given, _: Reader, asked: Annotated[ExplainParameters, Query()]) -> dict[str, Any]:
    """What was said of a person's day, when, and why: its punches, every revision with the run that made it and the
    hours it was judged by, and what the CRM was told.
    """
    day = date.fromisoformat(asked.date)
    known = services.store.explanations.explain(asked.user_id, day, as_of=as_instant(asked.as_of))
    found = known.at(asked.site)
    if not found.punches and not found.revisions:
        raise HTTPException(404, "Nothing is known of this person on that date.")
    return {
        "user_id": found.user_id,
        "work_date": found.work_date,
        "as_of": found.as_of,
        "punches": found.punches,
        "revisions": found.revisions,
    }
