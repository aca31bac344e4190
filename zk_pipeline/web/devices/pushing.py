"""Adoption of pending terminals, and commands to terminals that push."""

from __future__ import annotations

import zoneinfo
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.pushing_terminals import (
    ADMIN_KINDS,
    REQUESTED_KINDS,
    adopt_terminal,
    pending_terminals,
    request_command,
)
from zk_pipeline.web.attendance.fields import optional, whole_date
from zk_pipeline.web.devices.pages import DeviceId, draw_device
from zk_pipeline.web.rendering import Admin, AdminForm, Form, OperatorForm, render

router = APIRouter(include_in_schema=False)
Serial = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,32}$")]


@router.get("/devices/adopt/{serial}")
def show(request: Request, services: Given, identity: Admin, serial: Serial) -> Response:
    return _draw(request, services, identity, serial, {})


@router.post("/devices/adopt/{serial}")
def adopt(request: Request, services: Given, form: AdminForm, serial: Serial) -> Response:
    """Adopt the terminal; its page shows the secret once, if one is requested."""
    fields = form.fields
    try:
        adopted = adopt_terminal(
            services.store,
            serial,
            fields.get("name", "").strip(),
            timezone=optional(fields, "timezone"),
            default_timezone=services.settings.timezone,
            site=optional(fields, "site"),
            with_secret=fields.get("secret") == "on",
            by=form.identity.name,
        )
    except UsageError as error:
        return _draw(request, services, form.identity, serial, fields, problem=error)
    if adopted.secret is None:
        return RedirectResponse(f"/devices/{adopted.device.id}?done=adopted", 303)
    return draw_device(request, services, form.identity, adopted.device, secret=adopted.secret)


@router.post("/devices/{device_id}/commands")
def command(request: Request, services: Given, form: OperatorForm, device_id: DeviceId) -> Response:
    """Queue a command: `kind`, and for punches `start_date` and `end_date`."""
    device = services.store.devices.by_id(device_id)
    kind = next((one for one in REQUESTED_KINDS if one == form.fields.get("kind")), None)
    if kind in ADMIN_KINDS and not form.identity.may("admin"):
        raise HTTPException(403, f"this token has the scope {form.identity.scope}; the command {kind} needs admin")
    try:
        if kind is None:
            raise UsageError(f"kind: one of {', '.join(REQUESTED_KINDS)} is expected")
        first, last = whole_date(form.fields, "start_date"), whole_date(form.fields, "end_date")
        request_command(services.store, device, kind, first=first, last=last, by=form.identity.name)
    except UsageError as error:
        return draw_device(request, services, form.identity, device, problem=str(error), status=400)
    return RedirectResponse(f"/devices/{device_id}?done=queued#push", 303)


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    serial: str,
    fields: Form,
    *,
    problem: Exception | None = None,
) -> Response:
    waiting = next((one for one in pending_terminals(services.store) if one.serial_number == serial), None)
    if waiting is None and problem is None:
        raise HTTPException(404, f"no terminal with the serial number {serial} waits for adoption")
    return render(
        request,
        "device_adopt.html",
        identity,
        breadcrumbs=[("Devices", "/devices")],
        status=400 if problem else 200,
        serial=serial,
        waiting=waiting,
        fields=fields,
        problem=problem,
        default_zone=services.settings.timezone,
        zones=sorted(zoneinfo.available_timezones()),
        sites=services.store.devices.sites(),
        names=[one.name for one in services.store.devices.all() if not one.pushes],
    )
