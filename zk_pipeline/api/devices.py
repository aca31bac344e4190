"""The registry of terminals, and looking at one terminal live. What polls them is `actions`."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from zk_pipeline.api.catalog_models import described
from zk_pipeline.api.responses import FAILURES, TERMINAL_FAILURES
from zk_pipeline.devices.addresses import check_fields
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Admin, Operator, Reader
from zk_pipeline.http.fields import Port
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.operations.set_clock import set_clock as set_clock_of
from zk_pipeline.store.terminals.devices import EDITABLE

router = APIRouter(prefix="/api/devices", tags=["devices"], responses=FAILURES, route_class=StrictRoute)

DeviceId = Annotated[int, Path(ge=1, le=2**31 - 1)]
DeviceAnswer = described("Device", Device, "devices")


class _ReadOnly(BaseModel):
    """Fields of an answer that may come back in a request, where they mean nothing. A mistyped field is refused."""

    model_config = ConfigDict(extra="forbid")

    id: Any = Field(None, json_schema_extra={"readOnly": True})
    serial_number: Any = Field(None, json_schema_extra={"readOnly": True})
    last_transport: Any = Field(None, json_schema_extra={"readOnly": True})
    log_layout: Any = Field(None, json_schema_extra={"readOnly": True})
    last_sync: Any = Field(None, json_schema_extra={"readOnly": True})
    keypad_locked_at: Any = Field(None, json_schema_extra={"readOnly": True})
    created_at: Any = Field(None, json_schema_extra={"readOnly": True})
    updated_at: Any = Field(None, json_schema_extra={"readOnly": True})


class DeviceChange(_ReadOnly):
    """What may be changed of a terminal; what is not given stays."""

    name: str | None = Field(None, description="Cannot be changed: its history stands under it")
    ip_address: str | None = Field(None, description="IP address or host name")
    port: Port | None = None
    protocol: Literal["auto", "tcp", "udp"] | None = None
    timezone: str | None = Field(None, description="IANA zone of the terminal's wall clock")
    site: str | None = Field(None, description="Devices of one site share their people")
    enabled: bool | None = Field(None, strict=True)
    live: bool | None = Field(None, strict=True, description="Whether `zk-pipeline live` listens to it")
    trust_punch_states: bool | None = Field(
        None, strict=True, description="Whether minutes worked are taken from its in, out and break states"
    )
    comm_key_env: str | None = Field(
        None, description="Name of the environment variable that holds the comm key, never the key"
    )
    encoding: str | None = Field(
        None, min_length=1, max_length=50, description="Character encoding of names on the terminal"
    )


class NewDevice(DeviceChange):
    """A terminal to register. What is not given is as `zk-pipeline device add` has it."""

    name: str = Field(description="Unique; also its Dagster partition key")
    ip_address: str = Field(description="IP address or host name")


class Info(BaseModel):
    """What the terminal says of itself right now."""

    model_config = ConfigDict(extra="allow")

    device_name: str
    ip_address: str
    port: int
    firmware_version: str
    serial_number: str
    platform: str
    user_count: int
    attendance_count: int
    connected: bool
    user_capacity: int
    attendance_capacity: int
    clock_drift_seconds: float | None = Field(description="Terminal minus true time; null where it shows no real date")
    round_trip_ms: float
    transport: Literal["tcp", "udp"]


class User(BaseModel):
    """Somebody enrolled on the terminal; no password, no template."""

    user_id: str
    uid: int
    name: str
    privilege: int
    card: int


class ClockSet(BaseModel):
    """How far the terminal's clock was and is from true time, in seconds."""

    drift_before_seconds: float | None = Field(description="null where it showed no real date")
    drift_after_seconds: float | None


@router.get("/", response_model=list[DeviceAnswer])  # type: ignore[valid-type]
def devices(services: Given, _: Reader) -> list[Device]:
    """All registered terminals, by name."""
    return services.store.devices.all()


