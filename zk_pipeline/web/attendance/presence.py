"""Presence page, which prints as the muster list, and the daily report of a work date."""

from __future__ import annotations

from datetime import date, timedelta
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.http.pagination import DateText, Text
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.files.muster_list import reading_text, unsafe_reasons
from zk_pipeline.web.list_pages import address, parse_query
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
# CSS class and label of each status of the daily report.
_STATUSES = {
    "present": ("ok", "present"),
    "half_day": ("warn", "half day"),
    "worked_on_day_off": ("ok", "worked on a day off"),
    "absent": ("bad", "absent"),
    "day_off": ("", "day off"),
    "holiday": ("", "holiday"),
    "no_punches": ("", "no punches"),
    "not_processed": ("warn", "not processed yet"),
}


class SiteQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    site: Text = None


class ReportQuery(SiteQuery):
    """Site and work date; default: all sites, today."""

    date: DateText = None


@router.get("/presence")
def presence(request: Request, services: Given, identity: Reader) -> Response:
    problem, muster = None, None
    try:
        muster = services.store.muster.read(
            services.clock(),
            debounce_seconds=services.settings.debounce_seconds,
            site=parse_query(request, SiteQuery).site,
        )
    except UsageError as error:
        problem = str(error)
    return render(
        request,
        "presence.html",
        identity,
        status=400 if problem else 200,
        typed=dict(request.query_params),
        problem=problem,
        muster=muster,
        sites=_sites(services),
        reading_text=reading_text,
        unsafe_reasons=unsafe_reasons,
    )


@router.get("/report")
def report(request: Request, services: Given, identity: Reader) -> Response:
    typed = dict(request.query_params)
    problem, made = None, None
    today = services.clock().astimezone(ZoneInfo(services.settings.timezone)).date()
    day = today
    try:
        asked = parse_query(request, ReportQuery)
        day = date.fromisoformat(asked.date) if asked.date else today
        if not date(1900, 1, 1) <= day < date(3000, 1, 1):
            raise UsageError(f"date: {day} is out of range")
        made = services.store.daily_reports.read(day, site=_known(services, asked.site))
    except UsageError as error:
        problem = str(error)
    return render(
        request,
        "report.html",
        identity,
        status=400 if problem else 200,
        typed={"date": day.isoformat()} | typed,
        problem=problem,
        report=made,
        today=today,
        statuses=_STATUSES,
        sites=_sites(services),
        before=made and address("/report", date=day - timedelta(days=1), site=typed.get("site")),
        after=made and address("/report", date=day + timedelta(days=1), site=typed.get("site")),
    )


def _known(services: Services, site: str | None) -> str | None:
    """Raises UsageError for a site without terminals, users and days."""
    if site is not None and site not in (sites := _sites(services)):
        raise UsageError(unknown_name("site", site, sites))
    return site


def _sites(services: Services) -> list[str]:
    return services.store.enrolled_users.around([]).sites
