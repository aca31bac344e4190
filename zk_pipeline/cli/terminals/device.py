"""`zk-pipeline device …`: the registry of terminals; the group of all actions on one terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import click

from zk_pipeline.cli.context import DEVICE, SITE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_pairs, print_rows, wide_option
from zk_pipeline.cli.terminals.device_actions import clear_log, set_clock, users
from zk_pipeline.cli.terminals.device_clock import correct_clock
from zk_pipeline.cli.terminals.device_push import (
    adopt,
    command,
    commands,
    events,
    limit_options,
    pending,
    print_secret,
    push_facts,
    push_pairs,
)
from zk_pipeline.config.settings import Settings
from zk_pipeline.devices.addresses import DIRECTIONS, NO_DIRECTION, check_fields, check_name
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.networks import check_host_in_networks
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.files.device_file import read_device_file
from zk_pipeline.operations.pushing_terminals import change_limits, check_address_to_poll

_SHOWN = [
    "name",
    "ip_address",
    "port",
    "protocol",
    "timezone",
    "site",
    "direction",
    "enabled",
    "connection",
    "serial_number",
    "last_contact",
]
PENDING_AGAIN = "its terminal is pending again, without path secret and networks: `zk-pipeline device pending` lists it"


@click.group()
def device() -> None:
    """Register terminals and maintain them."""


def _options(*, defaults: bool) -> Callable[[Any], Any]:
    """Add the options that `add` and `update` share, with or without their defaults; None means not given."""

    def default(text: str) -> str:
        return f"  [default: {text}]" if defaults else ""

    options = [
        click.option("--port", type=int, help=f"TCP and UDP port.{default('4370')}"),
        click.option("--protocol", type=click.Choice(["auto", "tcp", "udp"]), help=f"Transport.{default('auto')}"),
        click.option("--timezone", help=f"IANA zone of its wall clock.{default('ZK_PIPELINE_TIMEZONE')}"),
        click.option(
            "--site", type=SITE, help=f"Devices of one site share users and attendance days.{default('its name')}"
        ),
        click.option("--comm-key-env", help="Name of the environment variable with its comm key."),
        click.option("--encoding", help=f"Character encoding of its user names.{default('UTF-8')}"),
        click.option(
            "--trust-punch-states/--no-trust-punch-states",
            default=None,
            help=f"Compute minutes worked from its in, out and break states.{default('no')}",
        ),
        click.option(
            "--direction",
            type=click.Choice([*DIRECTIONS, NO_DIRECTION]),
            help=f"Count every punch as in (entry gate) or out (exit gate).{default(NO_DIRECTION)}",
        ),
        click.option("--live/--no-live", default=None, help=f"Include it in `zk-pipeline live`.{default('no')}"),
    ]

    def add_options(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add_options


@device.command("add")
@click.argument("name")
@click.argument("ip_address", metavar="IP")
@_options(defaults=True)
@click.option("--disabled", is_flag=True, help="Register it without polling it.")
def add(name: str, ip_address: str, disabled: bool, **options: Any) -> None:
    """Register the terminal NAME at IP (address or host name).

    \b
    Example:  zk-pipeline device add "Main Office" 192.0.2.10 --timezone Europe/Istanbul --site headquarters
    """
    context = open_context()
    values = {"timezone": context.settings.timezone} | check_fields({"ip_address": ip_address} | options)
    check_host_in_networks(values["ip_address"], context.settings.device_networks)
    added = context.store.devices.add(Device(name=check_name(name), enabled=not disabled, **values))
    click.echo(f"added {added.name} at {added.ip_address}:{added.port}")
    note(f"test it:  zk-pipeline test-device {added.name!r}")


@device.command("list")
@wide_option
@as_json
def list_(as_json: bool) -> None:
    """List all registered devices.

    \b
    Example:  zk-pipeline device list --json
    """
    devices = [asdict(one) | {"connection": one.connection} for one in open_context().store.devices.all()]
    none = "no device is registered; add one with `zk-pipeline device add NAME IP`"
    print_rows(devices, _SHOWN, as_json=as_json, none=none)


@device.command("show")
@click.argument("name", type=DEVICE)
@as_json
def show(name: str, as_json: bool) -> None:
    """Show the registration of NAME, and for a terminal that pushes its state, stamps and open commands.

    \b
    Example:  zk-pipeline device show "Main Office"
    """
    store = open_context().store
    one = store.devices.get(name)
    pushing = store.push.details(one.name, one.timezone)
    facts = asdict(one) | {"connection": one.connection}
    if as_json:
        print_json(facts | {"push": None if pushing is None else push_facts(pushing)})
        return
    print_pairs(facts)
    if pushing is not None:
        click.echo()
        print_pairs(push_pairs(pushing))


@device.command("update")
@click.argument("name", type=DEVICE)
@click.option("--ip", "ip_address", help="IP address or host name.")
@click.option(
    "--accept-new-serial", is_flag=True, help="Accept the serial number of a replacement terminal at the next contact."
)
@_options(defaults=False)
@click.option("--polled/--not-polled", default=None, help="Poll it at its address (with --ip if it only pushed).")
@limit_options
def update(
    name: str,
    *,
    accept_new_serial: bool,
    push_secret: Literal["new", "none"] | None,
    push_networks: str | None,
    push_timezone_form: str | None,
    **options: Any,
) -> None:
    """Change the registration of NAME; omitted options keep their values.

    The options --push-… are for terminals that push. Another site, zone or direction makes the work dates of its
    punches stale; the next processing computes them again.

    \b
    Example:  zk-pipeline device update "Main Office" --ip 192.0.2.11 --site headquarters
    """
    changes = check_fields(options)
    limits = {"secret": push_secret, "networks": push_networks, "timezone_form": push_timezone_form}
    if not changes and not accept_new_serial and not any(limits.values()):
        raise UsageError("nothing to change: name at least one option, such as --ip")
    context = open_context()
    store = context.store
    before = store.devices.get(name)
    check_host_in_networks(changes.get("ip_address"), context.settings.device_networks)
    check_address_to_poll(before, changes, option="--ip")
    secret = change_limits(store, name, secret=push_secret, networks=push_networks, timezone_form=push_timezone_form)
    if changes:
        store.devices.update(name, **changes)
    if accept_new_serial:
        store.devices.forget_serial(name)
    click.echo(f"updated {name}")
    if secret is not None:
        print_secret(secret)
    if accept_new_serial and before.pushes:
        click.echo(PENDING_AGAIN)
    if before.pushes and changes.get("timezone", before.timezone) != before.timezone:
        click.echo(
            f"All recorded times of {name} count in the new zone now. Its clock followed {before.timezone} since its "
            "adoption: `zk-pipeline device correct-clock` declares the difference for these punches (Clocks in "
            "docs/terminals-that-push.md)."
        )


@device.command("enable")
@click.argument("name", type=DEVICE)
def enable(name: str) -> None:
    """Include NAME in polls, and accept its uploads.

    \b
    Example:  zk-pipeline device enable "Main Office"
    """
    open_context().store.devices.update(name, enabled=True)
    click.echo(f"enabled {name}")


@device.command("disable")
@click.argument("name", type=DEVICE)
def disable(name: str) -> None:
    """Exclude NAME from polls, and refuse its uploads; its punches, polls and days are kept.

    \b
    Example:  zk-pipeline device disable "Main Office"
    """
    open_context().store.devices.update(name, enabled=False)
    click.echo(f"disabled {name}")


@device.command("remove")
@click.argument("name", type=DEVICE)
def remove(name: str) -> None:
    """Remove NAME from the registry; its punches, polls and days are kept.

    \b
    Example:  zk-pipeline device remove "Main Office"
    """
    devices = open_context().store.devices
    before = devices.get(name)
    devices.remove(name)
    click.echo(f"removed {name}; its history is kept")
    if before.pushes:
        click.echo(PENDING_AGAIN)
    if before.keypad_locked_at is not None:
        note(f"the keypad of {name} may still be locked: restart the terminal if it is still in use")


@device.command("apply")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@as_json
def apply(file: Path, as_json: bool) -> None:
    """Register and update devices from a YAML file; devices that it does not name are not changed. Idempotent.

    \b
    devices:
      - name: Main Office
        ip: 192.0.2.10
        timezone: Europe/Istanbul
        site: headquarters

    \b
    Example:  zk-pipeline device apply devices.yaml
    """
    context = open_context()
    declared = [replace(one, timezone=one.timezone or context.settings.timezone) for one in read_device_file(file)]
    _check_networks(file, declared, context.settings)
    applied = context.store.devices.apply(declared)
    if as_json:
        print_json(applied)
        return
    for what, names in asdict(applied).items():
        click.echo(f"{what}: {', '.join(names) or '–'}")


def _check_networks(file: Path, declared: Sequence[Device], settings: Settings) -> None:
    for one in declared:
        try:
            check_host_in_networks(one.ip_address, settings.device_networks)
        except UsageError as error:
            raise UsageError(f"{file}: device {one.name!r}: {error}") from None


for _action in (set_clock, correct_clock, users, clear_log, adopt, pending, command, commands, events):
    device.add_command(_action)
