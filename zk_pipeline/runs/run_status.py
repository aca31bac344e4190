"""Read-only status of Dagster runs and of the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.instance.daemon_health import DaemonStatus, daemon_status
from zk_pipeline.defs.instance.ownership import own_runs
from zk_pipeline.defs.names import Names
from zk_pipeline.runs.actions import ACTION_TAG
from zk_pipeline.runs.instance import open_instance
from zk_pipeline.runs.launcher import STARTED_BY_TAG


@dataclass(frozen=True)
class RunState:
    """State of one run. `status` is Dagster's run status, such as STARTED, SUCCESS or FAILURE; instants are UTC."""

    run_id: str
    job_name: str
    status: str
    started_by: str | None
    action: str | None  # id of the first run of its action
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True)
class RunReader:
    """Run and daemon queries against a Dagster instance."""

    instance: dg.DagsterInstance
    names: Names

    def run(self, run_id: str) -> RunState | None:
        """None if the run does not exist."""
        records = self.instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
        return _state(records[0]) if records else None

    def runs_of(self, action: str) -> list[RunState]:
        """The runs of one action, oldest first."""
        records = self.instance.get_run_records(dg.RunsFilter(tags={ACTION_TAG: action}), limit=500, ascending=True)
        return [_state(record) for record in records]

    def newest(self, limit: int) -> list[RunState]:
        """The latest runs of the pipeline, newest first."""
        own = own_runs(self.instance, self.names, dg.RunsFilter(), page_size=limit)
        return [_state(record) for record in islice(own, limit)]

    def daemon_status(self, now: datetime) -> DaemonStatus:
        return daemon_status(self.instance, self.names, now)


@contextmanager
def open_run_reader(settings: Settings) -> Iterator[RunReader]:
    """Reader on the instance of DAGSTER_HOME, see `open_instance`."""
    with open_instance() as instance:
        yield RunReader(instance, Names(settings.key_prefix))


def _state(record: dg.RunRecord) -> RunState:
    run = record.dagster_run
    return RunState(
        run_id=run.run_id,
        job_name=run.job_name,
        status=run.status.value,
        started_by=run.tags.get(STARTED_BY_TAG),
        action=run.tags.get(ACTION_TAG),
        started_at=_instant(record.start_time),
        finished_at=_instant(record.end_time),
    )


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
