"""Daemon heartbeats, and which schedules and sensors are running."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg

from zk_pipeline.counted import counted
from zk_pipeline.defs.instance.ownership import own_instigators, own_runs
from zk_pipeline.defs.instance.runs_in_progress import UNFINISHED_RUN_STATUSES
from zk_pipeline.defs.names import Names

# Daemons write a heartbeat every 30 s; Dagster itself tolerates half an hour without one.
HEARTBEAT_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class DaemonStatus:
    """`heartbeats`: seconds since the last heartbeat, per daemon type. `running`, `stopped`: schedules and sensors."""

    heartbeats: dict[str, float]
    running: list[str]
    stopped: list[str]
    runs_in_progress: int

    @property
    def is_daemon_alive(self) -> bool:
        return bool(self.heartbeats) and max(self.heartbeats.values()) < HEARTBEAT_TIMEOUT_SECONDS

    def daemon_message(self) -> str:
        """`alive`, or since when there is no heartbeat and the remedy."""
        if self.is_daemon_alive:
            return "alive"
        since = f"for {max(self.heartbeats.values()) / 60:.0f} min" if self.heartbeats else "yet"
        return f"no heartbeat {since}; start it with `zk-pipeline up`"

    def summary(self) -> str:
        """Schedules, sensors and runs in one line."""
        stopped = f"; stopped: {', '.join(self.stopped)}" if self.stopped else ""
        return f"{len(self.running)} running{stopped}; {counted(self.runs_in_progress, 'run')} in progress"


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
