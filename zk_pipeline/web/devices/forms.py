"""Forms to register a terminal and to change its registration."""

from __future__ import annotations

import zoneinfo
from dataclasses import replace
from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from zk_pipeline.attendance.clock_errors import drift_in_zone
from zk_pipeline.devices.addresses import DIRECTIONS, NO_DIRECTION, check_fields, find_problems
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.networks import check_host_in_networks
from zk_pipeline.errors import FieldsRefused, UsageError, ZkPipelineError
from zk_pipeline.http.auth import Identity
from zk_pipeline.http.errors import error_body
from zk_pipeline.http.services import Given, Services
from zk_pipeline.http.sessions import Tested
from zk_pipeline.operations.pushing_terminals import AUTO, NONE, TIMEZONE_FORMS, change_limits
from zk_pipeline.store.errors import DeviceExists
from zk_pipeline.store.queries.device_details import device_details
from zk_pipeline.store.terminals.devices import EDITABLE
from zk_pipeline.web.devices.pages import DeviceId, draw_device
from zk_pipeline.web.devices.status import MAX_DRIFT_SECONDS
from zk_pipeline.web.devices.zone_hints import zone_hint
from zk_pipeline.web.rendering import Admin, AdminForm, Form, Signed, render

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
    """Register the terminal, with the result of the test before; the button `test` only tests its connection."""
    default = {"timezone": services.settings.timezone}
    try:
        checked = _checked(form.fields)
        check_host_in_networks(checked.get("ip_address"), services.settings.device_networks)
        if "test" in form.fields:
            return _test(request, services, form, Device(**{"name": "the terminal"} | default | checked))
        given = Device(**default | _checked(form.fields | {"name": form.fields.get("name", "")}))
        added = services.store.devices.add(given)
    except DeviceExists as error:
        return _draw(request, services, form.identity, form.fields, problem=FieldsRefused({"name": str(error)}))
    except UsageError as error:
        return _draw(request, services, form.identity, form.fields, problem=error)
    done = "added-tested" if _save_test(services, form.identity, added) else "added"
    return RedirectResponse(f"/devices/{added.id}?done={done}", 303)


def _test(request: Request, services: Services, form: Signed, one: Device, *, edited: Device | None = None) -> Response:
    """The form with the result of connecting to the terminal as it has it; the session keeps it until it is saved."""
    try:
        info = services.terminals.probe(one)
    except ZkPipelineError as error:
        status, body, _ = error_body(error)
        problem = UsageError(body["detail"])
        return _draw(request, services, form.identity, form.fields, device=edited, problem=problem, status=status)
    if form.identity.session is not None:
        form.identity.session.tested = Tested(_connection_of(one), one.timezone, info)
    hint = zone_hint(services, one, info.clock_drift_seconds)
    others = (other for other in services.store.devices.all() if edited is None or other.id != edited.id)
    same = next((other for other in others if info.serial_number and other.serial_number == info.serial_number), None)
    return _draw(request, services, form.identity, form.fields, device=edited, info=info, zone_hint=hint, same=same)


def _save_test(services: Services, identity: Identity, saved: Device) -> bool:
    """Record the test of the form before with the device, if it was of the same connection. Its drift is that in the
    zone that was saved, which the test may have suggested.
    """
    tested = identity.session and identity.session.tested
    if not tested or tested.connection != _connection_of(saved):
        return False
    info = tested.info
    drift = drift_in_zone(info.clock_drift_seconds, info.clock_local, zone=tested.timezone, other=saved.timezone)
    services.store.devices.record_test(saved.name, replace(info, clock_drift_seconds=drift))
    return True


def _connection_of(one: Device) -> tuple[object, ...]:
    return one.ip_address, one.port, one.protocol, one.comm_key_env


@router.get("/devices/{device_id}/edit")
def show(request: Request, services: Given, identity: Admin, device_id: DeviceId) -> Response:
    one = services.store.devices.by_id(device_id)
    drift = device_details(services.store.database, one.name).drift_seconds
    fields = _shown(one) | _shown_limits(services, one)
    return _draw(request, services, identity, fields, device=one, zone_hint=zone_hint(services, one, drift))


@router.post("/devices/{device_id}/edit")
def change(request: Request, services: Given, form: AdminForm, device_id: DeviceId) -> Response:
    one = services.store.devices.by_id(device_id)
    try:
        # An empty field means the default, as in the form for a new device.
        plain = Device(name=one.name, ip_address=one.ip_address, timezone=services.settings.timezone)
        wanted = replace(plain, **_checked(form.fields))
        if wanted.ip_address != one.ip_address:
            check_host_in_networks(wanted.ip_address, services.settings.device_networks)
        if "test" in form.fields:
            return _test(request, services, form, wanted, edited=one)
        secret = _change_limits(services, one, form.fields)
        saved = services.store.devices.update(one.name, **{name: getattr(wanted, name) for name in EDITABLE})
    except UsageError as error:
        return _draw(request, services, form.identity, form.fields, device=one, problem=error)
    _save_test(services, form.identity, saved)
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
    """The device fields of a form, validated. A missing switch is off. Raises FieldsRefused."""
    given: dict[str, Any] = {name: fields[name].strip() or None for name in _TEXTS if name in fields}
    given |= {name: fields.get(name) == "on" for name in _SWITCHES}
    given["direction"] = fields.get("direction", NO_DIRECTION)
    given |= {"protocol": fields.get("protocol", "auto")}
    if "name" in fields:
        given["name"] = fields["name"].strip()
    problems = find_problems(given)
    if given["polled"] and not given.get("ip_address"):
        problems["ip_address"] = "the address is missing: an IP address or a host name is expected"
    if given["protocol"] not in PROTOCOLS:
        problems["protocol"] = f"protocol: one of {', '.join(PROTOCOLS)} is expected"
    if problems:
        raise FieldsRefused(problems)
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
    status: int = 400,
    **values: Any,
) -> Response:
    """The form; `values`: the result of a test. `status` is that of a problem."""
    return render(
        request,
        "device_form.html",
        identity,
        status=status if problem else 200,
        breadcrumbs=[("Devices", "/devices"), *([(device.name, f"/devices/{device.id}")] if device else [])],
        max_drift=MAX_DRIFT_SECONDS,
        device=device,
        fields=fields,
        problem=problem,
        protocols=PROTOCOLS,
        directions=(NO_DIRECTION, *DIRECTIONS),
        secrets=_SECRETS,
        timezone_forms=(AUTO, *TIMEZONE_FORMS),
        zones=sorted(zoneinfo.available_timezones()),
        sites=services.store.devices.sites(),
        **values,
    )
