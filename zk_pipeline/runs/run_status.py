"""Read-only status of Dagster runs and of the daemon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import dagster as dg

from zk_pipeline.config.settings import Settings
from zk_pipeline.defs.dagster_internals import BACKFILL_ID_TAG, SCHEDULE_NAME_TAG, SENSOR_NAME_TAG
from zk_pipeline.defs.instance.daemon_health import daemon_status
from zk_pipeline.defs.instance.daemon_status import DaemonStatus
from zk_pipeline.defs.instance.ownership import own_runs, owns_run
from zk_pipeline.defs.names import Names
from zk_pipeline.runs.actions import ACTION_TAG, REQUESTED_BY_TAG
from zk_pipeline.runs.instance import open_instance
from zk_pipeline.runs.launcher import STARTED_BY_TAG
from zk_pipeline.runs.run_list import API, BACKFILL, COMMAND, TRIGGERS, UI, RunFilter, RunPage, RunState
from zk_pipeline.runs.watchdog import daemon_liveness_problem

MAX_SEARCHED = 2_000  # runs that one page may read
_STATUS = dg.DagsterRunStatus
_STATUSES: Mapping[str, tuple[dg.DagsterRunStatus, ...]] = {
    "queued": (_STATUS.QUEUED, _STATUS.NOT_STARTED, _STATUS.MANAGED),
    "in_progress": (_STATUS.STARTING, _STATUS.STARTED, _STATUS.CANCELING),
    "done": (_STATUS.SUCCESS,),
    "failed": (_STATUS.FAILURE,),
    "canceled": (_STATUS.CANCELED,),
}
_STARTED_BY = {COMMAND: "zk-pipeline", API: "api"}


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

    def page(self, wanted: RunFilter, *, limit: int, cursor: str | None = None) -> RunPage:
        """Runs of the pipeline in `wanted`, newest first; `cursor`: after the run with this id.

        Reads at most MAX_SEARCHED runs: a backfill and the Dagster UI are no filters of Dagster's storage.
        """
        found: list[RunState] = []
        searched = 0
        runs_filter = _dagster_filter(wanted)
        while True:
            records = self.instance.get_run_records(runs_filter, limit=2 * limit, cursor=cursor)
            for record in records:
                cursor = record.dagster_run.run_id
                if not owns_run(record.dagster_run, self.names):
                    continue
                state = _state(record)
                if wanted.trigger in (None, state.trigger):
                    found.append(state)
                if len(found) == limit:
                    is_last = record is records[-1] and len(records) < 2 * limit
                    return RunPage(found, None if is_last else cursor, is_cut=False)
            searched += len(records)
            if len(records) < 2 * limit:
                return RunPage(found, None, is_cut=False)
            if searched >= MAX_SEARCHED:
                return RunPage(found, cursor, is_cut=True)

    def daemon_status(self, now: datetime) -> DaemonStatus:
        return daemon_status(self.instance, self.names, now)

    def liveness_problem(self, now: datetime) -> str | None:
        """Reason why the daemon or the alert sensor does not work; None if both do."""
        return daemon_liveness_problem(self.instance, self.names, now)


@contextmanager
def open_run_reader(settings: Settings) -> Iterator[RunReader]:
    """Reader on the instance of DAGSTER_HOME, see `open_instance`."""
    with open_instance() as instance:
        yield RunReader(instance, Names(settings.key_prefix))


def _dagster_filter(wanted: RunFilter) -> dg.RunsFilter:
    """The part of the filter that Dagster's storage applies."""
    tags: dict[str, str] = {}
    if wanted.trigger in _STARTED_BY:
        tags = {STARTED_BY_TAG: _STARTED_BY[wanted.trigger]}
    elif wanted.trigger is not None and wanted.trigger not in TRIGGERS:
        tags = {SENSOR_NAME_TAG if wanted.trigger.endswith("sensor") else SCHEDULE_NAME_TAG: wanted.trigger}
    return dg.RunsFilter(
        job_name=wanted.job,
        statuses=list(_STATUSES[wanted.state]) if wanted.state else None,
        tags=tags or None,
        created_after=wanted.since,
        created_before=wanted.until,
    )


def _trigger(tags: Mapping[str, str]) -> str:
    """Name of the schedule or sensor that requested a run with these tags, or one of TRIGGERS."""
    if BACKFILL_ID_TAG in tags:
        return BACKFILL
    by = {started_by: trigger for trigger, started_by in _STARTED_BY.items()}.get(tags.get(STARTED_BY_TAG, ""))
    return by or tags.get(SCHEDULE_NAME_TAG) or tags.get(SENSOR_NAME_TAG) or UI


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
        trigger=_trigger(run.tags),
        backfill=run.tags.get(BACKFILL_ID_TAG),
        created_at=record.create_timestamp,
        requested_by=run.tags.get(REQUESTED_BY_TAG),
    )


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=UTC)
