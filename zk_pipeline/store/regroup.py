"""Exactly the touched dates: what the rows of a scope are made from and judged by, before a change and after it.

Whatever changes (a shift, who has it, a holiday, a device's site, zone or trust, a clock correction), the dates on
which any row comes from other punches or is judged by something else become stale, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from zk_pipeline.attendance.shifts import BOUNDS
from zk_pipeline.store.database import Connection
from zk_pipeline.store.placing import place
from zk_pipeline.store.sequence import take_seq, touch


@dataclass(frozen=True)
class Scope:
    """Rows that a change can touch; None is all. Dates are work dates, both included."""

    user_id: str | None = None
    sites: tuple[str, ...] | None = None
    first: date | None = None
    last: date | None = None


@contextmanager
def regrouping(connection: Connection, scope: Scope | None) -> Iterator[None]:
    """Around a change, inside its transaction: makes the dates stale that it touches. None: it can touch none.

    Inside another one it leaves all to that one, whose scope must be as wide.
    """
    under_way = connection.execute("SELECT EXISTS (FROM duckdb_tables() WHERE table_name = 'rows_before')").fetchall()
    if scope is None or under_way[0][0]:
        yield
        return
    _fingerprint(connection, "rows_before", scope)
    yield
    _fingerprint(connection, "rows_after", scope)
    connection.execute(
        """
        CREATE TEMP TABLE touched_dates AS
        SELECT DISTINCT work_date, $seq AS seq
        FROM rows_before FULL JOIN rows_after USING (site, user_id, work_date)
        WHERE rows_before.made_from IS DISTINCT FROM rows_after.made_from
          AND work_date NOT IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NOT NULL)
        """,
        {"seq": take_seq(connection)},
    )
    touch(connection, "touched_dates")
    for table in ("rows_before", "rows_after", "touched_dates"):
        connection.execute(f"DROP TABLE {table}")


def _fingerprint(connection: Connection, table: str, scope: Scope) -> None:
    """The temporary `table(site, user_id, work_date, made_from)`, a row for each that a processing now would make."""
    day = timedelta(days=1)
    values: dict[str, Any] = {
        "user_id": scope.user_id,
        "sites": None if scope.sites is None else list(scope.sites),
        # A work date reaches into the next calendar day; a changed border moves punches over one more.
        "begin": datetime.combine(scope.first or date.min, time()) - (day if scope.first else timedelta()),
        "end": datetime.combine(scope.last + 3 * day if scope.last else date.max, time()),
    }
    within = """
        punch.punched_at_local >= $begin AND punch.punched_at_local < $end
        AND ($user_id IS NULL OR punch.user_id = $user_id)
        AND ($sites IS NULL OR list_contains($sites, coalesce(device.site, punch.device)))
    """
    placing = place(connection)
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
            WHERE {within}
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
        values,
    )
