"""Sequence numbers that show whether the rows of a work date are older than its punches."""

from __future__ import annotations

from zk_pipeline.store.engine.database import Connection


def next_seq(connection: Connection, count: int = 1) -> int:
    """Reserve `count` numbers above all earlier ones; returns the first."""
    row = connection.execute("SELECT value::BIGINT FROM store_settings WHERE name = 'last_seq'").fetchone()
    assert row is not None
    last = int(row[0])
    connection.execute("UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(last + count)])
    return last + 1


def mark_stale(connection: Connection, touched: str) -> None:
    """Raise `latest_punch_seq` from the relation `touched(work_date, seq)`."""
    connection.execute(
        f"""
        MERGE INTO work_dates AS known
        USING (SELECT work_date, max(seq) AS seq FROM {touched} GROUP BY work_date) AS touched
        ON known.work_date = touched.work_date
        WHEN MATCHED THEN UPDATE SET latest_punch_seq = greatest(known.latest_punch_seq, touched.seq)
        WHEN NOT MATCHED THEN INSERT (work_date, latest_punch_seq, processed_seq)
            VALUES (touched.work_date, touched.seq, 0)
        """  # noqa: S608 (constant names)
    )
