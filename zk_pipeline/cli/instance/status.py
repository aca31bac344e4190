"""`zk-pipeline status`: devices, stale dates, delivery queue, dead letters, daemon and schedules."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from zk_pipeline.cli.context import open_context
from zk_pipeline.cli.output import as_json, cell, print_json, print_pairs, print_table, wide_option, without_device
from zk_pipeline.counted import counted
from zk_pipeline.defs.dagster_files import read_daemon_status
from zk_pipeline.defs.instance.daemon_status import DaemonStatus
from zk_pipeline.defs.names import Names
from zk_pipeline.operations.crm_pause import pause_message, paused_until
from zk_pipeline.operations.work_dates import last_work_date, work_rules
from zk_pipeline.store.queries.overview import DeviceStatus, StaleSites, StoreStatus
from zk_pipeline.store.store import utc_now

_DEVICES = [
    "name",
    "site",
    "address",
    "enabled",
    "last_success",
    "last_poll",
    "drift_seconds",
    "records",
    "fill",
    "error",
]
_FEW = 10


@click.command()
@wide_option
@as_json
def status(as_json: bool) -> int:
    """Devices, stale dates, delivery queue, daemon and schedules.

    Also dead letters, quarantined records and a pause that the CRM asked for.

    \b
    Example:  zk-pipeline status --json
    """
    context = open_context()
    now = utc_now()
    store = context.store.overview.status(
        work_rules(context.settings),
        first=context.settings.history_start,
        last=last_work_date(context.settings, now),
        now=now,
    )
    paused = paused_until(context.store, context.settings)
    dagster = _daemon_status(Names(context.settings.key_prefix), now)
    if as_json:
        print_json(asdict(store) | {"crm_paused_until": paused, "orchestration": asdict(dagster)})
        return 0
    if not store.devices:
        click.echo("no device is registered; add one with `zk-pipeline device add NAME IP`\n")
    else:
        print_table([_device_row(one) for one in store.devices], _DEVICES, keep={"last_success", "error"})
        click.echo()
    asked = {} if paused is None else {"pause of the CRM": pause_message(context.store, context.settings)}
    print_pairs(
        _summary(store, now) | asked | {"daemon": dagster.daemon_message(), "schedules and sensors": dagster.summary()}
    )
    return 0


def _daemon_status(names: Names, now: datetime) -> DaemonStatus:
    """From Dagster's files, or from Dagster itself where these are not the default ones."""
    found = read_daemon_status(Path(os.environ["DAGSTER_HOME"]), names, now)
    if found is not None:
        return found
    from zk_pipeline.defs.instance.daemon_health import daemon_status  # noqa: PLC0415 (Dagster, slow to import)
    from zk_pipeline.runs.instance import open_instance  # noqa: PLC0415

    with open_instance() as instance:
        return daemon_status(instance, names, now)


def _device_row(device: DeviceStatus) -> dict[str, Any]:
    fill = None if device.fill is None else f"{device.fill:.0%}"
    error = (
        without_device(device.last_error, device.name) if device.last_poll_status == "failed" else device.last_warnings
    )
    if device.keypad_locked_at is not None:
        locked = f"keypad locked since {cell(device.keypad_locked_at)}: it may accept no punches"
        error = (
            f"{locked}: `zk-pipeline test-device {shlex.quote(device.name)}` unlocks it{f'; {error}' if error else ''}"
        )
    return asdict(device) | {"fill": fill, "drift_seconds": device.clock_drift_seconds, "error": error}


def _summary(store: StoreStatus, now: datetime) -> dict[str, object]:
    queue = ", ".join(f"{count} {state}" for state, count in store.deliveries.items()) or "none"
    age = "" if store.oldest_due is None else f"; oldest due for {_age(now - store.oldest_due)}"
    return {
        "punches": store.punches,
        "days": store.days,
        "stale dates": _dates([_stale(one) for one in store.stale_sites]),
        **({"changed settings": _changed(store.stale_by_settings)} if store.stale_by_settings else {}),
        "dates without partition": _dates(store.unpartitioned),
        "quarantined records": store.quarantined,
        "punches with an implausible clock": store.clock_suspects,
        "deliveries": queue + age,
        "dead letters": store.failed,
    }


def _stale(one: StaleSites) -> str:
    return str(one.work_date) if one.sites is None else f"{one.work_date} ({', '.join(one.sites)})"


def _changed(dates: Sequence[date]) -> str:
    span = str(dates[0]) if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    return f"make {counted(len(dates), 'date')} stale, {span}: the next processing computes their days again"


def _dates(dates: list[Any]) -> str:
    if not dates:
        return "none"
    shown = ", ".join(str(day) for day in dates[:_FEW])
    return shown if len(dates) <= _FEW else f"{shown} and {len(dates) - _FEW} more"


def _age(delta: Any) -> str:
    minutes = int(delta.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
