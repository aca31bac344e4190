"""The daily clean-up: retention of raw punches, and space given back. Days and their history always stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from zk_pipeline.store.database import Connection, Database
from zk_pipeline.store.placing import place


@dataclass(frozen=True)
class Cleaned:
    """What a clean-up did, or with `dry_run` would do. `before`: first work date whose punches are kept."""

    dry_run: bool
    before: date | None
    punches: int
    work_dates: int
    kept_unprocessed: int  # work dates past retention that stay because they are not processed or not delivered
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class Upkeep:
    database: Database
    clock: Callable[[], datetime]

    def clean(self, *, retention_days: int, dry_run: bool = False) -> Cleaned:
        """Delete punches of work dates older than `retention_days` (0 keeps all), then checkpoint.

        Only dates whose rows are made from all their punches, and delivered, are touched: their rows are final then.
        """
        size_before = self._size()
        before = (self.clock().date() - timedelta(days=retention_days)) if retention_days else None
        if dry_run:
            with self.database.read("clean up (dry run)") as connection:
                counts = _expired(connection, before)
        else:
            with self.database.write("clean up") as connection:
                counts = _expired(connection, before)
                if before and counts[0]:
                    _delete(connection, before, self.clock())
            with self.database.exclusive("checkpoint") as connection:
                connection.execute("CHECKPOINT")
        punches, dates, kept = counts
        return Cleaned(dry_run, before, punches, dates, kept, size_before, self._size())

    def _size(self) -> int:
        return self.database.path.stat().st_size if self.database.path.exists() else 0


_SETTLED = """
    known.work_date < $before AND known.raw_deleted_at IS NULL AND known.punched_seq <= known.built_seq
    AND known.recheck_after IS NULL
    AND NOT EXISTS (
        FROM crm_deliveries AS delivery
        WHERE delivery.work_date = known.work_date AND delivery.state NOT IN ('delivered', 'superseded')
    )
"""


def _expired(connection: Connection, before: date | None) -> tuple[int, int, int]:
    """Punches and work dates that may go, and work dates past retention that may not yet."""
    if before is None:
        return 0, 0, 0
    placing = place(connection)
    row = connection.execute(
        f"""
        WITH past AS (
            SELECT work_date, {_SETTLED} AS is_settled FROM work_dates AS known
            WHERE work_date < $before AND raw_deleted_at IS NULL
        )
        SELECT
            (SELECT count(*) FROM {placing.punches} AS punch {placing.join}
             WHERE {placing.work_date} IN (SELECT work_date FROM past WHERE is_settled)),
            count(*) FILTER (is_settled),
            count(*) FILTER (NOT is_settled)
        FROM past
        """,  # noqa: S608 (SQL of ours)
        {"before": before},
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _delete(connection: Connection, before: date, now: datetime) -> None:
    connection.execute(
        f"UPDATE work_dates AS known SET raw_deleted_at = $now WHERE {_SETTLED}",  # noqa: S608 (SQL of ours)
        {"before": before, "now": now},
    )
    placing = place(connection)
    connection.execute(
        f"""
        CREATE TEMP TABLE expired AS
        SELECT punch.seq FROM {placing.punches} AS punch {placing.join}
        WHERE {placing.work_date} IN (SELECT work_date FROM work_dates WHERE raw_deleted_at = $now)
        """,  # noqa: S608 (SQL of ours)
        {"now": now},
    )
    for table in ("raw_punches", "corrected_punches"):
        connection.execute(f"DELETE FROM {table} WHERE seq IN (FROM expired)")  # noqa: S608 (tables of ours)
    connection.execute("DROP TABLE expired")
