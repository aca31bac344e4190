"""Retention of punches, quarantined records, and records of polls and uploads, with space reclaim: the daily clean-up.
Attendance days and their revisions always stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.maintenance.poll_totals import add_to_totals
from zk_pipeline.store.maintenance.push_totals import add_upload_totals
from zk_pipeline.store.maintenance.space_reclaim import space_reclaimer
from zk_pipeline.store.work_dates.assignment import assign_work_dates

_Values = dict[str, date | None]  # `polls` and `quarantine` are instants


@dataclass(frozen=True)
class CleanupResult:
    """Result of a clean-up, or with `dry_run` its plan. `before`: first work date whose punches are kept."""

    dry_run: bool
    before: date | None
    punches: int
    work_dates: int
    kept_unprocessed: int  # work dates past retention that are not yet processed or delivered
    quarantined: int
    polls: int
    uploads: int
    device_events: int
    push_commands: int
    push_checks: int
    bytes_before: int
    bytes_after: int
    space: str  # result of the space reclaim, or why there was none


@dataclass(frozen=True)
class Retention:
    database: Database
    clock: Callable[[], datetime]

    def clean(
        self, *, retention_days: int, quarantine_days: int = 0, poll_days: int = 0, dry_run: bool = False
    ) -> CleanupResult:
        """Delete rows older than the given days (0 keeps all), checkpoint, and reclaim space.

        Deletes only punches of work dates that are fully processed and delivered, whose rows are final from then on;
        and only polls that delivered no stored punch or record, never the last ones of a device. Events of terminals go
        with the punches of their dates; uploads, commands and checks with the polls.
        """
        size_before = self._size()
        now = self.clock()
        before = (now.date() - timedelta(days=retention_days)) if retention_days else None
        values: _Values = {
            "quarantine": now - timedelta(days=quarantine_days) if quarantine_days else None,
            "polls": now - timedelta(days=poll_days) if poll_days else None,
            "events": before,
        }
        tidy = space_reclaimer(self.database)
        if dry_run:
            with self.database.read("clean up (dry run)") as connection:
                punches = _expired(connection, before)
                counts = {table: _count(connection, table, values) for table in _OLD}
            return _result(before, punches, counts, (size_before, size_before), tidy.plan(), dry_run=True)
        with self.database.write("clean up") as connection:
            punches = _expired(connection, before)
            if before and punches[0]:
                _delete(connection, before, now)
            counts = {table: _count(connection, table, values) for table in _OLD}
            for table, condition in _OLD.items():
                if table == "device_polls":
                    add_to_totals(connection, condition, dict(_used(condition, values)))
                if table == "push_batches":
                    add_upload_totals(connection, condition, dict(_used(condition, values)))
                connection.execute(f"DELETE FROM {table} AS old WHERE {condition}", _used(condition, values))  # noqa: S608
        space = tidy.run()
        return _result(before, punches, counts, (size_before, self._size()), space)

    def _size(self) -> int:
        return self.database.engine.size()


def _result(
    before: date | None,
    punches: tuple[int, int, int],
    counts: Mapping[str, int],
    sizes: tuple[int, int],
    space: str,
    *,
    dry_run: bool = False,
) -> CleanupResult:
    """`counts`: by table of _OLD; `sizes`: in bytes, before and after."""
    return CleanupResult(
        dry_run=dry_run,
        before=before,
        punches=punches[0],
        work_dates=punches[1],
        kept_unprocessed=punches[2],
        quarantined=counts["quarantined_records"],
        polls=counts["device_polls"],
        uploads=counts["push_batches"],
        device_events=counts["device_events"],
        push_commands=counts["push_commands"],
        push_checks=counts["push_checks"],
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        space=space,
    )


# A record that is still in the terminal's log is quarantined again by the next full reading. Records of 8 bytes stay:
# they name only a slot, whose later holders did not create the record.
_OLD = {
    "quarantined_records": "created_at < $quarantine AND (released_at IS NOT NULL OR octet_length(raw) <> 8)",
    "device_polls": """
        finished_at < $polls
        AND id NOT IN (SELECT first_poll_id FROM raw_punches)
        AND id NOT IN (SELECT first_poll_id FROM quarantined_records)
        AND id NOT IN (SELECT max(id) FROM device_polls GROUP BY device, status, mode)
    """,
    # Those that stay are the newest of a terminal, and its newest with new punches, which are part of a version.
    "push_batches": """
        received_at < $polls
        AND id NOT IN (SELECT max(id) FROM push_batches GROUP BY serial)
        AND id NOT IN (SELECT max(id) FROM push_batches WHERE stored > 0 GROUP BY device)
    """,
    "device_events": "occurred_at_local < $events",
    # The number of a command is used once.
    "push_commands": "finished_at < $polls AND id <> (SELECT max(id) FROM push_commands)",
    # A difference is kept: it explains the count of a terminal, or punches are missing.
    "push_checks": """
        checked_at < $polls AND state NOT IN ('asked', 'queried')
        AND (stored_punches < terminal_punches) IS NOT TRUE
    """,
}


def _used(condition: str, values: _Values) -> _Values:
    return {name: value for name, value in values.items() if f"${name}" in condition}


def _count(connection: Connection, table: str, values: _Values) -> int:
    condition = _OLD[table]
    row = connection.execute(
        f"SELECT count(*) FROM {table} AS old WHERE {condition}",  # noqa: S608 (constant SQL)
        _used(condition, values),
    ).fetchone()
    assert row is not None
    return int(row[0])


_SETTLED = """
    known.work_date < $before AND known.raw_purged_at IS NULL AND known.latest_punch_seq <= known.processed_seq
    AND known.reprocess_after IS NULL
    AND NOT EXISTS (
        FROM crm_deliveries AS delivery
        WHERE delivery.work_date = known.work_date AND delivery.state NOT IN ('delivered', 'superseded')
    )
