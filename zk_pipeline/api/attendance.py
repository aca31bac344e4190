"""Punches and attendance days, read only. `actions` processes and delivers them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.pagination import MAX_PAGE_SIZE, FlagText, ListParameters, Number, PageOf, Text, flag, page_of
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.queries.lists import DAY_ORDER, PUNCH_ORDER, DayRow, Filter, PunchRow

router = APIRouter(prefix="/api", tags=["attendance"], responses=FAILURES)

Punch = catalog_model(
    "Punch",
    PunchRow,
    "raw_punches",
    {
        "id": "Stable number of the punch; later punches have higher ones",
        "device": "Number of the device that recorded it (devices.id); null if it is not registered",
        "device_name": "Device that recorded it",
        "timestamp": "Instant of the punch (UTC)",
    },
)
Day = catalog_model("Day", DayRow, "processed_attendance")
DayId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class PunchParameters(ListParameters):
    """Filters of punches; dates are those of the terminal's wall clock."""


class DayParameters(ListParameters):
    """Filters of attendance days; dates are work dates."""

    is_outlier: FlagText = Field(None, description="Only outliers, or only others")
    synced_to_crm: FlagText = Field(None, description="Only days whose latest revision is delivered, or only others")
    is_reviewed: FlagText = Field(None, description="Only days whose latest revision is reviewed, or only others")
    site: Text = Field(None, description="Only this site")
    sync_state: Annotated[
        Literal["pending", "sending", "delivered", "retry", "failed", "superseded"] | None,
        Field(description="Only days whose delivery is in this state; `failed` are the dead letters"),
    ] = None


class UnsyncedParameters(DayParameters):
    """Filters of attendance days; `limit` is what clients of the Django bridge send."""

    limit: Number = Field(None, description=f"Rows per page, instead of `page_size`; at most {MAX_PAGE_SIZE}")

    @property
    def size(self) -> int:
        return min(self.limit, MAX_PAGE_SIZE) if isinstance(self.limit, int) else super().size


class Stats(BaseModel):
    """Attendance days by the state of their delivery."""

    total: int
    synced: int
    unsynced: int
    failed: int = Field(description="Dead letters: not delivered, and retried only on request")
    sync_percentage: float = Field(description="Share of delivered days, 0 to 100; 0 without days")


@router.get("/raw-attendance/", response_model=PageOf[Punch])  # type: ignore[valid-type]
def punches(request: Request, services: Given, _: Reader, query: Annotated[PunchParameters, Query()]) -> dict[str, Any]:
    """Punches as recorded by the terminals, newest first."""
    order = query.keys(PUNCH_ORDER, "-timestamp")
    wanted = Filter(user_id=query.user_id, device=query.device_id, first=query.first, last=query.last)
    return page_of(request, query, services.store.lists.punches(wanted, order, query.page_request(order)))


@router.get("/processed-attendance/", response_model=PageOf[Day])  # type: ignore[valid-type]
def days(request: Request, services: Given, _: Reader, query: Annotated[DayParameters, Query()]) -> dict[str, Any]:
    """Attendance days with their delivery, newest first."""
    return _days(request, services, query, {})


@router.get("/processed-attendance/unsynced/", response_model=PageOf[Day])  # type: ignore[valid-type]
def unsynced(
    request: Request, services: Given, _: Reader, query: Annotated[UnsyncedParameters, Query()]
) -> dict[str, Any]:
    """Attendance days whose latest revision is not delivered."""
    if query.limit is not None and "page_size" in request.query_params:
        raise UsageError("limit: give either limit or page_size")
    return _days(request, services, query, {"synced_to_crm": False})


@router.get("/processed-attendance/outliers/", response_model=PageOf[Day])  # type: ignore[valid-type]
def outliers(request: Request, services: Given, _: Reader, query: Annotated[DayParameters, Query()]) -> dict[str, Any]:
    """Outliers: attendance days with an outlier code, each with its reason."""
    return _days(request, services, query, {"is_outlier": True})


@router.get("/processed-attendance/stats/", response_model=Stats)
def stats(services: Given, _: Reader) -> dict[str, Any]:
    """Number of attendance days by state of delivery."""
    counted = services.store.deliveries.stats()
    share = 100.0 * counted.synced / counted.total if counted.total else 0.0
    return {
        "total": counted.total,
        "synced": counted.synced,
        "unsynced": counted.unsynced,
        "failed": counted.failed,
        "sync_percentage": round(share, 2),
    }


@router.get("/processed-attendance/{day_id}/", response_model=Day)
def day(services: Given, _: Reader, day_id: DayId) -> DayRow:
    """One attendance day."""
    return find_day(services, day_id)


def find_day(services: Services, day_id: int) -> DayRow:
    """The day with this id. Raises HTTPException 404 for an unknown id."""
    row = services.store.lists.day(day_id)
    if row is None:
        raise HTTPException(404, "Not found.")
    return row


def _days(request: Request, services: Services, query: DayParameters, fixed: dict[str, bool]) -> dict[str, Any]:
    order = query.keys(DAY_ORDER, "-date,user_id")
    flags = {"is_outlier": flag(query.is_outlier), "synced_to_crm": flag(query.synced_to_crm)}
    for name, value in fixed.items():
        if flags[name] is not None and flags[name] != value:
            raise HTTPException(400, f"{name}: contradicts the filter of this URL")
        flags[name] = value
    wanted = Filter(
        user_id=query.user_id,
        device=query.device_id,
        site=query.site,
        first=query.first,
        last=query.last,
        is_outlier=flags["is_outlier"],
        synced_to_crm=flags["synced_to_crm"],
        sync_state=query.sync_state,
        is_reviewed=flag(query.is_reviewed),
    )
    return page_of(request, query, services.store.lists.days(wanted, order, query.page_request(order)))
