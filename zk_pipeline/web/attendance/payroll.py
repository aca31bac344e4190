"""Pages of payroll periods: list with open, close and reopen, adjustments, and downloads."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.file_responses import payroll_file
from zk_pipeline.http.services import Given, Services
from zk_pipeline.store.errors import PayrollPeriodConflict, PayrollPeriodNotFinal
from zk_pipeline.web.attendance.fields import whole_date
from zk_pipeline.web.rendering import AdminForm, Form, Reader, render

router = APIRouter(include_in_schema=False)
_DONE = {
    "opened": "Opened.",
    "reopened": "Opened again. Files that were exported from this period are no longer valid.",
}


@router.get("/payroll")
def periods(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity, done=_DONE.get(request.query_params.get("done", "")))


@router.post("/payroll")
def open_period(request: Request, services: Given, form: AdminForm) -> Response:
    fields = form.fields
    try:
        first, last = whole_date(fields, "first_date"), whole_date(fields, "last_date")
        services.store.payroll.open(fields.get("period", "").strip(), form.identity.name, first=first, last=last)
    except UsageError as error:
        return _draw(request, services, form.identity, problem=error, fields=fields)
    return RedirectResponse("/payroll?done=opened", 303)


@router.post("/payroll/close")
def close_period(request: Request, services: Given, form: AdminForm) -> Response:
    period = form.fields.get("period", "")
    try:
        done = services.store.payroll.close(period, form.identity.name, force="force" in form.fields)
    except PayrollPeriodConflict as error:
        refused = period if isinstance(error, PayrollPeriodNotFinal) else None
        return _draw(request, services, form.identity, problem=error, refused=refused)
    return _draw(request, services, form.identity, done=f"Closed {period}. Paid: {done.summary}.")


@router.post("/payroll/reopen")
def reopen_period(request: Request, services: Given, form: AdminForm) -> Response:
    try:
        services.store.payroll.reopen(form.fields.get("period", ""), form.identity.name)
    except PayrollPeriodConflict as error:
        return _draw(request, services, form.identity, problem=error)
    return RedirectResponse("/payroll?done=reopened", 303)


@router.get("/payroll/adjustments")
def adjustments(request: Request, services: Given, identity: Reader) -> Response:
    period = request.query_params.get("period", "")
    payroll = services.store.payroll
    found, unpaid = payroll.get(period), payroll.unpaid_adjustments(period)
    paid = payroll.paid_adjustments(period) if found.is_closed else []
    names = services.store.enrolled_users.around(one.user_id for one in (*unpaid, *paid)).names
    return render(
        request,
        "payroll_adjustments.html",
        identity,
        breadcrumbs=[("Payroll", "/payroll")],
        period=found,
        unpaid=unpaid,
        unprocessed=payroll.unprocessed_dates(period),
        paid=paid,
        names=names,
    )


@router.get("/payroll/file")
def file(request: Request, services: Given, identity: Reader) -> Response:
    query = request.query_params
    try:
        return payroll_file(services, query.get("period", ""), query.get("profile", ""))
    except UsageError as error:
        return _draw(request, services, identity, problem=error)


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    *,
    done: str | None = None,
    problem: Exception | None = None,
    fields: Form | None = None,
    refused: str | None = None,
) -> Response:
    """The list. `refused`: the period that is closed only on confirmation."""
    from zk_pipeline.operations.payroll.profiles import BUILT_IN, read_profiles  # noqa: PLC0415 (slow to import)

    try:
        profiles = list(read_profiles(services.settings.payroll_profiles_path))
    except UsageError as error:
        profiles, problem = [one.name for one in BUILT_IN], problem or error
    found = services.store.payroll.all()
    return render(
        request,
        "payroll.html",
        identity,
        status=409 if isinstance(problem, PayrollPeriodConflict) else 400 if problem else 200,
        done=done,
        problem=problem,
        fields=fields or {},
        periods=found[::-1],
        profiles=profiles,
        refused=refused,
    )
