"""Unusual days that somebody has looked at."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.attendance import DayId, found_day
from zk_pipeline.api.catalog_models import described
from zk_pipeline.api.responses import FAILURES, Problem
from zk_pipeline.http.auth import Operator, Reader
from zk_pipeline.http.fields import Words
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.store.queries.reviews import Review

router = APIRouter(prefix="/api/processed-attendance", tags=["attendance"], responses=FAILURES, route_class=StrictRoute)

ReviewAnswer = described("Review", Review, "day_reviews")
_CHANGED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The day has another revision by now, or is not unusual"}
}


class ReviewBody(BaseModel):
    """What is said of a day."""

    model_config = ConfigDict(extra="forbid")

    revision: Annotated[int, Field(ge=1, le=2**31 - 1, description="The one that was looked at")]
    note: Words = Field("", description="What is to be known of it")
    is_reviewed: bool = Field(True, strict=True, description="false: it is to be looked at again")


@router.get("/{day_id}/reviews/", response_model=list[ReviewAnswer])  # type: ignore[valid-type]
def reviews(services: Given, _: Reader, day_id: DayId) -> list[Review]:
    """All that was said of a day, of all its revisions, in order."""
    day = found_day(services, day_id)
    return services.store.reviews.of_day(day.site, day.user_id, day.date)


@router.post("/{day_id}/reviews/", response_model=ReviewAnswer, status_code=201, responses=_CHANGED)
def review(services: Given, identity: Operator, day_id: DayId, said: ReviewBody) -> Review:
    """Say that an unusual day was looked at. When it changes afterwards, it is to be looked at again."""
    day = found_day(services, day_id)
    done = services.store.reviews.mark(
        {day_id: said.revision}, by=identity.name, note=said.note, is_reviewed=said.is_reviewed
    )
    if day_id not in done:
        raise HTTPException(
            409,
            f"revision: the day has revision {day.revision} by now"
            if day.revision != said.revision
            else "the day is not unusual",
        )
    return done[day_id]
