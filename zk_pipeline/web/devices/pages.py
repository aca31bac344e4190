"""Terminals: the list, the page of one, and what is done to one by hand. What is registered of it: `device_forms`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.devices.models import Device
from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.errors import message_for
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.set_clock import set_clock as set_clock_of
from zk_pipeline.store.queries.device_details import device_story
from zk_pipeline.web.devices.status import MAX_DRIFT_SECONDS, MAX_FILL, lines_of, status_of
from zk_pipeline.web.rendering import AdminForm, OperatorForm, Reader, ReaderForm, render

router = APIRouter(include_in_schema=False)
DeviceId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_DONE = {
    "added": "The terminal is registered. Test it, then poll it.",
    "saved": "Saved. Days that this touches are made again by the next processing run.",
    "enabled": "It is polled from now on.",
    "disabled": "It is polled no more; everything it brought stays.",
    "replaced": "The next terminal that answers at its address is taken for the new one.",
    "removed": "The terminal is no longer registered; its punches, polls and days stay.",
}


@router.get("/devices")
def devices(request: Request, services: Given, identity: Reader) -> Response:
    lines = lines_of(services, status_of(services))
    return render(request, "devices.html", identity, lines=lines, done=_done(request))


@router.get("/devices/{device_id}")
def device(request: Request, services: Given, identity: Reader, device_id: DeviceId) -> Response:
    return _draw(request, services, identity, services.store.devices.by_id(device_id), done=_done(request))


@router.post("/devices/{device_id}/test")
def test(request: Request, services: Given, form: ReaderForm, device_id: DeviceId) -> Response:
    """Connects to the terminal; changes nothing."""
    one = services.store.devices.by_id(device_id)
    try:
        said = services.terminals.probe(one)
    except ZkPipelineError as error:
        return _failed(request, services, form.identity, one, error)
    return _draw(request, services, form.identity, one, said=said)


@router.get("/devices/{device_id}/users")
def users(request: Request, services: Given, identity: Reader, device_id: DeviceId) -> Response:
    """Who is enrolled on the terminal, read from it now."""
    one = services.store.devices.by_id(device_id)
    try:
        enrolled = services.terminals.users(one).to_dict("records")
    except ZkPipelineError as error:
        return _failed(request, services, identity, one, error)
    return render(request, "device_users.html", identity, device=one, users=enrolled)


@router.post("/devices/{device_id}/set-clock")
def set_clock(request: Request, services: Given, form: OperatorForm, device_id: DeviceId) -> Response:
    one = services.store.devices.by_id(device_id)
    try:
        changed = set_clock_of(services.store, services.terminals, one)
    except ZkPipelineError as error:
        return _failed(request, services, form.identity, one, error)
    return _draw(request, services, form.identity, one, clock=changed)


@router.post("/devices/{device_id}/enabled")
def set_enabled(services: Given, form: AdminForm, device_id: DeviceId) -> Response:
    """Polls it from now on, or no more; the field `enabled` is `true` or `false`."""
    is_enabled = form.fields.get("enabled") == "true"
    services.store.devices.update(services.store.devices.by_id(device_id).name, enabled=is_enabled)
    return RedirectResponse(f"/devices/{device_id}?done={'enabled' if is_enabled else 'disabled'}", 303)


@router.post("/devices/{device_id}/replaced")
def replaced(services: Given, form: AdminForm, device_id: DeviceId) -> Response:  # noqa: ARG001 (who may)
    """Another terminal was put in its place, on purpose."""
    services.store.devices.forget_serial(services.store.devices.by_id(device_id).name)
    return RedirectResponse(f"/devices/{device_id}?done=replaced", 303)


@router.post("/devices/{device_id}/remove")
def remove(services: Given, form: AdminForm, device_id: DeviceId) -> Response:  # noqa: ARG001 (who may)
    services.store.devices.remove(services.store.devices.by_id(device_id).name)
    return RedirectResponse("/devices?done=removed", 303)


def _failed(request: Request, services: Services, identity: Identity, one: Device, error: ZkPipelineError) -> Response:
    """The page of the terminal with what went wrong; a wrong answer of it is said where its right one would be."""
    status, body, headers = message_for(error)
    return _draw(request, services, identity, one, problem=body["detail"], status=status, headers=headers)


def _draw(request: Request, services: Services, identity: Identity, one: Device, **values: Any) -> Response:
    lines = [line for line in lines_of(services, status_of(services)) if line.id == one.id]
    return render(
        request,
        "device.html",
        identity,
        device=one,
        line=lines[0] if lines else None,
        story=device_story(services.store.database, one.name),
        max_drift=MAX_DRIFT_SECONDS,
        max_fill=MAX_FILL,
        **values,
    )


def _done(request: Request) -> str | None:
    return _DONE.get(request.query_params.get("done", ""))
