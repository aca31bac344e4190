"""Retention of check evaluations, which Dagster never deletes, not even with their runs. The latest of each is kept."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

import dagster as dg

from zk_pipeline.defs.dagster_internals import (
    RUNLESS_RUN_ID,
    AssetCheckExecutionRecordStatus,
    AssetCheckExecutionsTable,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    db_select,
)
from zk_pipeline.defs.names import Names

CHECKS_PER_CLEANUP = 50_000  # a few weeks' worth; the next clean-up continues
# Beginning of the partition of our evaluations. The UI shows an evaluation until the next materialization of its asset,
# one of a partition until the next materialization of that partition. The results do not depend on a materialization,
# so they have a partition that is never materialized, and the UI shows the latest until the next one. No device can
# have such a name.
WHOLE_ASSET = "n/a"
_BATCH_SIZE = 500  # rows per transaction, which locks Dagster's SQLite file
Connect = Callable[[], AbstractContextManager[Any]]


def delete_old_checks(
    instance: dg.DagsterInstance,
    names: Names,
    *,
    before: datetime,
    limit: int = CHECKS_PER_CLEANUP,
    dry_run: bool = False,
) -> int:
    """Delete evaluations of the pipeline's checks before the aware instant `before` except the latest of each check; at
    most `limit`. Returns their number. Deletes superseded freshness events, observations of work dates and
    materializations of pushed punches of that time as well.

    Dagster has no API for this, so this deletes rows of its tables through its connections; no-op if the event log is
    not an SQL database.
    """
    storage: Any = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    old = before.astimezone(UTC).replace(tzinfo=None)  # the format of Dagster's timestamp columns
    index: Connect = storage.index_connection
    superseded = _find(index, _superseded_evaluations(names, old).limit(limit))
    if dry_run:
        return len(superseded)
    _delete(index, AssetCheckExecutionsTable, superseded)
    # Dagster's SQLite storage has these events twice: in the index file and in the file of runless events.
    for connect in (index, lambda: storage.run_connection(RUNLESS_RUN_ID)):
        for query in (
            _old_evaluation_events(names, old),
            # The UI shows the latest only; the latest observation makes an older materialization stale.
            _superseded_events(dg.DagsterEventType.FRESHNESS_STATE_CHANGE, _columns(names), old),
            _superseded_events(dg.DagsterEventType.ASSET_OBSERVATION, [names.work_dates.to_string()], old),
            _superseded_events(dg.DagsterEventType.ASSET_MATERIALIZATION, _pushed(names), old),
        ):
            _delete(connect, SqlEventLogStorageTable, _find(connect, query.limit(limit)))
    return len(superseded)


def _superseded_evaluations(names: Names, old: datetime) -> Any:
    """Old rows with a newer evaluation, and old planned evaluations that never ran."""
    row, newer = AssetCheckExecutionsTable.c, AssetCheckExecutionsTable.alias().c

    def is_of_the_asset(of: Any) -> Any:
        return of.partition.is_(None) | of.partition.startswith(WHOLE_ASSET)

    planned = AssetCheckExecutionRecordStatus.PLANNED.value
    has_newer = (
        db_select([newer.id])
        .where(newer.asset_key == row.asset_key)
        .where(newer.check_name == row.check_name)
        .where((newer.partition == row.partition) | (is_of_the_asset(newer) & is_of_the_asset(row)))
        .where(newer.execution_status != planned)
        .where(newer.id > row.id)
        .exists()
    )
    query = db_select([row.id]).where(row.evaluation_event_timestamp < old).where(row.asset_key.in_(_columns(names)))
    return query.where((row.execution_status == planned) | has_newer).order_by(row.id)


def _old_evaluation_events(names: Names, old: datetime) -> Any:
    """The evaluations table has the same content, and the UI reads that table. Dagster leaves the column of the asset
    key empty in these rows, so it is found in the text of the event.
    """
    texts = [f'"asset_key": {dg.serialize_value(key)}' for key in names.assets]
    query = _runless_events(dg.DagsterEventType.ASSET_CHECK_EVALUATION, old)
    contained = [SqlEventLogStorageTable.c.event.contains(text, autoescape=True) for text in texts]
    return query.where(reduce(or_, contained))


def _superseded_events(kind: dg.DagsterEventType, assets: list[str], old: datetime) -> Any:
    """Old events with a newer one of the same asset and partition."""
    event, newer = SqlEventLogStorageTable.c, SqlEventLogStorageTable.alias().c
    has_newer = (
        db_select([newer.id])
        .where(newer.asset_key == event.asset_key)
        .where(newer.dagster_event_type == event.dagster_event_type)
        .where(newer.partition.is_not_distinct_from(event.partition))
        .where(newer.id > event.id)
        .exists()
    )
    return _runless_events(kind, old).where(event.asset_key.in_(assets) & has_newer)


def _runless_events(kind: dg.DagsterEventType, old: datetime) -> Any:
    event = SqlEventLogStorageTable.c
    query = db_select([event.id]).where(event.run_id == RUNLESS_RUN_ID).where(event.dagster_event_type == kind.value)
    return query.where(event.timestamp < old).order_by(event.id)


def _columns(names: Names) -> list[str]:
    """Asset keys as in the columns of Dagster's tables."""
    return [key.to_string() for key in names.assets]


def _pushed(names: Names) -> list[str]:
    """Assets that `pushed_punches_sensor` materializes."""
    return [names.asset(name).to_string() for name in ("devices", "raw_punches")]


def _find(connect: Connect, query: Any) -> list[int]:
    with connect() as connection:
        return [id_ for (id_,) in connection.execute(query).fetchall()]


def _delete(connect: Connect, table: Any, ids: list[int]) -> None:
    for start in range(0, len(ids), _BATCH_SIZE):
        with connect() as connection:
            connection.execute(table.delete().where(table.c.id.in_(ids[start : start + _BATCH_SIZE])))
