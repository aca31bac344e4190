"""Invalidation of exactly the work dates that a changed device or clock affects, by fingerprints before and after.

After a change of site, zone, direction, trusted states or clock corrections, the dates become stale on which a row
has other punches or other rules, and no others. `shift_changes` covers shifts and holidays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.punch_directions import IS_TRUSTED, STATE
from zk_pipeline.store.work_dates.roster import shift_content
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq


@contextmanager
def invalidating_affected_dates(connection: Connection, sites: Sequence[str] | None) -> Iterator[None]:
    """Wrap a change inside its transaction: affected dates become stale. None: no date can be affected.

    Only rows of `sites` can be affected. A nested call leaves the work to the outer one, with the same sites.
    """
    is_nested = connection.execute("SELECT EXISTS (FROM duckdb_tables() WHERE table_name = 'rows_before')").fetchall()
    if sites is None or is_nested[0][0]:
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
    """Create the temporary `table(site, user_id, work_date, made_from)`: one row per day that processing would give."""
    placing = assign_work_dates(connection)
    # The rules of a row without a shift must give the same text whether or not other users have shifts.
    own = ["NULL"] * (len(shift_content("shift")) + 1)
    dates, join = ["NULL", "NULL"], ""
    if placing.by_shifts:
        works = "contains(shift.weekdays, lower(strftime(work_date, '%a')))"
        own = [*shift_content("shift"), works]
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
    # The outer hash of a state: those of two columns combine by exclusive or, so that equal states would cancel out.
    connection.execute(
        f"""
        CREATE TEMP TABLE {table} AS
        WITH row AS (
            SELECT
                coalesce(device.site, punch.device) AS site, punch.user_id, {placing.work_date} AS work_date,
                arg_min(punch.device, (punch.punched_at, punch.device)) AS device,
                count(*) AS punches,
                bit_xor(hash(punch.seq, punch.punched_at, punch.punched_at_local)) AS content,
                CASE WHEN bool_and({IS_TRUSTED}) THEN bit_xor(hash(hash(punch.seq, {STATE}))) END AS trusted_states
            FROM {placing.punches} AS punch {placing.join}
            LEFT JOIN devices AS device ON device.name = punch.device
            WHERE list_contains($sites, coalesce(device.site, punch.device))
            GROUP BY ALL
        )
        SELECT
            row.site, row.user_id, row.work_date,
            hash((row.device, device.timezone, punches, content, trusted_states), own.name, common.name,
                 concat_ws('|', {", ".join(parts)})) AS made_from
        FROM row
        LEFT JOIN devices AS device ON device.name = row.device
        LEFT JOIN holidays AS own ON own.holiday_date = work_date AND own.site = row.site
        LEFT JOIN holidays AS common ON common.holiday_date = work_date AND common.site IS NULL
        {join}
        """,  # noqa: S608 (constant SQL)
        {"sites": list(sites)},
    )
