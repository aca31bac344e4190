"""Device registry, and live queries of one terminal. `actions` polls the terminals."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.responses import FAILURES, TERMINAL_FAILURES
from zk_pipeline.devices.addresses import check_fields
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.networks import check_host_in_networks
from zk_pipeline.errors import UsageError
from zk_pipeline.http.auth import Admin, Reader
from zk_pipeline.http.fields import Port
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.operations.pushing_terminals import check_address_to_poll
from zk_pipeline.operations.set_clock import set_clock as set_clock_of
from zk_pipeline.store.terminals.devices import EDITABLE

router = APIRouter(prefix="/api/devices", tags=["devices"], responses=FAILURES, route_class=StrictRoute)

DeviceId = Annotated[int, Path(ge=1, le=2**31 - 1)]
_CLEARABLE = ("comm_key_env", "direction")  # null in a change: none
DeviceAnswer = catalog_model(
    "Device",
    Device,
    "devices",
    {
        "pushes": "Whether a terminal was adopted that connects to the receiver (`zk-pipeline receive`)",
        "last_contact": "Last successful poll, or connection to the receiver (instant, UTC)",
    },
)


class _ReadOnly(BaseModel):
    """Read-only fields of responses, which are ignored in requests. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")

    id: Any = Field(None, json_schema_extra={"readOnly": True})
    serial_number: Any = Field(None, json_schema_extra={"readOnly": True})
    last_transport: Any = Field(None, json_schema_extra={"readOnly": True})
    log_layout: Any = Field(None, json_schema_extra={"readOnly": True})
    pushes: Any = Field(None, json_schema_extra={"readOnly": True})
    last_contact: Any = Field(None, json_schema_extra={"readOnly": True})
    last_sync: Any = Field(None, json_schema_extra={"readOnly": True})
    keypad_locked_at: Any = Field(None, json_schema_extra={"readOnly": True})
    created_at: Any = Field(None, json_schema_extra={"readOnly": True})
    updated_at: Any = Field(None, json_schema_extra={"readOnly": True})


class DeviceChange(_ReadOnly):
    """Changeable fields of a device; missing fields stay unchanged."""

    name: str | None = Field(None, description="Cannot be changed: the history refers to it")
    ip_address: str | None = Field(None, description="IP address or host name")
    port: Port | None = None
    protocol: Literal["auto", "tcp", "udp"] | None = None
    timezone: str | None = Field(None, description="IANA zone of the terminal's wall clock")
    site: str | None = Field(None, description="Devices of one site share their users")
    enabled: bool | None = Field(None, strict=True)
    polled: bool | None = Field(
        None, strict=True, description="Whether polls connect to it; false for a terminal that only pushes"
    )
    live: bool | None = Field(None, strict=True, description="Whether `zk-pipeline live` captures its punches")
    trust_punch_states: bool | None = Field(
        None, strict=True, description="Whether worked minutes are computed from its in, out and break states"
    )
    direction: Literal["in", "out"] | None = Field(
        None, description="Counts every punch as in (entry gate) or out (exit gate); null: no direction"
    )
    comm_key_env: str | None = Field(
        None, description="Name of the environment variable that holds the comm key, never the key"
    )
    encoding: str | None = Field(
        None, min_length=1, max_length=50, description="Character encoding of names on the terminal"
    )


class NewDevice(DeviceChange):
    """A terminal to register. Missing fields get the defaults of `zk-pipeline device add`."""

    name: str = Field(description="Unique; also its Dagster partition key")
    ip_address: str = Field(description="IP address or host name")


class Info(BaseModel):
    """Live information from the terminal."""

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
    clock_drift_seconds: float | None = Field(description="Terminal minus true time; null if its date is invalid")
    round_trip_ms: float
    transport: Literal["tcp", "udp"]


class User(BaseModel):
    """A user enrolled on the terminal, without password and templates."""

    user_id: str
    uid: int
    name: str
    privilege: int
    card: int


class ClockSet(BaseModel):
    """Clock drift before and after: terminal minus true time, in seconds."""

    drift_before_seconds: float | None = Field(description="null if its date was invalid")
    drift_after_seconds: float | None


@router.get("/", response_model=list[DeviceAnswer])  # type: ignore[valid-type]
def devices(services: Given, _: Reader) -> list[Device]:
    """All registered devices, by name."""
    return services.store.devices.all()


