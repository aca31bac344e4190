"""Integrity rules that no database constraint enforces; inconsistent work dates are blocked from CRM delivery.

The pipeline writes consistent rows; violations come from a shell, a copy or a defect.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.schema.catalog import TABLES

# Unique keys of the small tables, which are checked as a whole.
_KEYS = {
    "devices": ("name", "id"),
    "device_users": ("(device, user_id, uid)",),
    "device_slots": ("(device, uid, first_list)",),
    "device_polls": ("id",),
    "device_poll_totals": ("(device, status)",),
    "push_terminals": ("serial_number",),
    "push_batches": ("id",),
    "push_totals": ("device",),
    "push_stamps": ("(serial_number, table_name)",),
    "push_commands": ("id",),
    "push_checks": ("(serial_number, first_date, last_date)",),
    "work_dates": ("work_date",),
    "manual_punches": ("id",),
    "payroll_periods": ("period",),
    "leaves": ("id",),
}
PUNCH_KEY = "device, user_id, punched_at_local"


def schema_faults(connection: Connection, shipped: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Describe the differences from `shipped` (`migrations_runner.tables_as_shipped`) in tables and columns."""
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
    ).fetchall():
        found.setdefault(table, {})[column] = kind
    faults = []
    for table in TABLES:
        wanted, held = shipped[table], found.get(table)
        if held is None:
            faults.append(f"the table {table} is missing")
            continue
        faults += [f"{table}.{name} is missing" for name in wanted if name not in held]
        faults += [f"{table}.{name} is {held[name]}, not {kind}" for name, kind in wanted.items()
                   if name in held and held[name] != kind]  # fmt: skip
    return faults


def duplicate_keys(connection: Connection) -> list[str]:
    """Describe duplicate keys of devices, users, polls, uploads and work dates."""
    found = []
    for table, keys in _KEYS.items():
        for key in keys:
            count, example = connection.execute(
                f"SELECT count(*), min(key)::VARCHAR FROM (SELECT {key} AS key FROM {table} GROUP BY 1 "  # noqa: S608
                "HAVING count(*) > 1)"
            ).fetchall()[0]
            if count:
                found.append(f"{table}: values of {key} are there more than once: {count:,} (such as {example})")
    return found


def duplicate_punches(connection: Connection, stored_since: datetime) -> int:
    """Number of duplicate punch keys among punches stored since then and all others."""
    row = connection.execute(
        f"""
        WITH recent AS (
            SELECT DISTINCT {PUNCH_KEY} FROM raw_punches WHERE created_at >= $since
        ),
        span AS (SELECT min(punched_at_local) AS first, max(punched_at_local) AS last FROM recent)
        SELECT count(*) FROM (
            SELECT 1 FROM raw_punches AS punch, span
            WHERE punch.punched_at_local BETWEEN span.first AND span.last
            GROUP BY {PUNCH_KEY} HAVING count(*) > 1 AND max(created_at) >= $since
        )
        """,  # noqa: S608 (constant names)
        {"since": stored_since},
    ).fetchone()
    return int(row[0]) if row else 0


def inconsistent_dates(connection: Connection, dates: Collection[date]) -> dict[date, str]:
    """Work dates in `dates` whose days, revisions or deliveries violate a rule, with the reason."""
    if not dates:
        return {}
    rows = connection.execute(_INCONSISTENT, {"dates": list(dates)}).fetchall()
    return dict(rows)


def block_inconsistent_dates(connection: Connection, dates: Collection[date], now: datetime) -> dict[date, str]:
    """Update `blocked_dates` for `dates`; returns the inconsistent ones. In the caller's transaction."""
    if not dates:
        return {}
    inconsistent = inconsistent_dates(connection, dates)
    connection.execute(
        "DELETE FROM blocked_dates WHERE list_contains($dates, work_date) AND NOT list_contains($bad, work_date)",
        {"dates": list(dates), "bad": list(inconsistent)},
    )
    known = {row[0] for row in connection.execute("SELECT work_date FROM blocked_dates").fetchall()}
    for day, reason in inconsistent.items():
        if day in known:
            connection.execute("UPDATE blocked_dates SET reason = ? WHERE work_date = ?", [reason, day])
        else:
            connection.execute("INSERT INTO blocked_dates VALUES (?, ?, ?)", [day, reason, now])
    return inconsistent


