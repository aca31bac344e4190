"""Whether anything is scheduled any more, as seen from outside the daemon: what `zk-pipeline watchdog` asks."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg

from zk_pipeline.defs.automation.alert_sensors import ALERT_SENSOR
from zk_pipeline.defs.instance.daemon_health import daemon_status

_SILENT = timedelta(minutes=10)


def daemon_liveness_problem(instance: dg.DagsterInstance, now: datetime) -> str | None:
    """What is wrong with the daemon, or with its telling people so; None where all beats."""
    found = daemon_status(instance, now)
    if not found.is_daemon_alive:
        return f"The daemon is {found.daemon_words()}."
    for state in instance.all_instigator_state():
        if state.instigator_name != ALERT_SENSOR:
            continue
        if not state.is_running:
            return f"{ALERT_SENSOR} is stopped: nobody is told of anything. Start it in the UI under Automation."
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        last = datetime.fromtimestamp(ticks[0].timestamp, tz=timezone.utc) if ticks else None
        if last is not None and now - last > _SILENT:
            return f"The daemon beats, but {ALERT_SENSOR} has not looked since {last:%Y-%m-%d %H:%M} UTC."
        return None
    return None
