"""Terminals that push: adoption of pending ones, commands, and the events that they reported."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from zk_pipeline.api.catalog_models import catalog_model
from zk_pipeline.api.devices import DeviceAnswer, DeviceId
from zk_pipeline.api.responses import FAILURES, Problem
from zk_pipeline.http.auth import Admin, Operator, Reader
from zk_pipeline.http.fields import Date, as_date
from zk_pipeline.http.pagination import DateText
from zk_pipeline.http.services import Given
from zk_pipeline.http.strict_input import StrictRoute
from zk_pipeline.operations.date_range import check_date_range
from zk_pipeline.operations.pushing_terminals import (
    ADMIN_KINDS,
    AUTO,
    NONE,
    ListedCommand,
    PendingTerminal,
    PushLimits,
    RequestedKind,
    adopt_terminal,
    change_limits,
    commands_of,
    limits_of,
    pending_terminals,
    request_command,
)
from zk_pipeline.store.push.details import MAX_EVENTS, TerminalEvent

router = APIRouter(prefix="/api", tags=["devices"], responses=FAILURES, route_class=StrictRoute)

Serial = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
PendingAnswer = catalog_model(
    "PendingTerminal",
    PendingTerminal,
    "push_terminals",
    {"registered_as": "Device with this serial number that polls read: adopt it under that name; null: none"},
)
CommandAnswer = catalog_model(
    "Command",
    ListedCommand,
    "push_commands",
    {"kind": "info, hello, upload, users, punches, reboot, set-clock, or count-punches (requested by the receiver)"},
)
EventAnswer = catalog_model(
    "Event", TerminalEvent, "device_events", {"description": "Meaning of the code, as far as it is known"}
)
LimitsAnswer = catalog_model(
    "PushLimits",
    PushLimits,
    "push_terminals",
    {"has_secret": "Whether connections without its secret in the address are refused"},
)
_ADOPTED: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The terminal is adopted already, or the device is another terminal"}
}


class AdoptionBody(BaseModel):
    """The device as which a pending terminal is adopted: a new one, or the same terminal, polled before."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of a new or registered device")
    timezone: str | None = Field(None, description="IANA zone of its wall clock; default: that of the settings")
    site: str | None = Field(None, description="Devices of one site share their users; default: its name")
    secret: bool = Field(False, strict=True, description="Require a secret in the terminal's server address")


class AdoptedAnswer(DeviceAnswer):  # type: ignore[valid-type, misc]
    """The device of an adopted terminal."""

    secret: str | None = Field(description="Secret to type into the terminal, only in this response; null without one")


class CommandBody(BaseModel):
    """A command for a terminal that pushes. The kinds `reboot` and `set-clock` need the scope admin."""

    model_config = ConfigDict(extra="forbid")

    kind: RequestedKind
    start_date: Date | None = Field(None, description="First date of `punches`, on the terminal's wall clock")
    end_date: Date | None = Field(None, description="Last date of `punches`, included")


class LimitsBody(BaseModel):
    """Limits to change; missing fields keep their values."""

    model_config = ConfigDict(extra="forbid")

    secret: Literal["new", "none"] | None = Field(
        None, description="`new`: require a new secret in the terminal's server address; `none`: require none"
    )
    networks: str | None = Field(
        None, description="Networks that its connections must come from, such as 192.0.2.0/24; null: any"
    )
    timezone_form: Literal["hours", "minutes", "offset"] | None = Field(
        None, description="Form of the UTC offset in answers to it; null: that of its protocol family"
    )


class ChangedLimits(LimitsAnswer):  # type: ignore[valid-type, misc]
    """The limits after a change."""

    secret: str | None = Field(description="Secret to type into the terminal, only in this response; null without one")


class EventParameters(BaseModel):
    """Dates of events on the terminal's wall clock."""

    model_config = ConfigDict(extra="forbid")

    start_date: DateText = Field(None, description="First date")
    end_date: DateText = Field(None, description="Last date, included")


@router.get("/pending-devices/", response_model=list[PendingAnswer])  # type: ignore[valid-type]
def pending(services: Given, _: Reader) -> list[PendingTerminal]:
    """Terminals that connected to the receiver and wait for adoption, by serial number."""
    return pending_terminals(services.store)


@router.post("/pending-devices/{serial}/adopt/", response_model=AdoptedAnswer, responses=_ADOPTED)
def adopt(services: Given, identity: Admin, serial: Serial, body: AdoptionBody) -> dict[str, Any]:
    """Accept the uploads of a pending terminal as those of a device. A registered device keeps its polls, and its zone
    and site unless they are given.
    """
    adopted = adopt_terminal(
        services.store,
        serial,
        body.name,
        timezone=body.timezone,
        default_timezone=services.settings.timezone,
        site=body.site,
        with_secret=body.secret,
        by=identity.name,
    )
    return {**vars(adopted.device), "secret": adopted.secret}


@router.get("/devices/{device_id}/push/", response_model=LimitsAnswer)
def limits(services: Given, _: Reader, device_id: DeviceId) -> PushLimits:
    """Limits of the connections of a terminal that pushes, and the form of its UTC offset."""
    return limits_of(services.store, services.store.devices.by_id(device_id).name)


@router.patch("/devices/{device_id}/push/", response_model=ChangedLimits)
def limit(services: Given, _: Admin, device_id: DeviceId, body: LimitsBody) -> dict[str, Any]:
    """Change the secret, the networks or the form of the UTC offset of a terminal that pushes. The form applies from
    its next connection on, the others at once.
    """
    device = services.store.devices.by_id(device_id).name
    given = body.model_fields_set
    secret = change_limits(
        services.store,
        device,
        secret=body.secret,
        networks=(body.networks or NONE) if "networks" in given else None,
        timezone_form=(body.timezone_form or AUTO) if "timezone_form" in given else None,
    )
    return {**vars(limits_of(services.store, device)), "secret": secret}


@router.get("/devices/{device_id}/commands/", response_model=list[CommandAnswer])  # type: ignore[valid-type]
def commands(services: Given, _: Reader, device_id: DeviceId) -> list[ListedCommand]:
    """The newest 50 commands of a terminal that pushes, newest first, with their results."""
    return commands_of(services.store, services.store.devices.by_id(device_id))


@router.post("/devices/{device_id}/commands/", response_model=CommandAnswer, status_code=201)
def command(services: Given, identity: Operator, device_id: DeviceId, body: CommandBody) -> ListedCommand:
    """Queue a command for a terminal that pushes, which fetches it at its next contact. The same command that is still
    open is returned instead of a second one.
    """
    if body.kind in ADMIN_KINDS and not identity.may("admin"):
        raise HTTPException(403, f"the token has the scope {identity.scope}; the command {body.kind} needs admin")
    return request_command(
        services.store,
        services.store.devices.by_id(device_id),
        body.kind,
        first=as_date(body.start_date),
        last=as_date(body.end_date),
        by=identity.name,
    )


@router.get("/devices/{device_id}/events/", response_model=list[EventAnswer])  # type: ignore[valid-type]
def events(
    services: Given, _: Reader, device_id: DeviceId, query: Annotated[EventParameters, Query()]
) -> list[TerminalEvent]:
    """Operations and access events that a terminal reported, newest first, at most 1000."""
    first, last = as_date(query.start_date), as_date(query.end_date)
    check_date_range(first, last)
    device = services.store.devices.by_id(device_id)
    return services.store.push.events(device.name, first, last, limit=MAX_EVENTS)
