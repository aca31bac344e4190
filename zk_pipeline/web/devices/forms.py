"""Forms to register a terminal and to change its registration."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.devices.addresses import DIRECTIONS, NO_DIRECTION, check_fields
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.networks import check_host_in_networks
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.services import Given, Services
from zk_pipeline.operations.pushing_terminals import AUTO, NONE, TIMEZONE_FORMS, change_limits
from zk_pipeline.store.errors import DeviceExists
from zk_pipeline.store.terminals.devices import EDITABLE
from zk_pipeline.web.devices.pages import DeviceId, draw_device
from zk_pipeline.web.rendering import Admin, AdminForm, Form, render

router = APIRouter(include_in_schema=False)
_SECRETS: dict[str, Literal["new", "none"] | None] = {"keep": None, "new": "new", "none": "none"}
PROTOCOLS = ("auto", "tcp", "udp")
_TEXTS = ("ip_address", "port", "timezone", "site", "comm_key_env", "encoding")
_SWITCHES = ("enabled", "polled", "live", "trust_punch_states")


@router.get("/devices/new")
def show_new(request: Request, services: Given, identity: Admin) -> Response:
    return _draw(
        request, services, identity, _shown(Device(name="", ip_address="", timezone=services.settings.timezone))
    )


@router.post("/devices/new")
def add(request: Request, services: Given, form: AdminForm) -> Response:
    try:
        given = _checked(form.fields | {"name": form.fields.get("name", "")})
        check_host_in_networks(given.get("ip_address"), services.settings.device_networks)
        added = services.store.devices.add(Device(**{"timezone": services.settings.timezone} | given))
    except (UsageError, DeviceExists) as error:
        return _draw(request, services, form.identity, form.fields, problem=error)
    return RedirectResponse(f"/devices/{added.id}?done=added", 303)


@router.get("/devices/{device_id}/edit")
def show(request: Request, services: Given, identity: Admin, device_id: DeviceId) -> Response:
    one = services.store.devices.by_id(device_id)
    return _draw(request, services, identity, _shown(one) | _shown_limits(services, one), device=one)


@router.post("/devices/{device_id}/edit")
def change(request: Request, services: Given, form: AdminForm, device_id: DeviceId) -> Response:
    one = services.store.devices.by_id(device_id)
    try:
        # An empty field means the default, as in the form for a new device.
        plain = Device(name=one.name, ip_address=one.ip_address, timezone=services.settings.timezone)
        wanted = replace(plain, **_checked(form.fields))
        if wanted.ip_address != one.ip_address:
            check_host_in_networks(wanted.ip_address, services.settings.device_networks)
        secret = _change_limits(services, one, form.fields)
        services.store.devices.update(one.name, **{name: getattr(wanted, name) for name in EDITABLE})
    except UsageError as error:
        return _draw(request, services, form.identity, form.fields, device=one, problem=error)
    if secret is not None:
        return draw_device(request, services, form.identity, services.store.devices.get(one.name), secret=secret)
    return RedirectResponse(f"/devices/{device_id}?done=saved", 303)


def _change_limits(services: Services, one: Device, fields: Form) -> str | None:
    """Change the limits of a terminal that pushes, if the form has them; returns a new secret. Raises UsageError."""
    if not one.pushes:
        return None
    secret, form = fields.get("push_secret", "keep"), fields.get("push_timezone_form", AUTO)
    if secret not in _SECRETS:
        raise UsageError(f"secret: one of {', '.join(_SECRETS)} is expected")
    if form not in (*TIMEZONE_FORMS, AUTO):
        raise UsageError(f"form of the zone: one of {', '.join((*TIMEZONE_FORMS, AUTO))} is expected")
    return change_limits(
        services.store,
        one.name,
        secret=_SECRETS[secret],
        networks=fields.get("push_networks", "").strip() or NONE,
        timezone_form=form,
    )


def _shown_limits(services: Services, one: Device) -> Form:
    """Limits of a terminal that pushes as fields of the form; its secret is not known."""
    terminal = next((found for found in services.store.push.terminals() if found.device == one.name), None)
    if terminal is None:
        return {}
    return {"push_networks": terminal.networks or "", "push_timezone_form": terminal.timezone_form or AUTO}


def _checked(fields: Form) -> dict[str, Any]:
    """The device fields of a form, validated. A missing switch is off. Raises UsageError."""
    given: dict[str, Any] = {name: fields[name].strip() or None for name in _TEXTS if name in fields}
    given |= {name: fields.get(name) == "on" for name in _SWITCHES}
    if given["polled"] and not given.get("ip_address"):
        raise UsageError("the address is missing: an IP address or a host name is expected")
    if fields.get("protocol", "auto") not in PROTOCOLS:
        raise UsageError(f"protocol: one of {', '.join(PROTOCOLS)} is expected")
    given["direction"] = fields.get("direction", NO_DIRECTION)
    given |= {"protocol": fields.get("protocol", "auto")}
    if "name" in fields:
        given["name"] = fields["name"].strip()
    return check_fields(given)


def _shown(one: Device) -> Form:
    """A device as the fields of the form."""
    texts = {name: str(getattr(one, name) or "") for name in ("name", "protocol", "direction", *_TEXTS)}
    return texts | {name: "on" for name in _SWITCHES if getattr(one, name)}


def _draw(
    request: Request,
    services: Services,
    identity: Identity,
    fields: Form,
    *,
    device: Device | None = None,
    problem: Exception | None = None,
) -> Response:
    return render(
        request,
        "device_form.html",
        identity,
        status=400 if problem else 200,
        device=device,
        fields=fields,
        problem=problem,
        protocols=PROTOCOLS,
        directions=(NO_DIRECTION, *DIRECTIONS),
        secrets=_SECRETS,
        timezone_forms=(AUTO, *TIMEZONE_FORMS),
        zones=sorted(zoneinfo.available_timezones()),
        sites=services.store.devices.sites(),
    )
