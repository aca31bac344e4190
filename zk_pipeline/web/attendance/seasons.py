"""Page of seasons: list and form."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.attendance.shifts import Season
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.sessions import Undo
from zk_pipeline.web.attendance.fields import id_of, required_dates
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import AdminForm, Form, Reader, render

router = APIRouter(include_in_schema=False)
_AGAIN = "The next processing run computes affected days again."
_DONE = {"added": f"Added. {_AGAIN}"}


@router.get("/shifts/seasons")
def seasons(request: Request, services: Given, identity: Reader) -> Response:
    return _draw(request, services, identity, {}, done=_DONE.get(request.query_params.get("done", "")))


@router.post("/shifts/seasons")
def add(request: Request, services: Given, form: AdminForm) -> Response:
    fields = form.fields
    try:
        first, last = required_dates(fields)
        services.store.shifts.add_season(
            Season(shift=fields.get("shift", ""), use=fields.get("use", ""), valid_from=first, valid_to=last)
        )
    except UsageError as error:
        return _draw(request, services, form.identity, fields, problem=error)
    return RedirectResponse("/shifts/seasons?done=added", 303)


@router.post("/shifts/seasons/remove")
def remove(services: Given, form: AdminForm) -> Response:
    """Remove the season whose id is in the field `id`."""
    removed = services.store.shifts.remove_season(id_of(form.fields))
    fields = {
        "shift": removed.shift,
        "use": removed.use,
        "valid_from": removed.valid_from.isoformat(),
        "valid_to": removed.valid_to.isoformat(),
    }
    leave_notice(form.identity, f"Removed. {_AGAIN}", Undo("/shifts/seasons", fields))
    return RedirectResponse("/shifts/seasons", 303)


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    fields: Form,
    *,
    done: str | None = None,
    problem: Exception | None = None,
) -> Response:
    return render(
        request,
        "seasons.html",
        identity,
        breadcrumbs=[("Shifts", "/shifts")],
        status=400 if problem else 200,
        done=done,
        problem=problem,
        fields=fields,
        seasons=services.store.shifts.seasons(),
        shifts=services.store.shifts.all(),
        today=services.clock().date(),
    )
