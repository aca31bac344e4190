"""Reviews of outliers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.attendance import DayId, find_day
from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES, Problem
from zk_pipeline.http.auth import Reader, Reviewer
from zk_pipeline.http.fields import Note
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.store.queries.reviews import Review

router = APIRouter(prefix="/api/processed-attendance", tags=["attendance"], responses=FAILURES, route_class=StrictRoute)

ReviewAnswer = catalog_model("Review", Review, "day_reviews")
_CHANGED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The day has a newer revision, or is not an outlier"}
}


class ReviewBody(BaseModel):
    """Review of an attendance day."""

    model_config = ConfigDict(extra="forbid")

    revision: Annotated[int, Field(ge=1, le=2**31 - 1, description="The reviewed revision")]
    note: Note = Field("", description="Remark of the reviewer")
    is_reviewed: bool = Field(True, strict=True, description="false: to be reviewed again")


@router.get("/{day_id}/reviews/", response_model=list[ReviewAnswer])  # type: ignore[valid-type]
def reviews(services: Given, _: Reader, day_id: DayId) -> list[Review]:
    """All reviews of an attendance day and its revisions, in order."""
    day = find_day(services, day_id)
    return services.store.reviews.of_day(day.site, day.user_id, day.date)


@router.post("/{day_id}/reviews/", response_model=ReviewAnswer, status_code=201, responses=_CHANGED)
def review(services: Given, identity: Reviewer, day_id: DayId, body: ReviewBody) -> Review:
    """Mark an outlier as reviewed. A later revision has to be reviewed again. The scope `operate` permits it, too."""
    day = find_day(services, day_id)
    reviewed = services.store.reviews.mark(
        {day_id: body.revision}, by=identity.name, note=body.note, is_reviewed=body.is_reviewed
    )
    if day_id not in reviewed:
        raise HTTPException(
            409,
            f"revision: the day now has revision {day.revision}"
            if day.revision != body.revision
            else "the day is not an outlier",
        )
    return reviewed[day_id]