"""


def _expired(connection: Connection, before: date | None) -> tuple[int, int, int]:
    """Number of punches and work dates to purge, and of work dates past retention that must stay."""
    if before is None:
        return 0, 0, 0
    placing = assign_work_dates(connection)
    row = connection.execute(
        f"""
        WITH past AS (
            SELECT work_date, {_SETTLED} AS is_settled FROM work_dates AS known
            WHERE work_date < $before AND raw_purged_at IS NULL
        )
        SELECT
            (SELECT count(*) FROM {placing.punches} AS punch {placing.join}
             WHERE {placing.work_date} IN (SELECT work_date FROM past WHERE is_settled)),
            count(*) FILTER (is_settled),
            count(*) FILTER (NOT is_settled)
        FROM past
        """,  # noqa: S608 (constant SQL)
        {"before": before},
    ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def _delete(connection: Connection, before: date, now: datetime) -> None:
    connection.execute(
        f"UPDATE work_dates AS known SET raw_purged_at = $now WHERE {_SETTLED}",  # noqa: S608 (constant SQL)
        {"before": before, "now": now},
    )
    placing = assign_work_dates(connection)
    connection.execute(
        f"""
        CREATE TEMP TABLE expired AS
        SELECT punch.seq FROM {placing.punches} AS punch {placing.join}
        WHERE {placing.work_date} IN (SELECT work_date FROM work_dates WHERE raw_purged_at = $now)
        """,  # noqa: S608 (constant SQL)
        {"now": now},
    )
    for table in ("raw_punches", "corrected_punches", "manual_punches"):
        connection.execute(f"DELETE FROM {table} WHERE seq IN (FROM expired)")  # noqa: S608 (constant names)
    # Requests on these dates that were rejected, or can no longer be approved.
    connection.execute(
        """
        DELETE FROM manual_punches WHERE decision IS DISTINCT FROM 'approved'
            AND punched_at_local::DATE IN (SELECT work_date FROM work_dates WHERE raw_purged_at = $now)
        """,
        {"now": now},
    )
    connection.execute("DROP TABLE expired")
    connection.execute(
        """
        DELETE FROM frozen_work_date_starts
        WHERE on_date IN (SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL)
          AND on_date - 1 IN (SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL)
        """
    )
