"""Row counts and checksums per partition, to compare a store with its copy on any engine."""

from __future__ import annotations

from dataclasses import dataclass

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.migrations_runner import column_types

_WHOLE = "'all'"
_BY_DATE = "work_date::VARCHAR"
# Partition key of each table; unnamed tables are small and have one partition.
_PARTITION = {
    "device_polls": "strftime(started_at, '%Y-%m')",
    "raw_punches": "strftime(punched_at_local, '%Y-%m')",
    "push_batches": "strftime(received_at, '%Y-%m')",
    "device_events": "strftime(occurred_at_local, '%Y-%m')",
    "corrected_punches": "strftime(punched_at_local, '%Y-%m')",
    "quarantined_records": "strftime(created_at, '%Y-%m')",
    "daily_attendance": _BY_DATE,
    "daily_attendance_revisions": _BY_DATE,
    "crm_deliveries": _BY_DATE,
    "crm_attempts": _BY_DATE,
    "earlier_deliveries": _BY_DATE,
    "payroll_days": _BY_DATE,
}
# The list of applied migrations belongs to one store and is not data.
MOVED = tuple(table for table in TABLES if table != "schema_migrations")


@dataclass(frozen=True)
class Checksum:
    """Row count and sum of row hashes: independent of order, but not of duplicates."""

    rows: int
    checksum: int


def table_checksums(connection: Connection, table: str, condition: str = "true") -> dict[str, Checksum]:
    """Checksums by partition, of the rows that fulfil the SQL `condition`.

    One DuckDB computes those of both engines, so equal values have equal hashes.
    """
    if is_empty(connection, table):
        return {}
    columns = ", ".join(f'"{name}"' for name in column_types(table))
    found = connection.execute(
        f"SELECT {_key(table)} AS key, count(*), sum(hash({columns})::HUGEINT) "  # noqa: S608 (constant names)
        f"FROM {table} WHERE {own_rows(table)} AND {condition} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {str(key): Checksum(int(rows), int(checksum)) for key, rows, checksum in found}


def is_empty(connection: Connection, table: str) -> bool:
    """Return whether a table has no rows: on a shared store, four times as fast as reading none."""
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608 (constant names)


def partition_checksums(table: str) -> str:
    """SQL condition for the rows of the partitions `$keys`."""
    return f"list_contains($keys, {_key(table)}) AND {own_rows(table)}"


def _key(table: str) -> str:
    return _PARTITION.get(table, _WHOLE)


def own_rows(table: str) -> str:
    """SQL condition for all rows except the marks of store migrations."""
    return f"name NOT LIKE '{MARK}%'" if table == "store_settings" else "true"


MARK = "moved "  # prefix of a mark in store_settings
