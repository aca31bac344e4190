"""Sites: list, and the page of one with its terminals, presence, punches per hour and the attendance of today."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import Filter
from zk_pipeline.store.queries.site_details import HourOfSite, SitePresence, presence, punches_per_hour
from zk_pipeline.web.attendance.day import Name
from zk_pipeline.web.charts import Bar, bar_chart, legend
from zk_pipeline.web.devices.advice import advice_of
from zk_pipeline.web.devices.status import DeviceLine, lines_of
from zk_pipeline.web.list_pages import address, parse_query
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
_HOLIDAYS = 5
_HOUR_LEGEND = (("column", "today"), ("usual", "median of this weekday in the last eight weeks"))


@dataclass(frozen=True)
class SiteLine:
    """A row of the list of sites. `presence`: None without an enabled device."""

    site: str
    zones: list[str]
    devices: list[DeviceLine]
    problems: int
    presence: SitePresence | None

    @property
    def read(self) -> int:
        return sum(one.kind == "ok" for one in self.devices)


class SiteQuery(BaseModel):
    """The site."""

    model_config = ConfigDict(extra="forbid")

    site: Name


@router.get("/sites")
def sites(request: Request, services: Given, identity: Reader) -> Response:
    lines, advice = lines_of(services, services.store.overview.devices()), advice_of(services)
    seen = {one.site: one for one in presence(services.store.database, services.clock())}
    names = sorted({line.status.site for line in lines})
    return render(
        request,
        "sites.html",
        identity,
        sites=[
            SiteLine(
                name,
                _zones(own := [line for line in lines if line.status.site == name]),
                own,
                sum(len(advice.get(line.status.name, ())) for line in own),
                seen.get(name),
            )
            for name in names
        ],
    )


@router.get("/sites/site")
def site(request: Request, services: Given, identity: Reader) -> Response:
    name = parse_query(request, SiteQuery).site
    store, now = services.store, services.clock()
    lines = lines_of(services, store.overview.devices(site=name))
    if not lines and name not in store.enrolled_users.around([]).sites:
        raise HTTPException(404, f"no site {name!r}: no terminal and no attendance day has it")
    zones = _zones(lines) or [services.settings.timezone]
    today = now.astimezone(ZoneInfo(zones[0])).date()
    advice = advice_of(services)
    muster = store.muster.read(now, debounce_seconds=services.settings.debounce_seconds, site=name)
    to_review = store.lists.days(
        Filter(site=name, is_outlier=True, is_reviewed=False), [Key("date", "date", descending=True)], PageRequest(1, 1)
    )
    return render(
        request,
        "site.html",
        identity,
        breadcrumbs=[("Sites", "/sites")],
        site=name,
        zones=zones,
        local_times=[now.astimezone(ZoneInfo(zone)) for zone in zones],
        today=today,
        lines=lines,
        advice=[one for line in lines for one in advice.get(line.status.name, ())],
        ids={line.status.name: line.id for line in lines},
        muster=muster.sites[0] if muster.sites else None,
        report=store.daily_reports.read(today, site=name),
        hours=_hours_chart(punches_per_hour(store.database, name, today), today, now.astimezone(ZoneInfo(zones[0]))),
        hours_legend=legend(_HOUR_LEGEND),
        stale=_stale(services, name),
        to_review=to_review.count,
        holidays=_holidays(services, name, today),
        months=[
            (calendar.month_name[month.month], address("/month", site=name, month=f"{month:%Y-%m}"))
            for month in (today, today.replace(day=1) - timedelta(days=1))
        ],
    )


def _stale(services: Services, site: str) -> list[date]:
    """Work dates of the site with punches or rules that are newer than their rows."""
    found = services.store.overview.stale(
        work_rules(services.settings),
        first=services.settings.history_start,
        last=services.last_work_date(),
        now=services.clock(),
    )
    return [one.work_date for one in found if one.sites is None or site in one.sites]


def _zones(lines: list[DeviceLine]) -> list[str]:
    return sorted({line.timezone for line in lines})


def _hours_chart(hours: list[HourOfSite], today: date, local: datetime) -> Markup:
    """Bars until the current hour, with the usual number of each hour."""
    is_over = [today < local.date() or one.hour <= local.hour for one in hours]
    bars = [
        Bar(f"{one.hour:02}:00", one.punches if over or one.punches else None, one.usual)
        for one, over in zip(hours, is_over, strict=True)
    ]
    return bar_chart("Punches per hour today", bars)


def _holidays(services: Services, site: str, today: date) -> list[Holiday]:
    """The next holidays at the site."""
    coming = [one for one in services.store.holidays.all() if one.day >= today and one.site in (None, site)]
    return sorted(coming, key=lambda one: one.day)[:_HOLIDAYS]
