"""`zk-pipeline test-device`: connection to terminals and their device information."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from zk_pipeline.cli.context import DEVICE, open_context
from zk_pipeline.cli.output import as_json, note, print_json, print_table, wide_option, without_device, working
from zk_pipeline.counted import counted
from zk_pipeline.devices.errors import TerminalError, check_polled
from zk_pipeline.devices.models import TerminalInfo
from zk_pipeline.devices.polling import PollOutcome, poll_many
from zk_pipeline.errors import UsageError, ZkPipelineError

_SHOWN = [
    "name", "ok", "serial_number", "firmware_version", "platform", "users", "records", "drift_seconds", "round_trip_ms",
    "transport", "error",
]  # fmt: skip


@click.command("test-device")
@click.argument("names", metavar="[NAME]...", nargs=-1, type=DEVICE)
@click.option("--all", "every", is_flag=True, help="All polled devices, including disabled ones.")
@wide_option
@as_json
def test_device(names: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Connect to terminals and print their device information. Default: all enabled devices
    that are polled.

    \b
    Example:  zk-pipeline test-device "Main Office"
    """
    if names and every:
        raise UsageError("give either names or --all")
    context = open_context()
    if names:
        chosen = context.store.devices.select(names)
        check_polled(chosen)
    else:
        chosen = [one for one in context.store.devices.all() if one.polled and (every or one.enabled)]
    if not chosen:
        raise ZkPipelineError("no device to test: add one with `zk-pipeline device add NAME IP`")
    note(f"connecting to {counted(len(chosen), 'device')} ...")
    with working("connecting"):
        outcomes = poll_many(chosen, context.terminals.probe, deadline_seconds=context.settings.poll_deadline)
    tested = {one.device.name: _row(one) for one in outcomes}
    rows = [tested[one.name] for one in chosen]
    if as_json:
        print_json(rows)
    else:
        shown = [row | {"error": without_device(row["error"], row["name"])} for row in rows]
        print_table(shown, _SHOWN, keep={"ok", "error"})
    return int(not all(row["ok"] for row in rows))


def _row(outcome: PollOutcome[TerminalInfo]) -> dict[str, Any]:
    name, info, error = outcome.device.name, outcome.reading, outcome.error
    if isinstance(error, ZkPipelineError):
        code = error.code if isinstance(error, TerminalError) else "misconfigured"
        return {"name": name, "ok": False, "error_code": code, "error": str(error)}
    if info is None:
        assert error is not None
        raise error
    return {
        "name": name,
        "ok": True,
        **asdict(info),
        "users": f"{info.user_count} of {info.user_capacity}",
        "records": f"{info.record_count} of {info.record_capacity}",
        "drift_seconds": info.clock_drift_seconds,
        "error": None,
    }
