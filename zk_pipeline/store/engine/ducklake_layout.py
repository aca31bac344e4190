"""Order of rows in the Parquet files of large tables, and the size of files and row groups.

A row group is skipped if its smallest and largest values exclude all rows that a query selects. Rows of a week, or of a
month of days, are sorted by user: a query of a date reads the row groups of one week, and a query of one user a single
row group of each. DuckLake sorts whenever it writes a file: inserts, flushes of inlined rows, merges.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from zk_pipeline.store.schema.migrations_runner import transaction

# Expressions by table. With casts, because DuckLake sorts inlined rows by the texts that PostgreSQL has.
SORTED_BY: Mapping[str, str] = {
    "raw_punches": "date_trunc('week', punched_at_local::TIMESTAMP) ASC, user_id ASC, punched_at_local ASC",
    "daily_attendance": "date_trunc('month', work_date::DATE) ASC, user_id ASC, work_date ASC",
    "crm_deliveries": "date_trunc('month', work_date::DATE) ASC, user_id ASC, work_date ASC",
}
# Files of this size are not merged any more: it bounds what a clean-up rewrites for a few new rows.
_OPTIONS: Mapping[str, str] = {"target_file_size": "64MB", "parquet_row_group_size": "16384"}


def set_layout(connection: duckdb.DuckDBPyConnection, catalog: str) -> list[str]:
    """Set the layout of the tables that have none; returns their names. Files written before keep their order.

    `connection`: outside a transaction, with the lake attached as `catalog` and in use.
    """
    rows = connection.execute(
        f"""
        SELECT table_name FROM __ducklake_metadata_{catalog}.ducklake_sort_info AS sorted
        JOIN __ducklake_metadata_{catalog}.ducklake_table AS named USING (table_id)
        WHERE sorted.end_snapshot IS NULL AND named.end_snapshot IS NULL
        """  # noqa: S608 (a constant name)
    ).fetchall()
    missing = [table for table in SORTED_BY if table not in {name for (name,) in rows}]
    with transaction(connection):
        for table in missing:
            for option, value in _OPTIONS.items():
                connection.execute(f"CALL {catalog}.set_option('{option}', '{value}', table_name => '{table}')")
            connection.execute(f"ALTER TABLE {table} SET SORTED BY ({SORTED_BY[table]})")
    return missing
