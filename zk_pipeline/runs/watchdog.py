"""Liveness check of the Dagster daemon and the alert sensor, from outside the daemon (`zk-pipeline watchdog`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from zk_pipeline.defs.instance.daemon_health import daemon_status
from zk_pipeline.defs.instance.ownership import own_instigators
from zk_pipeline.defs.names import Names
from zk_pipeline.time_text import instant

_MAX_TICK_AGE = timedelta(minutes=10)


def daemon_liveness_problem(instance: dg.DagsterInstance, names: Names, now: datetime) -> str | None:
    """Reason why the daemon or `alert_sensor` does not work; None if both do."""
    status = daemon_status(instance, names, now)
    if not status.is_daemon_alive:
        return f"The Dagster daemon has had {status.daemon_message()}."
    for state in own_instigators(instance, names):
        if state.instigator_name != names.alert_sensor:
            continue
        if not state.is_running:
            return f"{names.alert_sensor} is stopped: no alerts are sent. Start it in the UI under Automation."
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        last = datetime.fromtimestamp(ticks[0].timestamp, tz=UTC) if ticks else None
        if last is not None and now - last > _MAX_TICK_AGE:
            return f"The daemon is alive, but {names.alert_sensor} has had no tick since {instant(last)}."
        return None
    return None