def blocked_dates(connection: Connection) -> Mapping[date, str]:
    return dict(connection.execute("SELECT work_date, reason FROM blocked_dates ORDER BY 1").fetchall())


def repair(connection: Connection, dates: Collection[date]) -> list[date]:
    """Delete inconsistent rows of the blocked ones of `dates`, before these are processed again; returns these dates.

    Called before days are written, in the same transaction: a user whose rows are deleted gets a new revision.
    """
    blocked = [day for day in blocked_dates(connection) if day in set(dates)]
    if not blocked:
        return []
    for statement in _REPAIR:
        connection.execute(statement, {"dates": blocked})
    return blocked


_BROKEN_ROW = "day.clock_out < day.clock_in OR day.punch_count < 1 OR day.revision < 1"

_INCONSISTENT = f"""
WITH wanted AS (SELECT unnest($dates::DATE[]) AS work_date),
day AS (SELECT * FROM daily_attendance WHERE work_date IN (FROM wanted)),
past AS (SELECT * FROM daily_attendance_revisions WHERE work_date IN (FROM wanted)),
delivery AS (SELECT * FROM crm_deliveries WHERE work_date IN (FROM wanted)),
faults AS (
    SELECT work_date, 'a user has more than one day at a site' AS reason FROM day
    GROUP BY site, user_id, work_date HAVING count(*) > 1
    UNION ALL
    SELECT work_date, 'a day ends before it begins, or is made of nothing' FROM day WHERE {_BROKEN_ROW}
    UNION ALL
    SELECT work_date, 'a revision is there twice' FROM past
    GROUP BY site, user_id, work_date, revision HAVING count(*) > 1
    UNION ALL
    SELECT day.work_date, 'a day is not what its history says' FROM day
    LEFT JOIN past USING (site, user_id, work_date, revision)
    WHERE past.payload_hash IS DISTINCT FROM day.payload_hash
    UNION ALL
    SELECT work_date, 'a revision has more than one delivery' FROM delivery
    GROUP BY site, user_id, work_date, revision HAVING count(*) > 1
    UNION ALL
    SELECT work_date, 'two deliveries share a key' FROM delivery
    GROUP BY work_date, idempotency_key HAVING count(*) > 1
)
SELECT work_date, string_agg(DISTINCT reason, '; ' ORDER BY reason) FROM faults GROUP BY 1 ORDER BY 1
"""  # noqa: S608 (constant SQL)

# Of duplicates the first row stays; of a day with any doubt none does.
_REPAIR = (
    """
    DELETE FROM daily_attendance_revisions WHERE rowid IN (
        SELECT rowid FROM daily_attendance_revisions WHERE list_contains($dates, work_date)
        QUALIFY row_number() OVER (PARTITION BY site, user_id, work_date, revision ORDER BY rowid) > 1
    )
    """,
    """
    DELETE FROM crm_deliveries WHERE rowid IN (
        SELECT rowid FROM crm_deliveries WHERE list_contains($dates, work_date)
        QUALIFY row_number() OVER (
            PARTITION BY site, user_id, work_date, revision ORDER BY state <> 'delivered', rowid
        ) > 1
    )
    """,
    f"""
    DELETE FROM daily_attendance WHERE rowid IN (
        SELECT day.rowid FROM daily_attendance AS day
        LEFT JOIN daily_attendance_revisions AS past USING (site, user_id, work_date, revision)
        WHERE list_contains($dates, work_date)
        QUALIFY count(*) OVER (PARTITION BY site, user_id, work_date) > 1 OR {_BROKEN_ROW}
            OR past.payload_hash IS DISTINCT FROM day.payload_hash
    )
    """,  # noqa: S608 (constant SQL)
)
