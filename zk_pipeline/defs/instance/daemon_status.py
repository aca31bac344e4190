"""Status of Dagster's daemon, schedules, sensors and runs, for reports. Imports no Dagster."""

from __future__ import annotations

from dataclasses import dataclass

from zk_pipeline.counted import counted

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
