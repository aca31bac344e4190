"""Month sheets: of one employee, which prints on one sheet, with an Excel file; of all employees of a site."""

from __future__ import annotations

import calendar
import io
import re
from datetime import date, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from zk_pipeline.errors import UsageError, unknown_name
from zk_pipeline.http.file_responses import MEDIA_TYPES
from zk_pipeline.http.pagination import Text
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.files.month_sheet import (
    FIGURES,
    DifferentEmployees,
    MonthSheet,
    cells,
    month_sheet,
    shown,
    site_sheets,
)
from zk_pipeline.web.list_pages import address, parse_query
from zk_pipeline.web.rendering import Reader, render

router = APIRouter(include_in_schema=False)
_SHEETS = 100  # per page


def _month(value: str | None) -> str | None:
    if value and not re.fullmatch(r"(19|2\d)\d\d-(0[1-9]|1[0-2])", value, re.ASCII):
        raise ValueError("must be a month such as 2026-11")
    return value or None


class _SiteMonthQuery(BaseModel):
    """Site and month; default: all sites, the current month."""

    model_config = ConfigDict(extra="forbid")

    month: Annotated[str | None, AfterValidator(_month)] = None
    site: Text = None


class MonthQuery(_SiteMonthQuery):
    """User, site and month."""

    user_id: Text = None


class SheetsQuery(_SiteMonthQuery):
    """Site, month and page of the sheets of a site."""

    page: Annotated[int, Field(ge=1, le=10_000)] = 1


@router.get("/month")
def month(request: Request, services: Given, identity: Reader) -> Response:
    typed = dict(request.query_params)
    sheet, of_site, problem, first = None, None, None, _today(services).replace(day=1)
    choices: tuple[str, ...] = ()
    try:
        asked = parse_query(request, MonthQuery)
        first = _first(services, asked)
        if asked.user_id:
            sheet = _sheet(services, asked)
        elif asked.site:
            of_site = _site_sheets(services, asked.site, first)
    except DifferentEmployees as error:
        choices = error.sites
    except UsageError as error:
        problem = str(error)
    return render(
        request,
        "month.html",
        identity,
        status=400 if problem else 200,
        typed=typed,
        problem=problem,
        sheet=sheet,
        site_sheets=of_site,
        title=None if of_site is None else _title(typed["site"], first),
        all_sheets=address("/month/sheets", site=typed.get("site"), month=f"{first:%Y-%m}"),
        first=first,
        choices=choices,
        figures=FIGURES,
        cells=cells,
        shown=shown,
        sites=services.store.enrolled_users.around([]).sites,
        suggested=services.store.enrolled_users.find(typed["user_id"]) if problem and typed.get("user_id") else [],
        before=_link(sheet, first - timedelta(days=1), typed.get("site")),
        after=_link(sheet, first + timedelta(days=31), typed.get("site")),
    )


@router.get("/month/sheets")
def month_sheets(request: Request, services: Given, identity: Reader) -> Response:
    """The sheets of all employees of a site, _SHEETS per page; printed, each begins on a new page."""
    asked = parse_query(request, SheetsQuery)
    if not asked.site:
        raise UsageError("site: is missing")
    month = _first(services, asked)
    found = _site_sheets(services, asked.site, month)
    begin = (asked.page - 1) * _SHEETS

    def page_address(number: int) -> str:
        return address("/month/sheets", site=asked.site, month=f"{month:%Y-%m}", page=number)

    return render(
        request,
        "month_sheets.html",
        identity,
        breadcrumbs=[("Month", address("/month", site=asked.site, month=f"{month:%Y-%m}"))],
        title=_title(asked.site, month),
        sheets=found[begin : begin + _SHEETS],
        count=len(found),
        first_number=begin + 1,
        previous=page_address(asked.page - 1) if asked.page > 1 else None,
        following=page_address(asked.page + 1) if begin + _SHEETS < len(found) else None,
        figures=FIGURES,
        cells=cells,
        shown=shown,
    )


@router.get("/month/file")
def month_file(request: Request, services: Given, _: Reader) -> Response:
    from zk_pipeline.operations.files.month_files import write_excel  # noqa: PLC0415 (openpyxl, slow to import)

    asked = parse_query(request, MonthQuery)
    if not asked.user_id:
        raise UsageError("user_id: is missing")
    sheet, stream = _sheet(services, asked), io.BytesIO()
    write_excel(sheet, stream)
    headers = {"Content-Disposition": f'attachment; filename="month_{sheet.month:%Y-%m}.xlsx"'}
    return Response(stream.getvalue(), media_type=MEDIA_TYPES["xlsx"], headers=headers)


def _sheet(services: Services, asked: MonthQuery) -> MonthSheet:
    return month_sheet(
        services.store.person_months,
        asked.user_id or "",
        _first(services, asked),
        site=asked.site,
        today=_today(services),
    )


def _first(services: Services, asked: _SiteMonthQuery) -> date:
    return date.fromisoformat(f"{asked.month}-01") if asked.month else _today(services).replace(day=1)


def _today(services: Services) -> date:
    return services.clock().astimezone(ZoneInfo(services.settings.timezone)).date()


def _link(sheet: MonthSheet | None, day: date, site: str | None) -> str | None:
    """Address of another month of the same user and choice of site, or of the site; None without both."""
    if sheet is None and not site:
        return None
    return address("/month", user_id=sheet and sheet.user_id, month=f"{day:%Y-%m}", site=site)


def _site_sheets(services: Services, site: str, month: date) -> list[MonthSheet]:
    """The sheets of a site. Raises UsageError for a site without terminals and days."""
    known = services.store.enrolled_users.around([]).sites
    if site not in known:
        raise UsageError(unknown_name("site", site, known))
    return site_sheets(services.store.person_months, site, month, today=_today(services))


def _title(site: str, month: date) -> str:
    return f"{site}, {calendar.month_name[month.month]} {month.year}"
