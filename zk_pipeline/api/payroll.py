"""Payroll periods, their adjustments and exports; docs/payroll.md has the rules."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES, Problem
from zk_pipeline.http.auth import Admin, Reader
from zk_pipeline.http.fields import Date, as_date
from zk_pipeline.http.file_responses import PAYROLL_MEDIA_TYPES, PAYROLL_NOTICE, payroll_file
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.store.payroll.periods import NAME, Adjustment, PayrollPeriod

router = APIRouter(prefix="/api/payroll-periods", tags=["payroll"], responses=FAILURES, route_class=StrictRoute)

_NAME = f"^{NAME}$"
Period = Annotated[str, Path(pattern=_NAME, description="Name of the period, such as 2026-11")]
PeriodAnswer = catalog_model("PayrollPeriod", PayrollPeriod, "payroll_periods")
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The period has another state, overlaps another one, or is not final"}
}


class PeriodBody(BaseModel):
    """A period: a calendar month, or a name with both dates."""

    model_config = ConfigDict(extra="forbid")

    period: Annotated[str, Field(pattern=_NAME, description="Such as 2026-11")]
    first_date: Date | None = Field(None, description="First work date; default: of the month")
    last_date: Date | None = Field(None, description="Last work date, included; default: of the month")


class CloseBody(BaseModel):
    """Options of closing a period."""

    model_config = ConfigDict(extra="forbid")

    force: bool = Field(False, strict=True, description="Close it although its figures are not final")


class ClosedAnswer(PeriodAnswer):  # type: ignore[misc,valid-type]
    """A closed period, and how much it paid."""

    days: int = Field(description="Days worked in the period")
    absences: int = Field(description="Days absent in the period, with or without a leave")
    adjustments: int = Field(description="Days of earlier periods with a difference")


class AdjustmentAnswer(BaseModel):
    """Difference of one pay class on a work date of a closed period."""

    model_config = ConfigDict(from_attributes=True)

    period: str | None = Field(description="The period of the work date")
    work_date: date
    site: str
    user_id: str
    pay_class: str = Field(description="regular, overtime_weekday, overtime_rest_day, overtime_holiday, "
                           "weekly_overtime, night, or for information late and early_leave")  # fmt: skip
    minutes: int = Field(description="Current minutes less paid ones")
    former_revision: int | None = Field(description="Revision that was paid last; null if none was")
    revision: int | None = Field(description="Current revision, or that of the retraction")
    reason: str


class AdjustmentsAnswer(BaseModel):
    """Adjustments, and the work dates that may bring others."""

    adjustments: list[AdjustmentAnswer]
    unprocessed_dates: list[date] = Field(description="Stale work dates, which may change unpaid adjustments")


class AdjustmentParameters(BaseModel):
    """Choice between unpaid and paid adjustments."""

    model_config = ConfigDict(extra="forbid")

    paid: bool = Field(False, description="Those that the period has paid, instead of unpaid ones")


class ExportParameters(BaseModel):
    """Format of the file."""

    model_config = ConfigDict(extra="forbid")

    profile: str = Field("csv", min_length=1, max_length=100, description="csv, xlsx, or a declared profile")


@router.get("/", response_model=list[PeriodAnswer])  # type: ignore[valid-type]
def periods(services: Given, _: Reader) -> list[PayrollPeriod]:
    """All payroll periods, by date."""
    return services.store.payroll.all()


@router.post("/", response_model=PeriodAnswer, status_code=201, responses=_CONFLICT)
def open_period(services: Given, identity: Admin, new: PeriodBody) -> PayrollPeriod:
    """Open a period. An open one can be opened again with other dates, also if it was reopened."""
    first, last = as_date(new.first_date), as_date(new.last_date)
    return services.store.payroll.open(new.period, identity.name, first=first, last=last)


@router.post("/{period}/close/", response_model=ClosedAnswer, responses=_CONFLICT)
def close_period(services: Given, identity: Admin, period: Period, body: CloseBody | None = None) -> dict[str, Any]:
    """Close a period: fix what it pays, together with the adjustments of closed periods before it."""
    done = services.store.payroll.close(period, identity.name, force=body is not None and body.force)
    counts = {"days": done.days, "absences": done.absences, "adjustments": done.adjustments}
    return {**asdict(done.period), **counts}


@router.post("/{period}/reopen/", response_model=PeriodAnswer, responses=_CONFLICT)
def reopen_period(services: Given, identity: Admin, period: Period) -> PayrollPeriod:
    """Open a closed period again: it counts as not paid until it is closed again."""
    return services.store.payroll.reopen(period, identity.name)


@router.get("/{period}/adjustments/", response_model=AdjustmentsAnswer)
def adjustments(
    services: Given, _: Reader, period: Period, query: Annotated[AdjustmentParameters, Query()]
) -> dict[str, list[Adjustment] | list[date]]:
    """Unpaid adjustments: of a closed period those of its own days, of an open one those that it will pay."""
    payroll = services.store.payroll
    if query.paid:
        return {"adjustments": payroll.paid_adjustments(period), "unprocessed_dates": []}
    return {
        "adjustments": payroll.unpaid_adjustments(period),
        "unprocessed_dates": payroll.unprocessed_dates(period),
    }


@router.get(
    "/{period}/export/",
    response_class=Response,
    responses={
        200: {
            "description": "The file",
            "content": {kind: {} for kind in PAYROLL_MEDIA_TYPES.values()},
            "headers": {
                PAYROLL_NOTICE: {
                    "description": "Only of an open period: its figures are not final",
                    "schema": {"type": "string"},
                }
            },
        }
    },
)
def export(services: Given, _: Reader, period: Period, query: Annotated[ExportParameters, Query()]) -> Response:
    """Payroll file of a period. Figures of an open period are not final: header `Payroll-Notice`."""
    return payroll_file(services, period, query.profile)
