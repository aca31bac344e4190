"""Retention of runs, which Dagster never deletes. The retention of ticks is configured in `dagster.yaml`.

Deleting a run deletes its events, and a partition without its latest materialization shows as never materialized. So a
run is kept while it has the latest materialization, or the latest planned one, of any partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from zk_pipeline.defs.instance.ownership import ASSET_JOB, own_runs
from zk_pipeline.defs.names import Names

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_MATERIALIZED, _PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_BATCH_SIZE = 500


@dataclass(frozen=True)
class OldRuns:
    """`removable`: ids of finished runs to delete, oldest first. `kept`: number of runs as old that have the latest
    events of a partition.
    """

    removable: list[str]
    kept: int


def find_old_runs(instance: dg.DagsterInstance, names: Names, *, before: datetime, limit: int) -> OldRuns:
    """The pipeline's own runs that finished before the aware instant `before`; at most `limit` removable ones."""
    latest = set(_latest_per_partition(instance, names))
    removable: list[str] = []
    kept = 0
    for run_id in _ended(instance, names, before):
        if run_id in latest:
            kept += 1
        elif len(removable) < limit:
            removable.append(run_id)
    return OldRuns(removable, kept)


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs with their events and the files of Dagster's SQLite storage."""
    for run_id in run_ids:
        instance.delete_run(run_id)
        for file in _run_files(instance, run_id):
            file.unlink(missing_ok=True)


def _ended(instance: dg.DagsterInstance, names: Names, before: datetime) -> Iterator[str]:
    for job in (*names.jobs, ASSET_JOB):
        runs_filter = dg.RunsFilter(job_name=job, statuses=_ENDED, updated_before=before)
        for record in own_runs(instance, names, runs_filter, ascending=True, page_size=_BATCH_SIZE):
            yield record.dagster_run.run_id


def _latest_per_partition(instance: dg.DagsterInstance, names: Names) -> Iterator[str]:
    """Ids of the runs whose events determine the state of partitions and assets in the UI."""
    storage = instance.event_log_storage
    for key in names.assets:
        for kind in (_MATERIALIZED, _PLANNED):
            newest = sorted(storage.get_latest_storage_id_by_partition(key, kind).values())
            for start in range(0, len(newest), _BATCH_SIZE):
                batch = newest[start : start + _BATCH_SIZE]
                records_filter = dg.EventRecordsFilter(event_type=kind, asset_key=key, storage_ids=batch)
                yield from (record.run_id for record in storage.get_event_records(records_filter))
        yield from (record.run_id for record in instance.fetch_materializations(key, limit=1).records)
        yield from (record.run_id for record in instance.fetch_observations(key, limit=1).records)


def _run_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    storage: Any = instance.event_log_storage
    with suppress(AttributeError):  # PostgreSQL or MySQL: no files
        shard = Path(storage.path_for_shard(run_id))
        return [shard, *(shard.with_name(shard.name + ending) for ending in ("-wal", "-shm", "-journal"))]
    return []
