"""Daemon heartbeats, and which schedules and sensors are running, as Dagster reports them."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from zk_pipeline.defs.instance.daemon_status import DaemonStatus
from zk_pipeline.defs.instance.ownership import own_instigators, own_runs
from zk_pipeline.defs.instance.runs_in_progress import UNFINISHED_RUN_STATUSES
from zk_pipeline.defs.names import Names


def daemon_status(instance: dg.DagsterInstance, names: Names, now: datetime) -> DaemonStatus:
    """Heartbeats of the instance, and the pipeline's own schedules, sensors and runs."""
    required = set(instance.get_required_daemon_types())  # without daemons that only earlier settings required
    heartbeats = {
        kind: (now - datetime.fromtimestamp(heartbeat.timestamp, tz=UTC)).total_seconds()
        for kind, heartbeat in instance.get_daemon_heartbeats().items()
        if kind in required
    }
    states = list(own_instigators(instance, names))
    running = sorted(state.instigator_name for state in states if state.is_running)
    stopped = sorted(state.instigator_name for state in states if not state.is_running)
    unfinished = own_runs(instance, names, dg.RunsFilter(statuses=UNFINISHED_RUN_STATUSES))
    return DaemonStatus(heartbeats, running, stopped, sum(1 for _ in unfinished))
