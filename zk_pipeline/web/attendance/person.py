"""Page of one user at a site: presence, a year of days, shifts, requests, leaves, outliers and open deliveries."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.files.month_sheet import SheetDay, site_days
from zk_pipeline.store.days.muster import PersonPresence
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import Filter
from zk_pipeline.store.queries.people import PersonSite
from zk_pipeline.store.shifts.leaves import LeaveFilter
from zk_pipeline.store.work_dates.manual_punches import PunchRequestFilter
from zk_pipeline.web.attendance.day import Name
from zk_pipeline.web.attendance.person_charts import (
    LEGEND,
    hours_by_week,
    lateness_by_week,
    month_totals,
    person_calendar,
)
from zk_pipeline.web.charts import legend
from zk_pipeline.web.list_pages import address, parse_query, person_address, site_address
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
_SHOWN = 5
_NEWEST = PageRequest(1, _SHOWN)


class PersonQuery(BaseModel):
    """Key of a user at a site, and the year of the calendar; default: the current one."""

    model_config = ConfigDict(extra="forbid")

    site: Name
    user_id: Name
    year: Annotated[int, Field(ge=1950, le=2999)] | None = None


@router.get("/people/person")
def person(request: Request, services: Given, identity: Reader) -> Response:
    asked = parse_query(request, PersonQuery)
    site, user_id, store = asked.site, asked.user_id, services.store
    profile = store.people.profile(site, user_id)
    own = next((one for one in profile.sites if one.site == site), None)
    if own is None:
        others = ", ".join(one.site for one in profile.sites)
        known = f"; the id is known at {others}" if others else ""
        raise HTTPException(404, f"no user {user_id!r} at {site!r}: neither enrolled nor with an attendance day{known}")
    zone = own.timezone or services.settings.timezone
    today = services.clock().astimezone(ZoneInfo(zone)).date()
    year = asked.year or today.year
    days = _days(services, own, user_id, year, today)
    outliers = store.lists.days(
        Filter(user_id=user_id, site=site, is_outlier=True, is_reviewed=False),
        [Key("date", "date", descending=True)],
        _NEWEST,
    )
    open_deliveries = store.delivery_lists.newest_open(user_id, limit=_SHOWN)
    requests = store.manual_punches.page(PunchRequestFilter(user_id=user_id, site=site), limit=_SHOWN)
    leaves = store.leaves.page(LeaveFilter(user_id=user_id, site=site), limit=_SHOWN)
    return render(
        request,
        "person.html",
        identity,
        breadcrumbs=[("People", "/people"), (site, site_address(site))],
        own=own,
        others=[one for one in profile.sites if one.site != site],
        user_id=user_id,
        zone=zone,
        today=today,
        year=year,
        presence=_presence(services, site, user_id),
        shift=profile.shift_on(today),
        shifts=profile.shifts,
        months=month_totals(days),
        calendar=person_calendar(days, user_id),
        legend=legend(LEGEND),
        hours=hours_by_week(days),
        lateness=lateness_by_week(days),
        month_link=address("/month", user_id=user_id, month=f"{today:%Y-%m}", site=site),
        before=_year_address(asked, year - 1) if _begins(own, year) < year else None,
        after=_year_address(asked, year + 1) if year < today.year else None,
        outliers=outliers,
        deliveries=open_deliveries,
        requests=requests,
        leaves=leaves,
        may_send=identity.may("operate"),
    )


def _days(services: Services, own: PersonSite, user_id: str, year: int, today: date) -> list[SheetDay]:
    """The dates of the year at the site: from the month of the first attendance day, and until today."""
    first, last = date(year, 1, 1), min(date(year, 12, 31), max(today, date(year, 1, 1)))
    if own.first_date is not None and first < own.first_date <= last:
        first = own.first_date.replace(day=1)
    found = services.store.person_months.read(user_id, first, last)
    return site_days(found, own.site, first, last, today=today)


def _presence(services: Services, site: str, user_id: str) -> PersonPresence | None:
    """The presence of the user at the site today; None without a punch on the current work date."""
    muster = services.store.muster.read(
        services.clock(), debounce_seconds=services.settings.debounce_seconds, site=site, user_id=user_id
    )
    return next(muster.people(), None)


def _begins(own: PersonSite, year: int) -> int:
    return own.first_date.year if own.first_date else year


def _year_address(asked: PersonQuery, year: int) -> str:
    return f"{person_address(asked.site, asked.user_id)}&year={year}"
