"""Lists of attendance days, of outliers to review and of punches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, get_args

from fastapi import APIRouter, Request
from starlette.responses import Response

from zk_pipeline.attendance.rules import OutlierCode
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.pagination import Empty, FlagText, Text, flag
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.queries.lists import DAY_ORDER, PUNCH_ORDER, DayRow, Filter, PunchListItem, Rows
from zk_pipeline.web.list_pages import Listed, PageParameters, address, date_presets, listed, parse_query, today_of
from zk_pipeline.web.rendering import Reader, render
from zk_pipeline.web.template_filters import delivery_label

router = APIRouter(include_in_schema=False)
Reviewed = Literal["no", "yes", "all"]
SyncState = Literal["pending", "sending", "delivered", "retry", "failed"]


class DaysQuery(PageParameters):
    """Filters of days; dates are work dates."""

    site: Text = None
    is_outlier: FlagText = None
    outlier_code: OutlierCode | Empty | None = None
    sync_state: SyncState | Empty | None = None
    reviewed: Reviewed | Empty | None = None

    def wanted(self, *, only_outliers: bool = False) -> Filter:
        return Filter(
            user_id=self.user_id,
            device=self.device_id,
            site=self.site,
            first=self.first,
            last=self.last,
            is_outlier=True if only_outliers else flag(self.is_outlier),
            outlier_code=self.outlier_code or None,
            sync_state=self.sync_state or None,
            is_reviewed=self.is_reviewed(only_outliers),
        )

    def is_reviewed(self, only_outliers: bool) -> bool | None:
        """Filter by review; outliers are by default those that are not reviewed yet."""
        reviewed = self.reviewed or ("no" if only_outliers else "all")
        return {"no": False, "yes": True, "all": None}[reviewed]


class PunchesQuery(PageParameters):
    """Filters of punches; dates are wall-clock dates of the terminals."""


@router.get("/attendance")
def attendance(request: Request, services: Given, identity: Reader) -> Response:
    found = listed(request, DaysQuery, lambda asked: _days(services, asked, asked.wanted()))
    states = [(state, delivery_label(state)) for state in get_args(SyncState)]
    return _draw(request, services, identity, "attendance.html", found, states=states)


@router.get("/outliers")
def outliers(request: Request, services: Given, identity: Reader) -> Response:
    def read(asked: DaysQuery) -> Rows[DayRow]:
        if asked.is_outlier is not None:
            raise UsageError("is_outlier: not a filter of this list, which has only outliers")
        return _days(services, asked, asked.wanted(only_outliers=True))

    found = listed(request, DaysQuery, read)
    counts: Mapping[str, int] = {}
    if found.problem is None:
        wanted = parse_query(request, DaysQuery).wanted(only_outliers=True)
        counts = services.store.lists.outlier_codes(replace(wanted, outlier_code=None))
    return _draw(
        request,
        services,
        identity,
        "outliers.html",
        found,
        codes=list(OutlierCode),
        counts=counts,
        named_codes=[(code.value, f"{code.explanation} ({counts.get(code.value, 0):,})") for code in OutlierCode],
        narrowed=lambda code: address("/outliers", **found.filters | {"outlier_code": code}),
        reviews=services.store.reviews.latest(row.id for row in found.rows) if found.rows else {},
        may_review=identity.may("approve", "operate"),
        back=str(request.url.path) + (f"?{request.url.query}" if request.url.query else ""),
    )


@router.get("/punches")
def punches(request: Request, services: Given, identity: Reader) -> Response:
    def read(asked: PunchesQuery) -> Rows[PunchListItem]:
        order = asked.keys(PUNCH_ORDER, "-timestamp")
        wanted = Filter(user_id=asked.user_id, device=asked.device_id, first=asked.first, last=asked.last)
        return services.store.lists.punch_lines(wanted, order, asked.page_request(order))

    found = listed(request, PunchesQuery, read)
    return _draw(request, services, identity, "punches.html", found)


def _days(services: Services, asked: DaysQuery, wanted: Filter) -> Rows[DayRow]:
    order = asked.keys(DAY_ORDER, "-date,user_id")
    return services.store.lists.days(wanted, order, asked.page_request(order))


def _draw(
    request: Request, services: Services, identity: Identity, template: str, found: Listed, **more: Any
) -> Response:
    """Render a list with the choices of its filters and the names of its users."""
    around, person = (
        services.store.enrolled_users.around(row.user_id for row in found.rows),
        found.typed.get("user_id", ""),
    )
    return render(
        request,
        template,
        identity,
        status=found.status,
        found=found,
        names=around.names,
        sites=around.sites,
        devices=around.devices,
        device_ids={name: number for number, name in around.devices},
        presets=date_presets(request.url.path, found, today_of(services)),
        # A search by name suggests user ids.
        suggested=services.store.enrolled_users.find(person)
        if person and not found.count and not found.problem
        else [],
        **more,
    )
