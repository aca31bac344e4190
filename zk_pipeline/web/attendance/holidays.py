"""Page of holidays: list, form, and import of a calendar or a table."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.attendance.shifts import Holiday
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.sessions import Undo
from zk_pipeline.operations.files.holiday_file import import_holidays
from zk_pipeline.web.attendance.fields import import_summary, optional, whole_date
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import AdminForm, Form, Reader, render
from zk_pipeline.web.uploads import AdminUpload

router = APIRouter(include_in_schema=False)
_AGAIN = "The next processing run computes affected days again."
_DONE = {"added": f"Added. {_AGAIN}"}
_MAX_NAME_LENGTH = 200


@router.get("/holidays")
def holidays(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity, done=_DONE.get(request.query_params.get("done", "")))


@router.post("/holidays")
def add(request: Request, services: Given, form: AdminForm) -> Response:
    try:
        if "undo" in form.fields:
            services.store.holidays.restore(_holiday(form.fields))
        else:
            services.store.holidays.put([_holiday(form.fields)])
    except UsageError as error:
        return _draw(request, services, form.identity, problem=error, fields=form.fields)
    return RedirectResponse("/holidays?done=added", 303)


@router.post("/holidays/remove")
def remove(services: Given, form: AdminForm) -> Response:
    day = whole_date(form.fields, "date")
    if day is None:
        raise UsageError("date: a date is expected")
    removed = services.store.holidays.remove(day, form.fields.get("site") or None)
    fields = {"date": removed.day.isoformat(), "name": removed.name, "site": removed.site or "", "undo": "yes"}
    leave_notice(form.identity, f"Removed. {_AGAIN}", Undo("/holidays", fields))
    return RedirectResponse("/holidays", 303)


@router.post("/holidays/import")
def import_file(request: Request, services: Given, form: AdminUpload) -> Response:
    """Import a file as `zk-pipeline holiday import` does."""
    try:
        file = form.chosen("a calendar (.ics) or a table (.csv, .xlsx)")
        done = import_holidays(
            services.store,
            file.name,
            file.content,
            optional(form.fields, "import_site"),
            history_start=services.settings.history_start,
        )
    except UsageError as error:
        return _draw(request, services, form.identity, problem=error)
    return _draw(request, services, form.identity, done=f"{import_summary(done)} {_AGAIN}")


def _holiday(fields: Form) -> Holiday:
    day, name = whole_date(fields, "date"), optional(fields, "name")
    if day is None or name is None or not name.isprintable() or len(name) > _MAX_NAME_LENGTH:
        raise UsageError(f"a holiday needs a date and a name of at most {_MAX_NAME_LENGTH} characters")
    return Holiday(day=day, name=name, site=optional(fields, "site"))


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    *,
    done: str | None = None,
    problem: Exception | None = None,
    fields: Form | None = None,
) -> Response:
    return render(
        request,
        "holidays.html",
        identity,
        status=400 if problem else 200,
        done=done,
        problem=problem,
        fields=fields or {},
        holidays=services.store.holidays.all(),
        today=services.clock().date(),
        sites=services.store.devices.sites(),
    )
