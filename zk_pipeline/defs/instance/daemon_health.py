"""Whether Dagster itself is alive: daemon heartbeats compared by us, and which schedules and sensors are running."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

import dagster as dg

from zk_pipeline.defs.instance.runs_in_progress import UNDER_WAY

# Daemons beat every 30 s; Dagster itself calls them healthy for half an hour after they died.
FRESH_SECONDS = 120


@dataclass(frozen=True)
class DaemonStatus:
    """`heartbeats`: seconds since each daemon's last one. `running` and `stopped`: schedules and sensors the daemon
    knows.
    """

    heartbeats: dict[str, float]
    running: list[str]
    stopped: list[str]
    runs_in_flight: int

    @property
    def is_daemon_alive(self) -> bool:
        return bool(self.heartbeats) and max(self.heartbeats.values()) < FRESH_SECONDS

    def daemon_words(self) -> str:
        if not self.heartbeats:
            return "never seen; start it with `zk-pipeline up`"
        late = max(self.heartbeats.values())
        return (
            "alive" if self.is_daemon_alive else f"no heartbeat for {late / 60:.0f} min; start it with `zk-pipeline up`"
        )

    def words(self) -> str:
        stopped = f"; stopped: {', '.join(self.stopped)}" if self.stopped else ""
        return f"{len(self.running)} running{stopped}; {self.runs_in_flight} runs in flight"


def daemon_status(instance: dg.DagsterInstance, now: datetime) -> DaemonStatus:
    required = set(
        instance.get_required_daemon_types()
    )  # others have beaten under other settings, and never will again
    heartbeats = {
        kind: (now - datetime.fromtimestamp(beat.timestamp, tz=timezone.utc)).total_seconds()
        for kind, beat in instance.get_daemon_heartbeats().items()
        if kind in required
    }
    states = instance.all_instigator_state()
    running = sorted(state.instigator_name for state in states if state.is_running)
    stopped = sorted(state.instigator_name for state in states if not state.is_running)
    return DaemonStatus(heartbeats, running, stopped, instance.get_runs_count(dg.RunsFilter(statuses=UNDER_WAY)))
