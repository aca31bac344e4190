"""What checks said long ago: Dagster keeps it for ever, also of runs that are deleted. The newest of each stays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import dagster as dg
from dagster._core.instance import RUNLESS_RUN_ID
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.sqlalchemy_compat import db_select

_AT_ONCE = 500
_RUNLESS = [
    kind.value
    for kind in (
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.FRESHNESS_STATE_EVALUATION,
        dg.DagsterEventType.FRESHNESS_STATE_CHANGE,
    )
]


def delete_old_checks(instance: dg.DagsterInstance, *, before: datetime) -> int:
    """Delete what checks said before the aware instant `before`, but the newest of each, and so for changes of
    freshness; how many evaluations that were.

    Dagster has no call for it, so its tables are asked by its own connections. Where they are not in SQL, none goes.
    """
    storage: Any = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    limit = before.astimezone(timezone.utc).replace(tzinfo=None)  # as Dagster writes them
    said, event = AssetCheckExecutionsTable.c, SqlEventLogStorageTable.c
    with storage.index_connection() as connection:
        deleted = _delete_but_newest(
            connection,
            AssetCheckExecutionsTable,
            [said.asset_key, said.check_name, said.partition],
            said.evaluation_event_timestamp < limit,
        )
    # Those of no run: in SQLite they are written twice, in the file of all runs and in that of none.
    for connect in (storage.index_connection, lambda: storage.run_connection(RUNLESS_RUN_ID)):
        with connect() as connection:
            _delete_but_newest(
                connection,
                SqlEventLogStorageTable,
                [event.asset_key, event.dagster_event_type],
                event.timestamp < limit,
                [event.run_id == RUNLESS_RUN_ID, event.dagster_event_type.in_(_RUNLESS)],
            )
    return deleted


def _delete_but_newest(
    connection: Any, table: Any, names: Sequence[Any], is_old: Any, among: Sequence[Any] = ()
) -> int:
    """Delete rows of `among` that are old, unless they are the newest with these values in the columns `names`."""
    every, old = db_select([table.c.id, *names]).order_by(table.c.id), db_select([table.c.id])
    for condition in among:
        every, old = every.where(condition), old.where(condition)
    newest = {tuple(values): id_ for id_, *values in connection.execute(every).fetchall()}
    kept = set(newest.values())
    gone = [id_ for (id_,) in connection.execute(old.where(is_old)).fetchall() if id_ not in kept]
    for part in _parts(gone):
        connection.execute(table.delete().where(table.c.id.in_(part)))
    return len(gone)


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), _AT_ONCE):
        yield ids[start : start + _AT_ONCE]
