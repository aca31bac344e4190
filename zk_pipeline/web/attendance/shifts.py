"""Pages of shifts and their assignments."""

from __future__ import annotations

from datetime import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.attendance.hours import wall_time
from zk_pipeline.attendance.shift_rules import RULE_TEXTS
from zk_pipeline.attendance.shifts import BOUNDS, THRESHOLDS, WEEKDAYS, Assignment, Shift
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.sessions import Undo
from zk_pipeline.web.attendance.fields import id_of, optional, target_of, whole_date, whole_number
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import Admin, AdminForm, Form, Reader, render

router = APIRouter(include_in_schema=False)
_AGAIN = "The next processing run computes affected days again."
_DONE = {
    "added": "The shift is added. Assign it below.",
    "saved": f"Saved. {_AGAIN}",
    "removed": "The shift is removed.",
    "assigned": f"Assigned. {_AGAIN}",
}


@router.get("/shifts")
def shifts(request: Request, services: Given, identity: Reader) -> Response:
    return _draw_list(request, services, identity, done=_DONE.get(request.query_params.get("done", "")))


@router.get("/shifts/new")
def show_new(request: Request, services: Given, identity: Admin) -> Response:
    fields = {f"on_{day}": "on" for day in WEEKDAYS}
    return _draw_form(request, services, identity, fields)


@router.post("/shifts/new")
def add(request: Request, services: Given, form: AdminForm) -> Response:
    try:
        services.store.shifts.add(_shift(form.fields.get("name", "").strip(), form.fields))
    except UsageError as error:
        return _draw_form(request, services, form.identity, form.fields, problem=error)
    return RedirectResponse("/shifts?done=added", 303)


@router.get("/shifts/edit")
def show(request: Request, services: Given, identity: Admin, name: str) -> Response:
    return _draw_form(request, services, identity, _shown(services.store.shifts.get(name)), name=name)


@router.post("/shifts/edit")
def change(request: Request, services: Given, form: AdminForm, name: str) -> Response:
    try:
        services.store.shifts.update(_shift(name, form.fields))
    except UsageError as error:
        return _draw_form(request, services, form.identity, form.fields, name=name, problem=error)
    return RedirectResponse("/shifts?done=saved", 303)


@router.post("/shifts/remove")
def remove(request: Request, services: Given, form: AdminForm) -> Response:
    try:
        services.store.shifts.remove(form.fields.get("name", ""))
    except UsageError as error:
        return _draw_list(request, services, form.identity, problem=error)
    return RedirectResponse("/shifts?done=removed", 303)


@router.post("/shifts/assign")
def assign(request: Request, services: Given, form: AdminForm) -> Response:
    fields = form.fields
    try:
        wanted = Assignment(
            shift=fields.get("shift", ""),
            target=target_of(fields),
            valid_from=whole_date(fields, "valid_from"),
            valid_to=whole_date(fields, "valid_to"),
        )
        services.store.shifts.assign(wanted)
    except UsageError as error:
        return _draw_list(request, services, form.identity, problem=error, fields=fields)
    return RedirectResponse("/shifts?done=assigned", 303)


@router.post("/shifts/unassign")
def unassign(services: Given, form: AdminForm) -> Response:
    """Remove the assignment whose id is in the field `id`."""
    removed = services.store.shifts.unassign(id_of(form.fields))
    given = {
        "shift": removed.shift,
        "user_id": removed.target.user_id,
        "site": removed.target.site,
        "device": removed.target.device,
        "valid_from": removed.valid_from and removed.valid_from.isoformat(),
        "valid_to": removed.valid_to and removed.valid_to.isoformat(),
    }
    undo = Undo("/shifts/assign", {name: value or "" for name, value in given.items()})
    leave_notice(form.identity, f"Assignment removed. {_AGAIN}", undo)
    return RedirectResponse("/shifts", 303)


def _shift(name: str, fields: Form) -> Shift:
    """The shift of the form. Raises UsageError for invalid hours."""
    if not name or not name.isprintable() or len(name) > 100:
        raise UsageError("name: up to 100 printable characters are expected")
    times = {field: _time(fields, field) for field in ("start", "end", "workday_starts_at")}
    rules: dict[str, Any] = {bound: _hours(fields, bound) for bound in BOUNDS}
    rules |= {name: whole_number(fields, name, default=0) for name in THRESHOLDS}
    rules |= {name: fields.get(name, "") for name in RULE_TEXTS}
    weekdays = tuple(day for day in WEEKDAYS if fields.get(f"on_{day}") == "on")
    return Shift.of(name, {"weekdays": weekdays, **times, **rules})


def _time(fields: Form, name: str) -> time | None:
    text = optional(fields, name)
    if text is None:
        return None
    try:
        found = wall_time(text)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from None
    assert isinstance(found, time)
    return found


def _hours(fields: Form, name: str) -> float | None:
    text = optional(fields, name)
    try:
        return None if text is None else float(text)
    except ValueError:
        raise UsageError(f"{name}: a number of hours from 0 to 24 is expected") from None


def _shown(one: Shift) -> Form:
    """Form fields of a shift."""
    times = {name: f"{at:%H:%M}" for name in ("start", "end", "workday_starts_at") if (at := getattr(one, name))}
    bounds = {bound: f"{hours:g}" for bound in BOUNDS if (hours := getattr(one, bound)) is not None}
    bounds |= {name: f"{minutes}" for name in THRESHOLDS if (minutes := getattr(one, name))}
    bounds |= {name: getattr(one, name) for name in RULE_TEXTS}
    return {"name": one.name} | times | bounds | {f"on_{day}": "on" for day in one.weekdays}


def _draw_list(
    request: Request,
    services: Services,
    identity: Identity,
    *,
    done: str | None = None,
    problem: Exception | None = None,
    fields: Form | None = None,
) -> Response:
    devices = services.store.devices.all()
    return render(
        request,
        "shifts.html",
        identity,
        status=400 if problem else 200,
        done=done,
        problem=problem,
        fields=fields or {},
        shifts=services.store.shifts.all(),
        rules=RULE_TEXTS,
        assignments=services.store.shifts.assignments(),
        settings=services.settings,
        all_weekdays=WEEKDAYS,
        today=services.clock().date(),
        devices=[one.name for one in devices],
        sites=sorted({one.site for one in devices}),
    )


def _draw_form(
    request: Request,
    services: Services,
    identity: Identity,
    fields: Form,
    *,
    name: str | None = None,
    problem: Exception | None = None,
) -> Response:
    """Render the form; `name` is None for a new shift."""
    return render(
        request,
        "shift_form.html",
        identity,
        breadcrumbs=[("Shifts", "/shifts")],
        status=400 if problem else 200,
        name=name,
        fields=fields,
        problem=problem,
        weekdays=WEEKDAYS,
        bounds=BOUNDS,
        thresholds=THRESHOLDS,
        rules=RULE_TEXTS,
        settings=services.settings,
    )
