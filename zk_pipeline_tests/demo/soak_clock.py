"""A daemon whose schedules live in a faster clock: a day of their ticks in minutes, and everything else as shipped.

Dagster's scheduler asks two functions of its module for the time; those alone are exchanged, in the process that the
daemon is forked from, by a `sitecustomize` on PYTHONPATH. Sensors, queue, monitoring, retries, runs, store and
terminals know true time only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from zk_pipeline.store.store import utc_now

_SITE = """
import os, sys
if "zk_pipeline.server.dagster_processes" in sys.orig_argv:
    import time
    from datetime import datetime, timezone
    import dagster._daemon.controller  # first: the modules import each other
    import dagster._scheduler.scheduler as scheduler

    begin, anchor, speed = (float(part) for part in os.environ["FAST_SCHEDULES"].split())
    true, launch = scheduler.get_current_timestamp, scheduler.launch_scheduled_runs

    def now():
        return begin + (true() - anchor) * speed

    def launch_and_rest(*arguments, **named):
        yield from launch(*arguments, **named)
        time.sleep(0.25)

    assert scheduler.get_current_datetime and scheduler._get_next_scheduler_iteration_time
    scheduler.get_current_timestamp = now
    scheduler.get_current_datetime = lambda: datetime.fromtimestamp(now(), timezone.utc)
    scheduler.launch_scheduled_runs = launch_and_rest
    scheduler._get_next_scheduler_iteration_time = lambda started: started
"""


@dataclass(frozen=True)
class FastClock:
    """Runs `speed` times as fast from `anchor` (true time) on, when it showed `begin`."""

    begin: datetime
    anchor: datetime
    speed: float

    def __call__(self) -> datetime:
        return self.begin + (utc_now() - self.anchor) * self.speed

    @property
    def elapsed(self) -> timedelta:
        return self() - self.begin

    def environ(self, folder: Path) -> Mapping[str, str]:
        """For `up`: what puts its daemon's schedules into this clock."""
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_SITE)
        values = f"{self.begin.timestamp()} {self.anchor.timestamp()} {self.speed}"
        return {"PYTHONPATH": str(folder), "FAST_SCHEDULES": values}
