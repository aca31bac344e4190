"""Which work dates are stale: a question to the store, never a cursor that can be lost.

`work_dates.punched_seq` is raised in the transaction that stores a punch; `built_seq` is written with the rows made
from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time

from zk_pipeline.store.database import Connection


@dataclass(frozen=True)
class StaleDate:
    """A work date whose rows are older than its punches, or were judged before the day was over."""

    work_date: date
    punched_seq: int


def take_seq(connection: Connection, count: int = 1) -> int:
    """The first of `count` numbers above every one given so far."""
    row = connection.execute("SELECT value::BIGINT FROM store_settings WHERE name = 'last_seq'").fetchone()
    assert row is not None
    last = int(row[0])
    connection.execute("UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(last + count)])
    return last + 1


def touch(connection: Connection, touched: str) -> None:
    """Raise punched_seq from the relation `touched(work_date, seq)`."""
    connection.execute(
        f"""
        MERGE INTO work_dates AS known
        USING (SELECT work_date, max(seq) AS seq FROM {touched} GROUP BY work_date) AS touched
        ON known.work_date = touched.work_date
        WHEN MATCHED THEN UPDATE SET punched_seq = greatest(known.punched_seq, touched.seq)
        WHEN NOT MATCHED THEN INSERT (work_date, punched_seq, built_seq) VALUES (touched.work_date, touched.seq, 0)
        """  # noqa: S608 (a relation's name of ours)
    )


def mark_device_stale(connection: Connection, device: str) -> None:
    """Its punches now belong to another site or zone: every work date they are part of must be made again."""
    connection.execute(
        """
        CREATE TEMP TABLE moved AS
        SELECT DISTINCT CAST(punched_at_local - to_minutes($offset) AS DATE) AS work_date, $seq AS seq
        FROM raw_punches
        WHERE device = $device
          AND work_date NOT IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NOT NULL)
        """,
        {"seq": take_seq(connection), "device": device, "offset": minutes(workday_starts_at(connection))},
    )
    touch(connection, "moved")
    connection.execute("DROP TABLE moved")


def minutes(at: time) -> int:
    return at.hour * 60 + at.minute


def workday_starts_at(connection: Connection) -> time:
    """Where the work dates now stored begin; midnight in a store that has none."""
    row = connection.execute("SELECT value FROM store_settings WHERE name = 'workday_starts_at'").fetchone()
    return time.fromisoformat(row[0]) if row else time(0)


def adopt_workday_start(connection: Connection, starts_at: time) -> None:
    """Regroup the punches when the setting changed: every date of the old and of the new grouping becomes stale."""
    if starts_at == workday_starts_at(connection):
        return
    seq = take_seq(connection)
    connection.execute("DELETE FROM store_settings WHERE name = 'workday_starts_at'")
    connection.execute("INSERT INTO store_settings VALUES ('workday_starts_at', ?)", [starts_at.isoformat()])
    connection.execute("UPDATE work_dates SET punched_seq = ? WHERE raw_deleted_at IS NULL", [seq])
    connection.execute(
        """
        INSERT INTO work_dates (work_date, punched_seq, built_seq)
        SELECT DISTINCT CAST(punched_at_local - to_minutes($offset) AS DATE) AS work_date, $seq, 0
        FROM raw_punches
        WHERE NOT is_clock_suspect AND work_date NOT IN (SELECT work_date FROM work_dates)
        """,
        {"offset": minutes(starts_at), "seq": seq},
    )


def stale_dates(connection: Connection, *, first: date, last: date, now: datetime) -> list[StaleDate]:
    """Stale dates from `first` to `last`, in order."""
    rows = connection.execute(
        """
        SELECT work_date, punched_seq
        FROM work_dates
        WHERE work_date BETWEEN $first AND $last
          AND raw_deleted_at IS NULL
          AND (punched_seq > built_seq OR recheck_after <= $now)
        ORDER BY work_date
        """,
        {"first": first, "last": last, "now": now},
    ).fetchall()
    return [StaleDate(*row) for row in rows]