@router.post("/", response_model=DeviceAnswer, status_code=201)
def add(services: Given, _: Admin, new: NewDevice) -> Device:
    """Register a terminal. A removed device of this name is registered again with its old id."""
    values = {"timezone": services.settings.timezone} | check_fields(_given(new) | {"name": new.name})
    check_host_in_networks(values.get("ip_address"), services.settings.device_networks)
    return services.store.devices.add(Device(**values))


@router.get("/{device_id}/", response_model=DeviceAnswer)
def device(services: Given, _: Reader, device_id: DeviceId) -> Device:
    """One registered device."""
    return services.store.devices.by_id(device_id)


@router.put("/{device_id}/", response_model=DeviceAnswer)
def replace(services: Given, _: Admin, device_id: DeviceId, new: NewDevice) -> Device:
    """Replace the registration of a terminal; missing fields get their defaults, except `polled`, which stays."""
    before = services.store.devices.by_id(device_id)
    _check_name_stays(before, new)
    # Clients of the Django bridge do not know `polled`.
    defaults: dict[str, Any] = {"timezone": services.settings.timezone, "polled": before.polled}
    values = defaults | check_fields(_given(new))
    if values.get("ip_address") != before.ip_address:
        check_host_in_networks(values.get("ip_address"), services.settings.device_networks)
    as_new = Device(name=before.name, **values)
    return services.store.devices.update(before.name, **{name: getattr(as_new, name) for name in EDITABLE})


@router.patch("/{device_id}/", response_model=DeviceAnswer)
def change(services: Given, _: Admin, device_id: DeviceId, new: DeviceChange) -> Device:
    """Change the given fields of a registration."""
    before = services.store.devices.by_id(device_id)
    _check_name_stays(before, new)
    changes = check_fields(_given(new))
    check_address_to_poll(before, changes, option="ip_address")
    check_host_in_networks(changes.get("ip_address"), services.settings.device_networks)
    changes |= {name: None for name in _CLEARABLE if name in new.model_fields_set and not getattr(new, name)}
    return services.store.devices.update(before.name, **changes) if changes else before


@router.delete("/{device_id}/", status_code=204)
def remove(services: Given, _: Admin, device_id: DeviceId) -> Response:
    """Remove a terminal from the registry; its punches, polls and attendance days stay."""
    services.store.devices.remove(services.store.devices.by_id(device_id).name)
    return Response(status_code=204)


@router.get("/{device_id}/info/", response_model=Info, responses=TERMINAL_FAILURES)
def info(services: Given, _: Reader, device_id: DeviceId) -> dict[str, Any]:
    """Connect to the terminal and query its state."""
    device = services.store.devices.by_id(device_id)
    probed = services.terminals.probe(device)
    return {
        "device_name": device.name,
        "ip_address": device.ip_address,
        "port": device.port,
        "firmware_version": probed.firmware_version,
        "serial_number": probed.serial_number,
        "platform": probed.platform,
        "user_count": probed.user_count,
        "attendance_count": probed.record_count,
        "connected": True,
        "user_capacity": probed.user_capacity,
        "attendance_capacity": probed.record_capacity,
        "clock_drift_seconds": probed.clock_drift_seconds,
        "round_trip_ms": probed.round_trip_ms,
        "transport": probed.transport,
    }


@router.get("/{device_id}/users/", response_model=list[User], responses=TERMINAL_FAILURES)
def users(services: Given, _: Reader, device_id: DeviceId) -> list[dict[str, Any]]:
    """Users enrolled on the terminal, read live."""
    enrolled = services.terminals.users(services.store.devices.by_id(device_id))
    return [{str(name): value for name, value in row.items()} for row in enrolled.to_dict("records")]


@router.post("/{device_id}/set-clock/", response_model=ClockSet, responses=TERMINAL_FAILURES)
def set_clock(services: Given, _: Admin, device_id: DeviceId) -> dict[str, Any]:
    """Set the terminal's clock to the true time in its zone."""
    changed = set_clock_of(services.store, services.terminals, services.store.devices.by_id(device_id))
    return {name.name: getattr(changed, name.name) for name in fields(changed) if name.name in ClockSet.model_fields}


def _given(new: DeviceChange) -> dict[str, Any]:
    """The given editable fields. An empty comm_key_env counts as none."""
    given = {name: getattr(new, name) for name in EDITABLE}
    return given | {"comm_key_env": given["comm_key_env"] or None}


def _check_name_stays(before: Device, new: DeviceChange) -> None:
    if new.name is not None and new.name != before.name:
        raise UsageError(f"name: {before.name!r} cannot be renamed; remove it and add another")