@router.post("/", response_model=DeviceAnswer, status_code=201)
def add(services: Given, _: Admin, new: NewDevice) -> Device:
    """Register a terminal. One that was removed is revived under its old number."""
    values = {"timezone": services.settings.timezone} | check_fields(_given(new) | {"name": new.name})
    return services.store.devices.add(Device(**values))


@router.get("/{device_id}/", response_model=DeviceAnswer)
def device(services: Given, _: Reader, device_id: DeviceId) -> Device:
    """One terminal, as registered."""
    return services.store.devices.by_id(device_id)


@router.put("/{device_id}/", response_model=DeviceAnswer)
def replace(services: Given, _: Admin, device_id: DeviceId, new: NewDevice) -> Device:
    """Make a terminal's registration as given; what is not given gets its default."""
    before = services.store.devices.by_id(device_id)
    _check_name_stays(before, new)
    values = {"timezone": services.settings.timezone} | check_fields(_given(new))
    as_new = Device(name=before.name, **values)
    return services.store.devices.update(before.name, **{name: getattr(as_new, name) for name in EDITABLE})


@router.patch("/{device_id}/", response_model=DeviceAnswer)
def change(services: Given, _: Admin, device_id: DeviceId, new: DeviceChange) -> Device:
    """Change what is given of a terminal's registration."""
    before = services.store.devices.by_id(device_id)
    _check_name_stays(before, new)
    changes = check_fields(_given(new))
    if "comm_key_env" in new.model_fields_set and not new.comm_key_env:
        changes["comm_key_env"] = None
    return services.store.devices.update(before.name, **changes) if changes else before


@router.delete("/{device_id}/", status_code=204)
def remove(services: Given, _: Admin, device_id: DeviceId) -> Response:
    """Take a terminal out of the registry; its punches, polls and days stay."""
    services.store.devices.remove(services.store.devices.by_id(device_id).name)
    return Response(status_code=204)


@router.get("/{device_id}/info/", response_model=Info, responses=TERMINAL_FAILURES)
def info(services: Given, _: Reader, device_id: DeviceId) -> dict[str, Any]:
    """Connect to the terminal and ask it."""
    one = services.store.devices.by_id(device_id)
    said = services.terminals.probe(one)
    return {
        "device_name": one.name,
        "ip_address": one.ip_address,
        "port": one.port,
        "firmware_version": said.firmware_version,
        "serial_number": said.serial_number,
        "platform": said.platform,
        "user_count": said.user_count,
        "attendance_count": said.record_count,
        "connected": True,
        "user_capacity": said.user_capacity,
        "attendance_capacity": said.record_capacity,
        "clock_drift_seconds": said.clock_drift_seconds,
        "round_trip_ms": said.round_trip_ms,
        "transport": said.transport,
    }


@router.get("/{device_id}/users/", response_model=list[User], responses=TERMINAL_FAILURES)
def users(services: Given, _: Reader, device_id: DeviceId) -> list[dict[str, Any]]:
    """Who is enrolled on the terminal, read from it now."""
    enrolled = services.terminals.users(services.store.devices.by_id(device_id))
    return [{str(name): value for name, value in row.items()} for row in enrolled.to_dict("records")]


@router.post("/{device_id}/set-clock/", response_model=ClockSet, responses=TERMINAL_FAILURES)
def set_clock(services: Given, _: Operator, device_id: DeviceId) -> dict[str, Any]:
    """Set the terminal's clock to the true time in its zone."""
    changed = set_clock_of(services.store, services.terminals, services.store.devices.by_id(device_id))
    return {name.name: getattr(changed, name.name) for name in fields(changed) if name.name in ClockSet.model_fields}


def _given(new: DeviceChange) -> dict[str, Any]:
    """The editable fields that were given. An empty comm_key_env is none."""
    given = {name: getattr(new, name) for name in EDITABLE}
    return given | {"comm_key_env": given["comm_key_env"] or None}


def _check_name_stays(before: Device, new: DeviceChange) -> None:
    if new.name is not None and new.name != before.name:
        raise UsageError(f"name: {before.name!r} cannot be renamed, its history stands under it; remove and add it")
