"""Records of old runs, which Dagster keeps for ever: what may go, and letting it go. Ticks are pruned by dagster.yaml.

Deleting a run deletes its events, and a partition whose newest materialization goes with them looks as if it had never
been made. So a run stays while it is the newest to have made, or to have tried, any partition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_MADE, _TRIED = dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
_AT_ONCE = 500


@dataclass(frozen=True)
class OldRuns:
    """`removable`: ids of ended runs that may go, oldest first. `kept`: how many as old stay, being the newest of
    something.
    """

    removable: list[str]
    kept: int


def find_old_runs(instance: dg.DagsterInstance, *, before: datetime, limit: int) -> OldRuns:
    """Runs that ended before the aware instant `before`; at most `limit` that may go."""
    needed = set(_newest_of_everything(instance))
    removable: list[str] = []
    kept = 0
    for run_id in _ended(instance, before):
        if run_id in needed:
            kept += 1
        elif len(removable) < limit:
            removable.append(run_id)
    return OldRuns(removable, kept)


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs with all their events, and with the file that Dagster's SQLite storage has for each."""
    for run_id in run_ids:
        instance.delete_run(run_id)
        for file in _files_of(instance, run_id):
            file.unlink(missing_ok=True)


def _ended(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    asked = dg.RunsFilter(statuses=_ENDED, updated_before=before)
    cursor: str | None = None
    while True:
        found = instance.get_run_records(asked, limit=_AT_ONCE, ascending=True, cursor=cursor)
        yield from (record.dagster_run.run_id for record in found)
        if len(found) < _AT_ONCE:
            return
        cursor = found[-1].dagster_run.run_id


def _newest_of_everything(instance: dg.DagsterInstance) -> Iterator[str]:
    """Ids of the runs that the UI's colours and times come from."""
    storage = instance.event_log_storage
    for key in instance.all_asset_keys():
        for kind in (_MADE, _TRIED):
            newest = sorted(storage.get_latest_storage_id_by_partition(key, kind).values())
            for start in range(0, len(newest), _AT_ONCE):
                part = newest[start : start + _AT_ONCE]
                asked = dg.EventRecordsFilter(event_type=kind, asset_key=key, storage_ids=part)
                yield from (record.run_id for record in storage.get_event_records(asked))
        yield from (record.run_id for record in instance.fetch_materializations(key, limit=1).records)
        yield from (record.run_id for record in instance.fetch_observations(key, limit=1).records)


def _files_of(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    storage: Any = instance.event_log_storage
    with suppress(AttributeError):  # PostgreSQL or MySQL: no files
        shard = Path(storage.path_for_shard(run_id))
        return [shard, *(shard.with_name(shard.name + ending) for ending in ("-wal", "-shm", "-journal"))]
    return []
