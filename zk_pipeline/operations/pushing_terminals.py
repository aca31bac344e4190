"""Adoption of terminals that push, their limits, and commands to them: shared by the CLI, the API and the web admin."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from typing import Any, Literal, get_args

from zk_pipeline.devices.addresses import check_fields, check_networks
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.push.commands import CommandKind, PushCommand, command_text
from zk_pipeline.devices.push.families import Family
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.date_range import check_date_range
from zk_pipeline.store.push.commands import QueuedCommand
from zk_pipeline.store.push.terminals import PushTerminal, not_pushing, secret_digest
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


@dataclass(frozen=True)
class PendingTerminal:
    """A terminal that waits for adoption. `registered_as`: the device with its serial number that polls read."""

    serial_number: str
    registered_as: str | None
    address: str
    family: str | None
    push_version: str | None
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True)
class PushLimits:
    """Limits on the connections of a terminal that pushes: a path secret, and `networks` (None: any). `timezone_form`:
    None for that of its family.
    """

    serial_number: str
    has_secret: bool
    networks: str | None
    timezone_form: str | None


@dataclass(frozen=True, kw_only=True)
class ListedCommand:
    """A command and its result. `kind`: as in REQUESTED_KINDS, or `count-punches`, which only the receiver requests."""

    id: int
    kind: str
    start_local: datetime | None
    end_local: datetime | None
    state: str
    requested_by: str
    requested_at: datetime
    times_sent: int
    sent_at: datetime | None
    finished_at: datetime | None
    return_code: int | None
    result: str | None


def pending_terminals(store: Store) -> list[PendingTerminal]:
    """Terminals that wait for adoption, by serial number."""
    names = [field.name for field in fields(PendingTerminal)]
    return [PendingTerminal(**{name: getattr(one, name) for name in names}) for one in store.push.pending()]


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
    checked = check_fields({"name": name, "timezone": timezone, "site": site})
    secret = new_secret() if with_secret else None
    device = store.push.adopt(
        serial,
        checked["name"],
        timezone=checked.get("timezone"),
        default_timezone=default_timezone,
        site=checked.get("site"),
        secret_hash=None if secret is None else secret_digest(secret),
        by=by,
    )
    return Adoption(device, serial, secret)


def new_secret() -> str:
    """A random path secret."""
    return "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(_SECRET_LENGTH))


def limits_of(store: Store, device: str) -> PushLimits:
    """The limits of a device that pushes. Raises UsageError for another one."""
    one = _terminal_of(store, device)
    return PushLimits(one.serial_number, one.secret_hash is not None, one.networks, one.timezone_form)


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
) -> ListedCommand:
    """Queue a command for the terminal of `device`; returns it, or the same command that is still open.

    `first`, `last`: dates on its wall clock, for `punches` only. Raises UsageError.
    """
    terminal = _terminal_of(store, device.name)
    if not device.enabled:
        enable = f"zk-pipeline device enable {shlex.quote(device.name)}"
        raise UsageError(f"device {device.name!r} is disabled and gets no commands: `{enable}`")
    family = terminal.family or "A"
    command = _command(kind, family, first, last)
    command_text(command, family, zone=device.timezone, at=store.clock())  # refuses what the family does not have
    return listed_command(store.push.command(store.push.queue(terminal.serial_number, command, by=by)))


def commands_of(store: Store, device: Device) -> list[ListedCommand]:
    """The newest commands of a device, newest first; none if it does not push."""
    return [listed_command(one) for one in store.push.commands_of_device(device.name)]


def _terminal_of(store: Store, device: str) -> PushTerminal:
    terminal = next((one for one in store.push.terminals() if one.device == device), None)
    if terminal is None:
        raise not_pushing(device)
    return terminal


def _command(kind: RequestedKind, family: Family, first: date | None, last: date | None) -> PushCommand:
    if first is not None or last is not None:
        if kind != "punches":
            raise UsageError(f"the command {kind} takes no dates")
        if family == "C":
            raise UsageError("an access terminal (family C) sends its whole log: the command punches takes no dates")
    elif kind != "punches" or family == "C":
        return PushCommand(kind=_KINDS[kind])
    if first is None or last is None:
        raise UsageError("the command punches needs a start date and an end date")
    check_date_range(first, last)
    begin, end = datetime.combine(first, time.min), datetime.combine(last, time(23, 59, 59))
    return PushCommand(kind=_KINDS[kind], start_local=begin, end_local=end)


def listed_command(queued: QueuedCommand) -> ListedCommand:
    """A command with the name of its kind as an operator requests it."""
    names: dict[CommandKind, str] = {kind: name for name, kind in _KINDS.items()}
    command = queued.command
    return ListedCommand(
        id=queued.id,
        kind=names.get(command.kind, command.kind.replace("_", "-")),
        start_local=command.start_local,
        end_local=command.end_local,
        state=queued.state,
        requested_by=queued.requested_by,
        requested_at=queued.requested_at,
        times_sent=queued.times_sent,
        sent_at=queued.sent_at,
        finished_at=queued.finished_at,
        return_code=queued.return_code,
        result=queued.result,
    )


def check_address_to_poll(before: Device, changes: Mapping[str, Any], *, option: str) -> None:
    """Raise UsageError if polls shall begin to connect to the address that a terminal only connected from.

    `option`: name of the address, for the message.
    """
    if changes.get("polled") and not before.polled and not changes.get("ip_address"):
        raise UsageError(f"device {before.name!r} has no address to poll yet: name it with {option}")
