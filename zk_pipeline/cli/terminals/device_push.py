"""`zk-pipeline device adopt`, `pending`, `command`, `commands` and `events`: terminals that push."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from datetime import date
from typing import Any

import click

from zk_pipeline.cli.attendance.operators import operator_name
from zk_pipeline.cli.context import DEVICE, SITE, WORK_DATE, open_context
from zk_pipeline.cli.output import as_json, print_json, print_rows, wide_option
from zk_pipeline.operations.date_range import check_date_range, option_name
from zk_pipeline.operations.pushing_terminals import (
    AUTO,
    NONE,
    REQUESTED_KINDS,
    TIMEZONE_FORMS,
    Adoption,
    RequestedKind,
    adopt_terminal,
    commands_of,
    listed_command,
    pending_terminals,
    request_command,
)
from zk_pipeline.store.push.details import MAX_EVENTS, PushDetails

_PENDING = ["serial_number", "registered_as", "address", "family", "push_version", "first_seen_at", "last_seen_at"]
_COMMANDS = [
    "id",
    "kind",
    "state",
    "requested_by",
    "requested_at",
    "times_sent",
    "finished_at",
    "return_code",
    "result",
]
_NONE_PENDING = (
    "no terminal waits for adoption; set the address of `zk-pipeline receive` as the server in the menu of the terminal"
)
_EVENTS = ["occurred_at_local", "description", "code", "user_id", "detail", "received_at"]


def limit_options(command: Any) -> Any:
    """Add the options of `device update` for terminals that push."""
    for option in (
        click.option(
            "--push-timezone-form",
            type=click.Choice([*TIMEZONE_FORMS, AUTO]),
            help="Form of the TimeZone option that it is sent; auto: by its protocol family.",
        ),
        click.option(
            "--push-networks", metavar="CIDR[,CIDR]|none", help="Networks it may connect from, such as 192.0.2.0/24."
        ),
        click.option(
            "--push-secret",
            type=click.Choice(["new", NONE]),
            help="Require a new secret in the server address of the terminal, or none.",
        ),
    ):
        command = option(command)
    return command


@click.command("adopt")
@click.argument("serial")
@click.option("--name", required=True, help="Device: a new name, or that of the same terminal, polled before.")
@click.option("--timezone", help="IANA zone of its wall clock.  [default: ZK_PIPELINE_TIMEZONE]")
@click.option("--site", type=SITE, help="Devices of one site share users and attendance days.  [default: its name]")
@click.option("--secret", "with_secret", is_flag=True, help="Require a secret in its server address, shown only once.")
@as_json
def adopt(serial: str, *, name: str, timezone: str | None, site: str | None, with_secret: bool, as_json: bool) -> None:
    """Accept the uploads of the pending terminal SERIAL as those of a device. A registered device keeps its zone, site
    and polls.

    \b
    Example:  zk-pipeline device adopt CJ0V212560123 --name "Main Office" --timezone Europe/Istanbul
    """
    context = open_context()
    adopted = adopt_terminal(
        context.store,
        serial,
        name,
        timezone=timezone,
        default_timezone=context.settings.timezone,
        site=site,
        with_secret=with_secret,
        by=operator_name(),
    )
    if as_json:
        print_json(asdict(adopted.device) | {"secret": adopted.secret})
    else:
        _print_adoption(adopted)


def _print_adoption(adopted: Adoption) -> None:
    device = adopted.device
    quoted = shlex.quote(device.name)
    click.echo(f"adopted {adopted.serial_number} as {device.name}, site {device.site}, time zone {device.timezone}")
    if adopted.secret is not None:
        print_secret(adopted.secret)
    click.echo(
        "At its next connection the terminal gets the time of this zone and uploads its punches: its whole log, or "
        "what it has not uploaded yet if it was adopted before; those that are stored already are not stored twice."
    )
    if device.polled:
        click.echo(f"Polls continue; `zk-pipeline device update {quoted} --not-polled` ends them.")
    click.echo(f"`zk-pipeline device show {quoted}` shows its last contact.")


def print_secret(secret: str) -> None:
    """Print a path secret and where to type it."""
    click.echo(f"secret: {secret} (shown only now; connections without it are refused)")
    click.echo(f"Type it into the terminal after the address of the receiver: ADDRESS/{secret}")


@click.command("pending")
@wide_option
@as_json
def pending(as_json: bool) -> None:
    """List terminals that connected to the receiver and wait for adoption; nothing of their data is stored.

    \b
    Example:  zk-pipeline device pending
    """
    rows = [asdict(one) for one in pending_terminals(open_context().store)]
    print_rows(rows, _PENDING, as_json=as_json, none=_NONE_PENDING)


@click.command("command")
@click.argument("name", type=DEVICE)
@click.argument("kind", type=click.Choice(REQUESTED_KINDS))
@click.option("--start-date", "first", type=WORK_DATE, help="First date of `punches`, on the terminal's wall clock.")
@click.option("--end-date", "last", type=WORK_DATE, help="Last date of `punches`, included.")
@as_json
def command(name: str, *, kind: RequestedKind, first: date | None, last: date | None, as_json: bool) -> None:
    """Queue a command for the terminal NAME that pushes, which fetches it at its next contact. `info`: report its
    counters; `hello`: connect again, for its zone and clock; `upload`: send new records now; `users`, `punches`: send
    them again; `reboot`; `set-clock`. Terminals of family C (access control) have no `info`, `hello` and `upload`.

    \b
    Example:  zk-pipeline device command "Main Office" punches --start-date 2026-11-01 --end-date 2026-11-30
    """
    store = open_context().store
    device = store.devices.get(name)
    queued = request_command(store, device, kind, first=first, last=last, by=operator_name())
    if as_json:
        print_json(queued)
        return
    click.echo(f"queued command {queued.id} for {name}: {kind}")
    click.echo(f"`zk-pipeline device commands {shlex.quote(name)}` shows its result.")


@click.command("commands")
@click.argument("name", type=DEVICE)
@wide_option
@as_json
def commands(name: str, as_json: bool) -> None:
    """List the newest commands of the terminal NAME that pushes, with their results.

    \b
    Example:  zk-pipeline device commands "Main Office"
    """
    store = open_context().store
    rows = [asdict(one) for one in commands_of(store, store.devices.get(name))]
    print_rows(
        rows,
        _COMMANDS,
        as_json=as_json,
        none=f"no command was requested for {name}; request one with `zk-pipeline device command`",
    )


@click.command("events")
@click.argument("name", type=DEVICE)
@click.option("--start-date", "first", type=WORK_DATE, help="First date, on the terminal's wall clock.")
@click.option("--end-date", "last", type=WORK_DATE, help="Last date, included.")
@wide_option
@as_json
def events(name: str, *, first: date | None, last: date | None, as_json: bool) -> None:
    """List operations and access events that the terminal NAME reported, newest first: menu, clock settings, deletions,
    refused verifications, doors. At most 1000.

    \b
    Example:  zk-pipeline device events "Main Office" --start-date 2026-11-01
    """
    check_date_range(first, last, word=option_name)
    store = open_context().store
    found = store.push.events(store.devices.get(name).name, first, last, limit=MAX_EVENTS)
    rows = [asdict(one) for one in found]
    if not as_json:
        rows = [row | {"detail": row["detail"].replace("\t", ", ") or None} for row in rows]
    print_rows(rows, _EVENTS, as_json=as_json, none=f"no event of {name} is stored for these dates")


def push_facts(details: PushDetails) -> dict[str, object]:
    """State of a terminal that pushes, by name; its secret is never shown."""
    one = details.terminal
    return {
        "serial_number": one.serial_number,
        "family": one.family,
        "address": one.address,
        "first_seen_at": one.first_seen_at,
        "last_seen_at": one.last_seen_at,
        "adopted_at": one.adopted_at,
        "adopted_by": one.adopted_by,
        "hello_at": one.hello_at,
        "hello_offset_seconds": one.hello_offset_seconds,
        "push_version": one.push_version,
        "firmware_version": one.firmware_version,
        "user_count": one.user_count,
        "record_count": one.record_count,
        "info_at": one.info_at,
        "has_secret": one.secret_hash is not None,
        "networks": one.networks,
        "timezone_form": one.timezone_form,
        "stamps": {stamp.table_name: stamp.stamp for stamp in details.stamps},
        "open_commands": [asdict(listed_command(queued)) for queued in details.open_commands],
    }


def push_pairs(details: PushDetails) -> dict[str, object]:
    """The same as texts."""
    stamps = [f"{one.table_name} {one.stamp}" for one in details.stamps]
    queued = [f"{one.id} {one.kind} ({one.state})" for one in map(listed_command, details.open_commands)]
    return push_facts(details) | {"stamps": ", ".join(stamps) or None, "open_commands": ", ".join(queued) or None}
