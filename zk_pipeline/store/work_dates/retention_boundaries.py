"""Frozen boundaries between purged and retained work dates.

The punches of a purged date are deleted, those of a retained one are not: no punch may move across the boundary.
"""

from __future__ import annotations

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.work_dates.assignment import assign_work_dates, valid_punches

RETENTION_BOUNDARIES = """
cleared AS (SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL),
borders AS (
    SELECT work_date AS on_date FROM cleared WHERE work_date - 1 NOT IN (FROM cleared)
    UNION ALL
    SELECT work_date + 1 FROM cleared WHERE work_date + 1 NOT IN (FROM cleared)
)
"""
_PAIRS = """
SELECT DISTINCT device, user_id FROM {punches}
UNION
SELECT coalesce(device.name, day.device), day.user_id
FROM daily_attendance AS day LEFT JOIN devices AS device ON device.site = day.site
WHERE day.work_date IN (WITH {borders} SELECT unnest([on_date - 1, on_date]) FROM borders)
"""


def pairs(connection: Connection) -> str:
    """Query of the (device, user_id) with punches, or with a possible purged punch at a boundary."""
    return _PAIRS.format(punches=valid_punches(connection), borders=RETENTION_BOUNDARIES)


def freeze_boundaries(connection: Connection) -> None:
    """Freeze all boundaries at their current place, before the start of work dates in the settings changes."""
    is_cleared = "SELECT EXISTS (FROM work_dates WHERE raw_purged_at IS NOT NULL)"
    if not connection.execute(is_cleared).fetchall()[0][0]:
        return
    connection.execute(f"CREATE TEMP TABLE bordering AS {pairs(connection)}")
    placing = assign_work_dates(connection, punches="bordering")
    begins, join = str(placing.usual), ""
    if placing.by_shifts:
        begins = f"coalesce(begun.begins, {placing.usual})"
        join = """LEFT JOIN roster AS begun ON begun.device = pair.device AND begun.user_id = pair.user_id
            AND on_date BETWEEN begun.first AND begun.last"""
    connection.execute(
        f"""
        INSERT INTO frozen_work_date_starts
        WITH {RETENTION_BOUNDARIES}
        SELECT pair.device, pair.user_id, on_date, {begins} FROM bordering AS pair CROSS JOIN borders {join}
        WHERE NOT EXISTS (
            FROM frozen_work_date_starts AS fixed
            WHERE (fixed.device, fixed.user_id, fixed.on_date) = (pair.device, pair.user_id, borders.on_date)
        )
        """  # noqa: S608 (constant SQL)
    )
    connection.execute("DROP TABLE bordering")
