"""Adoption of terminals that push, their limits, and commands to them: shared by the CLI, the API and the web admin."""

from __future__ import annotations

import secrets
import shlex
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Literal, get_args

from zk_pipeline.devices.addresses import check_fields, check_networks
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.push.commands import CommandKind, PushCommand
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.date_range import check_date_range
from zk_pipeline.store.push.commands import QueuedCommand
from zk_pipeline.store.push.terminals import secret_digest
from zk_pipeline.store.store import Store

RequestedKind = Literal["info", "hello", "upload", "users", "punches", "reboot", "set-clock"]
REQUESTED_KINDS: tuple[RequestedKind, ...] = get_args(RequestedKind)
ADMIN_KINDS: tuple[RequestedKind, ...] = ("reboot", "set-clock")  # they interrupt the terminal or change its times
_KINDS: dict[RequestedKind, CommandKind] = {
    "info": "info",
    "hello": "hello",
    "upload": "upload",
    "users": "query_users",
    "punches": "query_punches",
    "reboot": "reboot",
    "set-clock": "set_clock",
}
# Typed on the keypad of a terminal: no letters and digits that look alike. 16 of them are 79 bits.
_SECRET_CHARACTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # noqa: S105 (an alphabet)
_SECRET_LENGTH = 16
TIMEZONE_FORMS = ("hours", "minutes", "offset")
AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Adoption:
    """An adopted terminal. `secret`: to type into the terminal, shown only now; None without one."""

    device: Device
    serial_number: str
    secret: str | None


def adopt_terminal(
    store: Store,
    serial: str,
    name: str,
    *,
    timezone: str | None,
    default_timezone: str,
    site: str | None,
    with_secret: bool,
    by: str,
) -> Adoption:
    """Accept the uploads of a pending terminal as those of the device `name`, registered or new.

    `timezone`, `site`: None keeps those of a registered device. Raises UsageError, UnknownTerminal, TerminalAdopted.
    """
    fields = check_fields({"name": name, "timezone": timezone, "site": site})
    secret = new_secret() if with_secret else None
    device = store.push.adopt(
        serial,
        fields["name"],
        timezone=fields.get("timezone"),
        default_timezone=default_timezone,
        site=fields.get("site"),
        secret_hash=None if secret is None else secret_digest(secret),
        by=by,
    )
    return Adoption(device, serial, secret)


def new_secret() -> str:
    """A random path secret."""
    return "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(_SECRET_LENGTH))


def change_limits(
    store: Store,
    device: str,
    *,
    secret: Literal["new", "none"] | None = None,
    networks: str | None = None,
    timezone_form: str | None = None,
) -> str | None:
    """Change the path secret, the networks (`none`: any) and the TimeZone form (`auto`: by family) of a device that
    pushes; None keeps one. Returns the new secret. Raises UsageError.
    """
    changes: dict[str, str | None] = {}
    new = new_secret() if secret == "new" else None  # noqa: S105 (a choice)
    if secret is not None:
        changes["secret_hash"] = None if new is None else secret_digest(new)
    if networks is not None:
        changes["networks"] = None if networks == NONE else check_networks(networks)
    if timezone_form is not None:
        changes["timezone_form"] = None if timezone_form == AUTO else timezone_form
    if changes:
        store.push.protect(device, **changes)
    return new


def request_command(
    store: Store, device: Device, kind: RequestedKind, *, first: date | None = None, last: date | None = None, by: str
) -> QueuedCommand:
    """Queue a command for the terminal of `device`; returns it, or the same command that is still open.

    `first`, `last`: dates on its wall clock, for `punches` only. Raises UsageError.
    """
    quoted = shlex.quote(device.name)
    serial = serial_of(store, device)
    if not device.enabled:
        raise UsageError(f"{device.name} is disabled and gets no commands: `zk-pipeline device enable {quoted}`")
    command = PushCommand(kind=_KINDS[kind])
    if kind == "punches":
        if first is None or last is None:
            raise UsageError("the command `punches` needs a first and a last date")
        check_date_range(first, last)
        command = PushCommand(
            kind="query_punches",
            start_local=datetime.combine(first, time.min),
            end_local=datetime.combine(last, time(23, 59, 59)),
        )
    elif first is not None or last is not None:
        raise UsageError(f"the command `{kind}` takes no dates")
    return store.push.command(store.push.queue(serial, command, by=by))


def requested_kind(command: PushCommand) -> str:
    """The kind of a command, as an operator requests it; `count-punches` is requested by the receiver only."""
    names: dict[CommandKind, str] = {kind: name for name, kind in _KINDS.items()}
    return names.get(command.kind, command.kind.replace("_", "-"))


def serial_of(store: Store, device: Device) -> str:
    """Serial number of the terminal that pushes for `device`. Raises UsageError for a device that does not push."""
    serial = next((one.serial_number for one in store.push.terminals() if one.device == device.name), None)
    if serial is None:
        raise UsageError(
            f"{device.name} does not push and takes no queued commands: "
            "`zk-pipeline device pending` lists terminals to adopt"
        )
    return serial
