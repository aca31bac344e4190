"""Counts and checksums of the store's rows, by partition: what a copy is compared with, on whatever engine each is."""

from __future__ import annotations

from dataclasses import dataclass

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.schema.catalog import TABLES
from zk_pipeline.store.schema.migrations_runner import column_types

_WHOLE = "'all'"
_BY_DATE = "work_date::VARCHAR"
# What the rows of a table are told apart by; tables that are not named are small, and one partition.
_PARTITION = {
    "device_polls": "strftime(started_at, '%Y-%m')",
    "raw_punches": "strftime(punched_at_local, '%Y-%m')",
    "corrected_punches": "strftime(punched_at_local, '%Y-%m')",
    "quarantined_records": "strftime(created_at, '%Y-%m')",
    "daily_attendance": _BY_DATE,
    "daily_attendance_revisions": _BY_DATE,
    "crm_deliveries": _BY_DATE,
    "crm_attempts": _BY_DATE,
}
# Which migrations a store has had, and when, is its own history, not data.
MOVED = tuple(table for table in TABLES if table != "schema_migrations")


@dataclass(frozen=True)
class Checksum:
    """How many rows, and the sum of their hashes: the same in any order, and other where a row is there twice."""

    rows: int
    checksum: int


def sums_of(connection: Connection, table: str) -> dict[str, Checksum]:
    """By partition. Engines are compared by one DuckDB, so that equal values have equal hashes."""
    columns = ", ".join(f'"{name}"' for name in column_types(table))
    found = connection.execute(
        f"SELECT {_key(table)} AS key, count(*), sum(hash({columns})::HUGEINT) "  # noqa: S608 (names of ours)
        f"FROM {table} {_mine(table)} GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return {str(key): Checksum(int(rows), int(checksum)) for key, rows, checksum in found}


def partition_checksums(table: str) -> str:
    """The condition that a row belongs to one of the partitions `$keys`."""
    own = _mine(table)
    return f"list_contains($keys, {_key(table)})" + (f" AND {own.removeprefix('WHERE ')}" if own else "")


def _key(table: str) -> str:
    return _PARTITION.get(table, _WHOLE)


def _mine(table: str) -> str:
    """All rows but the marks that a move leaves in a store."""
    return f"WHERE name NOT LIKE '{MARK}%'" if table == "store_settings" else ""


MARK = "moved "  # begins the name of a mark in store_settings
