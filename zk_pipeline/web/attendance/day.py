"""Page of one attendance day: result, rules, punches, revisions, deliveries and CRM responses."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.attendance.rules import OutlierCode
from zk_pipeline.errors import UsageError
from zk_pipeline.http.pagination import DateText
from zk_pipeline.http.services import Given
from zk_pipeline.store.work_dates.manual_punches import PunchRequestFilter
from zk_pipeline.web.attendance.revision_diff import changes, hours_of
from zk_pipeline.web.list_pages import day_address, parse_query, person_address
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
_MOST_REQUESTS = 20
Name = Annotated[str, Field(min_length=1, max_length=200)]
_WORKED_MINUTES_SOURCES = {
    None: "first to last punch",
    "punch_states": "in and out states",
    "alternation": "pairs of punches",
    "unmatched": "first to last: punches do not pair",
}


class DayQuery(BaseModel):
    """Key of an attendance day. All fields are required."""

    model_config = ConfigDict(extra="forbid")

    site: Name
    user_id: Name
    date_text: DateText = Field(alias="date")

    @property
    def day(self) -> date:
        if self.date_text is None:
            raise UsageError("date: is missing")
        return date.fromisoformat(self.date_text)


@router.get("/attendance/day")
def day(request: Request, services: Given, identity: Reader) -> Response:
    asked = parse_query(request, DayQuery)
    explained = services.store.explanations.explain(asked.user_id, asked.day).at(asked.site)
    punches, revisions = explained.punches, explained.revisions
    context = services.store.day_details.read(
        asked.site, asked.user_id, asked.day, polls=(one.poll_id for one in punches if one.poll_id is not None)
    )
    waiting = PunchRequestFilter(
        state="waiting", user_id=asked.user_id, site=asked.site, first=asked.day, last=asked.day
    )
    _, requests = services.store.manual_punches.page(waiting, limit=_MOST_REQUESTS)
    if explained.is_empty and not (context.earlier or context.later or requests):
        raise HTTPException(404, f"no punches or days of {asked.user_id!r} at {asked.site!r} on {asked.day}")
    current = revisions[-1] if revisions else None
    reviews = services.store.reviews.of_day(asked.site, asked.user_id, asked.day)
    return render(
        request,
        "day.html",
        identity,
        breadcrumbs=[
            ("Attendance", "/attendance"),
            (context.name or asked.user_id, person_address(asked.site, asked.user_id)),
        ],
        asked=asked,
        current=current,
        is_retracted=current is not None and current.is_retracted,
        rules=[OutlierCode[code] for code in current.outlier_codes] if current else [],
        hours=hours_of(current) if current else None,
        usual=f"{services.settings.work_start:%H:%M}–{services.settings.work_end:%H:%M}",
        worked_minutes_source=_WORKED_MINUTES_SOURCES[current.worked_minutes_source] if current else None,
        punches=punches,
        revisions=list(zip(revisions, changes(revisions), strict=True))[::-1],
        context=context,
        delivery=context.deliveries[-1] if context.deliveries else None,
        requests=requests,
        leaves=explained.leaves,
        withdrawn=explained.withdrawn,
        left_out=explained.left_out,
        reviews=reviews,
        is_reviewed=any(one.is_reviewed for one in reviews[-1:] if current and one.revision == current.revision),
        day_id=context.day_id,
        may_send=identity.may("operate"),
        zone=context.timezone or services.settings.timezone,
    )


@router.get("/attendance/{site}/{user_id}/{work_date}")
def day_by_path(site: str, user_id: str, work_date: str, _: Reader) -> Response:
    """Redirect the short path to the page; it cannot contain names with slashes or of dots only."""
    try:
        wanted = date.fromisoformat(work_date)
    except ValueError:
        raise HTTPException(404, "Not found.") from None
    return RedirectResponse(day_address(site, user_id, wanted), 307)
