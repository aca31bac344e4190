"""Sequence numbers that show whether the rows of a work date are older than its punches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from zk_pipeline.store.engine.database import Connection


def next_seq(connection: Connection, count: int = 1) -> int:
    """Reserve `count` numbers above all earlier ones; returns the first."""
    row = connection.execute("SELECT value::BIGINT FROM store_settings WHERE name = 'last_seq'").fetchone()
    assert row is not None
    last = int(row[0])
    connection.execute("UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(last + count)])
    return last + 1


def mark_stale(connection: Connection, touched: str, *, site: str = "NULL") -> None:
    """Raise `latest_punch_seq` from the relation `touched(work_date, seq)`, and add to `stale_sites`.

    `site`: SQL of the site whose rows are affected; null: those of all sites.
    """
    # A table, since a MERGE whose source reads `work_dates` as well may fail on a shared store: "Out of buffer", from
    # DuckDB's reader of Parquet files with deleted rows and lists.
    connection.execute(
        f"""
        CREATE TEMP TABLE latest_by_date AS
        WITH touched AS MATERIALIZED (
            SELECT work_date, ({site})::VARCHAR AS site, max(seq) AS seq FROM {touched} GROUP BY ALL
        ),
        entries AS (
            FROM touched
            UNION ALL BY NAME
            SELECT work_date, unnest(stale_sites, max_depth := 2)
            FROM work_dates WHERE work_date IN (SELECT work_date FROM touched)
        ),
        latest AS (SELECT work_date, site, max(seq) AS seq FROM entries GROUP BY ALL)
        SELECT work_date, max(seq) AS seq, list(struct_pack(site, seq) ORDER BY site) AS sites
        FROM latest GROUP BY work_date
        """  # noqa: S608 (constant names)
    )
    connection.execute(
        """
        MERGE INTO work_dates AS known USING latest_by_date AS touched ON known.work_date = touched.work_date
        WHEN MATCHED THEN UPDATE
            SET latest_punch_seq = greatest(known.latest_punch_seq, touched.seq), stale_sites = touched.sites
        WHEN NOT MATCHED THEN INSERT (work_date, latest_punch_seq, processed_seq, stale_sites)
            VALUES (touched.work_date, touched.seq, 0, touched.sites)
        """
    )
    connection.execute("DROP TABLE latest_by_date")


def request_all_sites(connection: Connection, dates: Sequence[date]) -> None:
    """Let the next processing of `dates` cover all sites; makes no date stale."""
    connection.execute(
        """
        UPDATE work_dates SET stale_sites = [struct_pack(site := NULL::VARCHAR, seq := latest_punch_seq)]
        WHERE list_contains(?, work_date)
        """,
        [list(dates)],
    )


# Query over `work_dates` at the instant $now: the sites to process of a stale date. Null for all sites: of a date that
# is not stale by its punches, or was never processed, or whose cause is not one of known sites; and of a blocked date,
# because its repair deletes rows of any site.
STALE_SITES = """
    CASE WHEN processed_at IS NOT NULL AND latest_punch_seq > processed_seq AND coalesce(reprocess_after > $now, true)
              AND list_max(list_transform(stale_sites, lambda one: one.seq)) = latest_punch_seq
              AND len(list_filter(stale_sites, lambda one: one.site IS NULL)) = 0
              AND work_date NOT IN (SELECT work_date FROM blocked_dates)
         THEN list_sort(list_transform(stale_sites, lambda one: one.site)) END
"""
# Whether the rows of $site (null: of any site) are older than their punches or rules.
IS_STALE = f"(latest_punch_seq > processed_seq AND coalesce(list_contains({STALE_SITES}, $site), true))"
