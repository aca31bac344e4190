"""Punches and days, read only. What makes days and delivers them is `actions`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import described
from zk_pipeline.api.responses import FAILURES
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Reader
from zk_pipeline.http.pagination import LARGEST_PAGE, FlagText, ListParameters, Number, PageOf, Text, flag, page_of
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.queries.lists import DAY_ORDER, PUNCH_ORDER, DayRow, Filter, PunchRow

router = APIRouter(prefix="/api", tags=["attendance"], responses=FAILURES)

Punch = described(
    "Punch",
    PunchRow,
    "raw_punches",
    {
        "id": "Stable number of the punch; a punch stored later has a higher one",
        "device": "Number of the device that recorded it (devices.id); null where the registry does not know it",
        "device_name": "Device that recorded it",
        "timestamp": "The instant (UTC)",
    },
)
Day = described("Day", DayRow, "processed_attendance")
DayId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class PunchParameters(ListParameters):
    """Filters of punches; dates are those of the terminal's wall clock."""


class DayParameters(ListParameters):
    """Filters of days; dates are work dates."""

    is_outlier: FlagText = Field(None, description="Only days that are unusual, or only others")
    synced_to_crm: FlagText = Field(None, description="Only days whose latest revision the CRM holds, or only others")
    is_reviewed: FlagText = Field(None, description="Only days whose latest revision somebody reviewed, or only others")
    site: Text = Field(None, description="Only this site")
    sync_state: Annotated[
        Literal["pending", "sending", "delivered", "retry", "failed", "superseded"] | None,
        Field(description="Only days whose delivery is in this state; `failed` are the dead letters"),
    ] = None


class UnsyncedParameters(DayParameters):
    """Filters of days; `limit` as clients of the bridge send it."""

    limit: Number = Field(
        None, description=f"Rows of a page, instead of `page_size`; above {LARGEST_PAGE} it means {LARGEST_PAGE}"
    )

    @property
    def size(self) -> int:
        return min(self.limit, LARGEST_PAGE) if isinstance(self.limit, int) else super().size


class Stats(BaseModel):
    """Days by the state of their delivery."""

    total: int
    synced: int
    unsynced: int
    failed: int = Field(description="Dead letters: not delivered, and not tried again without being asked to")
    sync_percentage: float = Field(description="Synced of total, 0 to 100; 0 where there is no day")


@router.get("/raw-attendance/", response_model=PageOf[Punch])  # type: ignore[valid-type]
def punches(request: Request, services: Given, _: Reader, asked: Annotated[PunchParameters, Query()]) -> dict[str, Any]:
    """Punches as the terminals recorded them, the newest first."""
    order = asked.keys(PUNCH_ORDER, "-timestamp")
    wanted = Filter(user_id=asked.user_id, device=asked.device_id, first=asked.first, last=asked.last)
    return page_of(request, asked, services.store.lists.punches(wanted, order, asked.place(order)))


@router.get("/processed-attendance/", response_model=PageOf[Day])  # type: ignore[valid-type]
def days(request: Request, services: Given, _: Reader, asked: Annotated[DayParameters, Query()]) -> dict[str, Any]:
    """Days with their delivery, the newest first."""
    return _days(request, services, asked, {})


@router.get("/processed-attendance/unsynced/", response_model=PageOf[Day])  # type: ignore[valid-type]
def unsynced(
    request: Request, services: Given, _: Reader, asked: Annotated[UnsyncedParameters, Query()]
) -> dict[str, Any]:
    """Days whose latest revision the CRM does not hold."""
    if asked.limit is not None and "page_size" in request.query_params:
        raise UsageError("limit: give it or page_size, not both")
    return _days(request, services, asked, {"synced_to_crm": False})


@router.get("/processed-attendance/outliers/", response_model=PageOf[Day])  # type: ignore[valid-type]
def outliers(request: Request, services: Given, _: Reader, asked: Annotated[DayParameters, Query()]) -> dict[str, Any]:
    """Days that are unusual, each with its reason."""
    return _days(request, services, asked, {"is_outlier": True})


@router.get("/processed-attendance/stats/", response_model=Stats)
def stats(services: Given, _: Reader) -> dict[str, Any]:
    """How many days are delivered."""
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
    """One day."""
    return found_day(services, day_id)


def found_day(services: Services, day_id: int) -> DayRow:
    """Raises HTTPException 404 where there is none of that id."""
    found = services.store.lists.day(day_id)
    if found is None:
        raise HTTPException(404, "Not found.")
    return found


def _days(request: Request, services: Services, asked: DayParameters, fixed: dict[str, bool]) -> dict[str, Any]:
    order = asked.keys(DAY_ORDER, "-date,user_id")
    flags = {"is_outlier": flag(asked.is_outlier), "synced_to_crm": flag(asked.synced_to_crm)}
    for name, value in fixed.items():
        if flags[name] is not None and flags[name] != value:
            raise HTTPException(400, f"{name}: contradicts what this address lists")
        flags[name] = value
    wanted = Filter(
        user_id=asked.user_id,
        device=asked.device_id,
        site=asked.site,
        first=asked.first,
        last=asked.last,
        is_outlier=flags["is_outlier"],
        synced_to_crm=flags["synced_to_crm"],
        sync_state=asked.sync_state,
        is_reviewed=flag(asked.is_reviewed),
    )
    return page_of(request, asked, services.store.lists.days(wanted, order, asked.place(order)))
