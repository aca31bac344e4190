"""What checks said long ago: Dagster keeps it for ever, also of runs that are deleted. The newest of each stays."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timezone
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

CHECKS_PER_CLEANUP = 50_000  # a few weeks' worth; the next night goes on
_AT_ONCE = 500  # in one transaction: Dagster's SQLite takes no other writer meanwhile
Connect = Callable[[], AbstractContextManager[Any]]


def delete_old_checks(
    instance: dg.DagsterInstance, *, before: datetime, limit: int = CHECKS_PER_CLEANUP, dry_run: bool = False
) -> int:
    """Delete what checks said before the aware instant `before`, but the newest verdict of each; at most `limit`, and
    how many. So it goes with changes of freshness, which no run reports either.

    Dagster has no call for it, so its tables are asked by its own connections. Where they are not in SQL, none goes.
    """
    storage: Any = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    old = before.astimezone(timezone.utc).replace(tzinfo=None)  # as Dagster writes them
    index: Connect = storage.index_connection
    found = _find(index, _old_verdicts(old).limit(limit))
    if dry_run:
        return len(found)
    _delete(index, AssetCheckExecutionsTable, found)
    # In SQLite these are written twice: in the file of all runs, and in that of none.
    for connect in (index, lambda: storage.run_connection(RUNLESS_RUN_ID)):
        for query in (_old_evaluations(old), _old_freshness(old)):
            _delete(connect, SqlEventLogStorageTable, _find(connect, query.limit(limit)))
    return len(found)


def _old_verdicts(old: datetime) -> Any:
    """Old rows of which there is a newer verdict, and old plans of which nothing came."""
    said, newer = AssetCheckExecutionsTable.c, AssetCheckExecutionsTable.alias().c
    planned = AssetCheckExecutionRecordStatus.PLANNED.value
    has_newer = (
        db_select([newer.id])
        .where(newer.asset_key == said.asset_key)
        .where(newer.check_name == said.check_name)
        .where(newer.partition.is_not_distinct_from(said.partition))
        .where(newer.execution_status != planned)
        .where(newer.id > said.id)
        .exists()
    )
    query = db_select([said.id]).where(said.evaluation_event_timestamp < old)
    return query.where((said.execution_status == planned) | has_newer).order_by(said.id)


def _old_evaluations(old: datetime) -> Any:
    """Nobody reads them: the verdicts have them, too."""
    return _of_no_run(dg.DagsterEventType.ASSET_CHECK_EVALUATION, old)


def _old_freshness(old: datetime) -> Any:
    """An asset is as fresh as the newest one says."""
    event, newer = SqlEventLogStorageTable.c, SqlEventLogStorageTable.alias().c
    has_newer = (
        db_select([newer.id])
        .where(newer.asset_key == event.asset_key)
        .where(newer.dagster_event_type == event.dagster_event_type)
        .where(newer.id > event.id)
        .exists()
    )
    return _of_no_run(dg.DagsterEventType.FRESHNESS_STATE_CHANGE, old).where(has_newer)


def _of_no_run(kind: dg.DagsterEventType, old: datetime) -> Any:
    event = SqlEventLogStorageTable.c
    query = db_select([event.id]).where(event.run_id == RUNLESS_RUN_ID).where(event.dagster_event_type == kind.value)
    return query.where(event.timestamp < old).order_by(event.id)


def _find(connect: Connect, query: Any) -> list[int]:
    with connect() as connection:
        return [id_ for (id_,) in connection.execute(query).fetchall()]


def _delete(connect: Connect, table: Any, ids: list[int]) -> None:
    for start in range(0, len(ids), _AT_ONCE):
        with connect() as connection:
            connection.execute(table.delete().where(table.c.id.in_(ids[start : start + _AT_ONCE])))
