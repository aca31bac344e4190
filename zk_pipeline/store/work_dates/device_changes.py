"""Exactly the dates that a changed device or clock touches: what the rows of its site are made from, before and after.

Whatever changes (a site, zone or trust, a clock correction), the dates on which any row comes from other punches or is
judged by something else become stale, and no others. Changes of shifts and holidays are `shift_changes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from zk_pipeline.attendance.shifts import BOUNDS
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq


@contextmanager
def invalidating_affected_dates(connection: Connection, sites: Sequence[str] | None) -> Iterator[None]:
    """Around a change, inside its transaction: makes the dates stale that it touches. None: it can touch none.

    Only rows of `sites` can be touched. Inside another one it leaves all to that one, whose sites must be the same.
    """
    under_way = connection.execute("SELECT EXISTS (FROM duckdb_tables() WHERE table_name = 'rows_before')").fetchall()
    if sites is None or under_way[0][0]:
        yield
        return
    fingerprint(connection, "rows_before", sites)
    yield
    fingerprint(connection, "rows_after", sites)
    connection.execute(
        """
        CREATE TEMP TABLE touched_dates AS
        SELECT DISTINCT work_date, $seq AS seq
        FROM rows_before FULL JOIN rows_after USING (site, user_id, work_date)
        WHERE rows_before.made_from IS DISTINCT FROM rows_after.made_from
          AND work_date NOT IN (SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL)
        """,
        {"seq": next_seq(connection)},
    )
    mark_stale(connection, "touched_dates")
    for table in ("rows_before", "rows_after", "touched_dates"):
        connection.execute(f"DROP TABLE {table}")


def fingerprint(connection: Connection, table: str, sites: Sequence[str]) -> None:
    """The temporary `table(site, user_id, work_date, made_from)`, a row for each that a processing now would make."""
    placing = assign_work_dates(connection)
    # What a row without a shift is judged by must read the same whether or not others have one.
    own = ["NULL"] * (4 + len(BOUNDS))
    dates, join = ["NULL", "NULL"], ""
    if placing.by_shifts:
        works = "contains(shift.weekdays, lower(strftime(work_date, '%a')))"
        own = ["shift.name", "shift.start_time", "shift.end_time", *(f"shift.{bound}" for bound in BOUNDS), works]
        dates = ["today.begins", "tomorrow.begins"]
        join = """
            LEFT JOIN roster AS today ON today.device = row.device AND today.user_id = row.user_id
                AND work_date BETWEEN today.first AND today.last
            LEFT JOIN roster AS tomorrow ON tomorrow.device = row.device AND tomorrow.user_id = row.user_id
                AND work_date + 1 BETWEEN tomorrow.first AND tomorrow.last
            LEFT JOIN shifts AS shift ON shift.name = today.shift
        """
    parts = [f"coalesce({one}::VARCHAR, '')" for one in own]
    parts += [f"coalesce({one}, {placing.usual})::VARCHAR" for one in dates]
    connection.execute(
        f"""
        CREATE TEMP TABLE {table} AS
        WITH row AS (
            SELECT
                coalesce(device.site, punch.device) AS site, punch.user_id, {placing.work_date} AS work_date,
                arg_min(punch.device, (punch.punched_at, punch.device)) AS device,
                count(*) AS punches,
                bit_xor(hash(punch.seq, punch.punched_at, punch.punched_at_local)) AS content,
                bool_and(coalesce(device.trust_punch_states, false)) AS is_trusted
            FROM {placing.punches} AS punch {placing.join}
            LEFT JOIN devices AS device ON device.name = punch.device
            WHERE list_contains($sites, coalesce(device.site, punch.device))
            GROUP BY ALL
        )
        SELECT
            row.site, row.user_id, row.work_date,
            hash((row.device, device.timezone, punches, content, is_trusted), own.name, common.name,
                 concat_ws('|', {", ".join(parts)})) AS made_from
        FROM row
        LEFT JOIN devices AS device ON device.name = row.device
        LEFT JOIN holidays AS own ON own.holiday_date = work_date AND own.site = row.site
        LEFT JOIN holidays AS common ON common.holiday_date = work_date AND common.site IS NULL
        {join}
        """,  # noqa: S608 (SQL of ours)
        {"sites": list(sites)},
    )
