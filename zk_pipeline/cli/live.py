"""`zk-pipeline live`: punches into the store as they happen, where a poll every quarter of an hour is too late."""

from __future__ import annotations

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.errors import UsageError
from zk_pipeline.operations.live_capture import StoredPunches, capture_live
from zk_pipeline.runtime.processes import stop_event


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
def live(names: tuple[str, ...]) -> int:
    """Store punches as they happen. Without a NAME: the terminals that are set to `--live`.

    It listens until interrupted, gives way to polls, and listens again to a terminal that was lost. It follows the
    registry: terminals that are added, removed, enabled, disabled or changed are noticed within seconds. Polls go on as
    usual and close any gap.

    \b
    Example:  zk-pipeline live "Main Office"
    """
    session = open_context()
    registry = session.store.devices
    devices = registry.select(names) if names else [one for one in registry.all() if one.enabled and one.live]
    if not devices:
        raise UsageError("no device is set to live: name one, or set it with `zk-pipeline device update NAME --live`")
    with stop_event() as stopped:
        click.echo(f"listening to {', '.join(one.name for one in devices)}; Ctrl-C ends it", err=True)
        capture_live(
            session.store,
            session.terminals,
            devices if names else None,
            stop=stopped,
            on_stored=_tell,
            say=lambda words: click.echo(words, err=True),
        )
    return 0


def _tell(stored: StoredPunches) -> None:
    click.echo(f"{stored.device}: {stored.received} received, {stored.new} new")
