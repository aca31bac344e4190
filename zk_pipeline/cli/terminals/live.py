"""`zk-pipeline live`: live capture, for punches that must be stored within seconds instead of at the next poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.devices.errors import check_polled
from zk_pipeline.errors import UsageError
from zk_pipeline.runtime.processes import stop_event

if TYPE_CHECKING:
    from zk_pipeline.operations.live_capture import StoredPunches


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, type=DEVICE)
def live(names: tuple[str, ...]) -> int:
    """Store punches as the terminals report them. Default: the devices that are set to `--live`.

    Runs until interrupted, releases a terminal for polls and reconnects after a lost connection. Changes of the
    registry take effect within seconds: added, removed, enabled, disabled or changed devices. Polls continue and
    close any gap.

    \b
    Example:  zk-pipeline live "Main Office"
    """
    from zk_pipeline.operations.live_capture import capture_live  # noqa: PLC0415 (pandas, slow to import)

    context = open_context()
    registry = context.store.devices
    devices = registry.select(names) if names else [one for one in registry.all() if one.is_polled and one.live]
    check_polled(devices)
    if not devices:
        raise UsageError("no device is set to live: give a name, or run `zk-pipeline device update NAME --live`")
    with stop_event() as stopped:
        click.echo(f"listening to {', '.join(one.name for one in devices)}; Ctrl-C ends it", err=True)
        capture_live(
            context.store,
            context.terminals,
            devices if names else None,
            stop=stopped,
            on_stored=_print,
            say=lambda message: click.echo(message, err=True),
        )
    return 0


def _print(stored: StoredPunches) -> None:
    click.echo(f"{stored.device}: {stored.received} received, {stored.new} new")
