"""Pages of terminals: list, details, and actions on one terminal. Registration: `forms`."""

from __future__ import annotations

from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.devices.models import Device
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.errors import error_body
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.sessions import Undo
from zk_pipeline.operations.pushing_terminals import pending_terminals
from zk_pipeline.operations.set_clock import set_clock as set_clock_of
from zk_pipeline.store.queries.device_details import device_details
from zk_pipeline.store.queries.device_history import device_history
from zk_pipeline.web.devices.advice import advice_of
from zk_pipeline.web.devices.device_charts import device_charts
from zk_pipeline.web.devices.status import MAX_DRIFT_SECONDS, MAX_FILL, lines_of
from zk_pipeline.web.devices.zone_hints import zone_hint
from zk_pipeline.web.list_pages import site_address
from zk_pipeline.web.notices import leave_notice
from zk_pipeline.web.rendering import AdminForm, Reader, ReaderForm, render

router = APIRouter(include_in_schema=False)
DeviceId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_DONE = {
    "added-tested": "The terminal is registered, with the result of its test. Poll it to read its log.",
    "added": "The terminal is registered. Test it, then poll it.",
    "saved": "Saved. The next processing run computes affected days again.",
    "enabled": "The terminal is enabled: polls read it, and its uploads are accepted.",
    "disabled": "The terminal is disabled: it is not polled, and its uploads are refused. What is stored is kept.",
    "replaced": "The serial number of the next terminal is accepted, at the next poll or by its adoption.",
    "removed": "The terminal is removed from the registry; its punches, polls and days are kept.",
    "adopted": "The terminal is adopted. It uploads its punches at its next connection.",
    "queued": "The command is queued. The terminal fetches it at its next contact.",
}
_SHOWN_EVENTS = 20
_SHOWN_CHECKS = 10


@router.get("/devices")
def devices(request: Request, services: Given, identity: Reader) -> Response:
    lines = lines_of(services, services.store.overview.devices())
    waiting = pending_terminals(services.store)
    return render(request, "devices.html", identity, lines=lines, waiting=waiting, done=_done(request))


@router.get("/devices/{device_id}")
def device(request: Request, services: Given, identity: Reader, device_id: DeviceId) -> Response:
    return draw_device(request, services, identity, services.store.devices.by_id(device_id), done=_done(request))


@router.post("/devices/{device_id}/test")
def test(request: Request, services: Given, form: ReaderForm, device_id: DeviceId) -> Response:
    """Connect to the terminal, and show and record its device information."""
    one = services.store.devices.by_id(device_id)
    try:
        info = services.terminals.probe(one)
    except ZkPipelineError as error:
        return _failed(request, services, form.identity, one, error)
    services.store.devices.record_test(one.name, info)
    hint = zone_hint(services, one, info.clock_drift_seconds)
    return draw_device(request, services, form.identity, one, info=info, zone_hint=hint)


@router.get("/devices/{device_id}/users")
def users(request: Request, services: Given, identity: Reader, device_id: DeviceId) -> Response:
    """Users enrolled on the terminal, read from it now."""
    one = services.store.devices.by_id(device_id)
    try:
        enrolled = services.terminals.users(one).to_dict("records")
    except ZkPipelineError as error:
        return _failed(request, services, identity, one, error)
    return render(
        request,
        "device_users.html",
        identity,
        device=one,
        users=enrolled,
        breadcrumbs=[("Devices", "/devices"), (one.name, f"/devices/{one.id}")],
    )


@router.post("/devices/{device_id}/set-clock")
def set_clock(request: Request, services: Given, form: AdminForm, device_id: DeviceId) -> Response:
    one = services.store.devices.by_id(device_id)
    try:
        changed = set_clock_of(services.store, services.terminals, one)
    except ZkPipelineError as error:
        return _failed(request, services, form.identity, one, error)
    return draw_device(request, services, form.identity, one, clock=changed)


@router.post("/devices/{device_id}/enabled")
def set_enabled(services: Given, form: AdminForm, device_id: DeviceId) -> Response:
    """Include the terminal in polls or exclude it; the field `enabled` is `true` or `false`. With `undo`, the time of a
    change, only if the terminal was not changed since.
    """
    is_enabled, one = form.fields.get("enabled") == "true", services.store.devices.by_id(device_id)
    if "undo" in form.fields and form.fields["undo"] != str(one.updated_at):
        leave_notice(form.identity, f"Not undone: {one.name} was changed since.")
        return RedirectResponse(f"/devices/{device_id}", 303)
    changed = services.store.devices.update(one.name, enabled=is_enabled)
    fields = {"enabled": "false" if is_enabled else "true", "undo": str(changed.updated_at)}
    undo = Undo(f"/devices/{device_id}/enabled", fields)
    leave_notice(form.identity, _DONE["enabled" if is_enabled else "disabled"], undo)
    return RedirectResponse(f"/devices/{device_id}", 303)


@router.post("/devices/{device_id}/replaced")
def replaced(services: Given, form: AdminForm, device_id: DeviceId) -> Response:  # noqa: ARG001 (checks the scope)
    """Accept the serial number of a replacement terminal at the next contact."""
    services.store.devices.forget_serial(services.store.devices.by_id(device_id).name)
    return RedirectResponse(f"/devices/{device_id}?done=replaced", 303)


@router.post("/devices/{device_id}/remove")
def remove(services: Given, form: AdminForm, device_id: DeviceId) -> Response:  # noqa: ARG001 (checks the scope)
    services.store.devices.remove(services.store.devices.by_id(device_id).name)
    return RedirectResponse("/devices?done=removed", 303)


def _failed(request: Request, services: Services, identity: Identity, one: Device, error: ZkPipelineError) -> Response:
    """The page of the terminal with the error message in place of the result."""
    status, body, headers = error_body(error)
    return draw_device(request, services, identity, one, problem=body["detail"], status=status, headers=headers)


def draw_device(request: Request, services: Services, identity: Identity, one: Device, **values: Any) -> Response:
    """The page of a terminal. `values`: results of an action on it."""
    push, zone = services.store.push, ZoneInfo(one.timezone)
    story = device_details(services.store.database, one.name)
    history = device_history(services.store.database, one.name, one.timezone, services.clock().astimezone(zone).date())
    pushing = push.details(one.name, one.timezone)
    lines = lines_of(services, services.store.overview.devices(name=one.name), [one])
    return render(
        request,
        "device.html",
        identity,
        breadcrumbs=[("Devices", "/devices"), (one.site, site_address(one.site))],
        device=one,
        line=lines[0] if lines else None,
        advice=advice_of(services).get(one.name, []),
        drift_hint=zone_hint(services, one, story.drift_seconds),
        charts=device_charts(history, story.record_capacity),
        story=story,
        pushing=pushing,
        checks=push.checks(pushing.terminal.serial_number, limit=_SHOWN_CHECKS) if pushing else [],
        events=push.events(one.name, None, None, limit=_SHOWN_EVENTS),
        max_drift=MAX_DRIFT_SECONDS,
        max_fill=MAX_FILL,
        **values,
    )


def _done(request: Request) -> str | None:
    return _DONE.get(request.query_params.get("done", ""))
