"""Holidays and absences; docs/attendance.md has the rules."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.responses import FAILURES
from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.http.auth import Admin, Reader
from zk_pipeline.http.fields import DATE, Date, Name, as_date
from zk_pipeline.http.pagination import DateText, PageOf, PageParameters, Text, numbered_page
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute

router = APIRouter(prefix="/api", tags=["days off"], responses=FAILURES, route_class=StrictRoute)

HolidayDate = Annotated[str, Path(pattern=DATE, json_schema_extra={"format": "date"})]


class HolidayBody(BaseModel):
    """A date without expected attendance."""

    model_config = ConfigDict(extra="forbid")

    date: Date
    name: Name
    site: Name | None = Field(None, description="Only at this site; null: at all sites")


class HolidayAnswer(BaseModel):
    """A stored holiday. Imported ones may have any name; several events of a date are joined in one name."""

    date: date
    name: str
    site: str | None


class HolidaySite(BaseModel):
    """The site of the holiday."""

    model_config = ConfigDict(extra="forbid")
    site: Text = Field(None, description="Site of the holiday; default: the holiday of all sites")


class Absence(BaseModel):
    """A working day of an assigned shift on which the user has no punch."""

    model_config = ConfigDict(from_attributes=True)

    site: str
    user_id: str
    date: date
    shift: str
    leave: str | None = Field(description="Leave on this date: its kind; null: none is known")


class AbsenceParameters(PageParameters):
    """Filters of absences; dates are work dates."""

    user_id: Text = Field(None, description="Only this user")
    site: Text = Field(None, description="Only this site")
    start_date: DateText = Field(None, description="First date")
    end_date: DateText = Field(None, description="Last date, included")


@router.get("/holidays/", response_model=list[HolidayAnswer])
def holidays(services: Given, _: Reader) -> list[dict[str, Any]]:
    """All holidays, by date."""
    return [_holiday(one) for one in services.store.holidays.all()]


@router.post("/holidays/", response_model=HolidayAnswer, status_code=201)
def add_holiday(services: Given, _: Admin, new: HolidayBody) -> dict[str, Any]:
    """Enter a holiday; one of the same date and site gets the new name."""
    one = Holiday(day=date.fromisoformat(new.date), name=new.name, site=new.site)
    services.store.holidays.put([one])
    return _holiday(one)


@router.delete("/holidays/{day}/", status_code=204)
def remove_holiday(services: Given, _: Admin, day: HolidayDate, query: Annotated[HolidaySite, Query()]) -> Response:
    """Remove a holiday."""
    matching = [one for one in services.store.holidays.all() if (str(one.day), one.site) == (day, query.site)]
    if not matching:
        raise HTTPException(404, "Not found.")
    services.store.holidays.remove(matching[0].day, matching[0].site)
    return Response(status_code=204)


@router.get("/absences/", response_model=PageOf[Absence])
def absences(
    request: Request, services: Given, _: Reader, query: Annotated[AbsenceParameters, Query()]
) -> dict[str, Any]:
    """Absences: expected attendance days without punches, by date."""
    count, rows = services.store.absences.page(
        user_id=query.user_id,
        site=query.site,
        first=as_date(query.start_date),
        last=as_date(query.end_date),
        limit=query.size,
        offset=query.offset,
    )
    return numbered_page(request, query, count, rows)


def _holiday(one: Holiday) -> dict[str, Any]:
    return {"date": one.day.isoformat(), "name": one.name, "site": one.site}
