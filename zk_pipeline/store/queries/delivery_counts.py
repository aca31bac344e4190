"""Attendance days by the state of their delivery, for each work date.

Joining two million days with their deliveries takes half a second. The joins of one work date do not depend on others,
so only the dates are joined again whose days or deliveries have changed since the last count.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from zk_pipeline.store.engine.database import Connection, Database

_MOST_CHANGED = 400  # dates; for more, all are counted


@dataclass(frozen=True)
class DateCounts:
    """Days of one work date: all, delivered ones and dead letters."""

    total: int
    synced: int
    failed: int

    @property
    def unsynced(self) -> int:
        return self.total - self.synced


@dataclass
class DeliveryCounts:
    """Counts by work date, remembered with a checksum of the rows from which they were made. Thread-safe."""

    _checksums: Mapping[date, tuple[Any, ...]] = field(default_factory=dict)
    _counts: Mapping[date, DateCounts] = field(default_factory=dict)
    _state: int | None = None  # of the store when it was counted, if the engine has one
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, database: Database, connection: Connection) -> Mapping[date, DateCounts]:
        """The same within a read of `database`, once per copy."""
        state = database.state(connection)
        return database.once_per_copy("delivery counts", lambda: self.read(connection)) or self.read(connection, state)

    def read(self, connection: Connection, state: int | None = None) -> Mapping[date, DateCounts]:
        """Counts of the work dates that have days. `state`: of the store, as in `Database.state`."""
        with self._lock:
            if state is not None and state == self._state:
                return self._counts
            checksums = {row[0]: row[1:] for row in connection.execute(_CHECKSUMS).fetchall()}
            changed = [day for day, checksum in checksums.items() if self._checksums.get(day) != checksum]
            kept = {day: counts for day, counts in self._counts.items() if day in checksums}
            self._counts = {**kept, **_count(connection, changed)}
            self._checksums, self._state = checksums, state
            return self._counts


def _count(connection: Connection, dates: Iterable[date]) -> dict[date, DateCounts]:
    listed = ", ".join(f"DATE '{day}'" for day in dates)
    if not listed:
        return {}
    where = f"WHERE date IN ({listed})" if listed.count(",") < _MOST_CHANGED else ""
    rows = connection.execute(_COUNTS.format(where=where)).fetchall()
    return {day: DateCounts(*counts) for day, *counts in rows}


# Of the columns on which `synced_to_crm` and `sync_state` depend. Hashed twice: DuckDB combines the hashes of columns
# by an exclusive or, so that two rows which exchange their states would not change the checksum of hashes.
_CHECKSUMS = """
    SELECT work_date, days, days_hash, deliveries, deliveries_hash
    FROM (
        SELECT work_date, count(*) AS days, bit_xor(hash(hash(revision, site, user_id))) AS days_hash
        FROM daily_attendance GROUP BY work_date
    ) LEFT JOIN (
        SELECT work_date, count(*) AS deliveries,
               bit_xor(hash(hash(state, merged IS NOT NULL, revision, site, user_id))) AS deliveries_hash
        FROM crm_deliveries GROUP BY work_date
    ) USING (work_date)
"""
_COUNTS = """
    SELECT date, count(*), count(*) FILTER (synced_to_crm), count(*) FILTER (sync_state = 'failed')
    FROM processed_attendance {where} GROUP BY date
"""
