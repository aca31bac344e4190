"""Guard against changes of days whose punches are missing in the store.

Punches are append-only. A day whose clock-in, clock-out or device is no longer stored would change because rows were
lost (by a restore or manually), not because of the employee.
"""

from __future__ import annotations

import shlex

from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.errors import PunchesLost


def check_lost_punches(connection: Connection, stored: str) -> None:
    """Check the days of the query `stored` that the temporary table `staged` would change or retract.

    Raises PunchesLost.
    """
    lost = connection.execute(_LOST.format(stored=stored)).fetchall()
    if not lost:
        return
    work_date, user_id, device, is_known = lost[0]
    name = shlex.quote(device)
    first = "" if is_known else f"register its terminal with `zk-pipeline device add {name} IP`, "
    raise PunchesLost(
        f"{work_date}: {len(lost)} days would change because punches are missing in the store (such as that of "
        f"{user_id} at {device}): {first}read its log with `zk-pipeline poll {name} --full`, then process the date"
    )


# Excluded: days of users with corrected punches (by revoked corrections too), at any site, because their times differ
# from the recorded ones; and days next to a purged date, whose punches may have been purged with it if work dates
# started at another time then.
_LOST = """
WITH changing AS (
    SELECT day.* FROM ({stored}) AS day
    LEFT JOIN staged USING (site, user_id, work_date)
    WHERE staged.payload_hash IS DISTINCT FROM day.payload_hash
),
next_to_purged AS (
    SELECT unnest([work_date - 1, work_date + 1]) AS work_date FROM work_dates WHERE raw_purged_at IS NOT NULL
),
bounds AS (
    SELECT work_date, user_id, device, unnest([clock_in_local, clock_out_local]) AS punched_at_local
    FROM changing
    WHERE work_date NOT IN (FROM next_to_purged)
),
span AS (SELECT min(punched_at_local) AS first, max(punched_at_local) AS last FROM bounds),
held AS (
    SELECT user_id, punched_at_local FROM raw_punches
    WHERE punched_at_local BETWEEN (SELECT first FROM span) AND (SELECT last FROM span)
    UNION ALL SELECT user_id, punched_at_local FROM manual_punches
    WHERE decision IN ('approved', 'withdrawn')
),
missing AS (
    SELECT work_date, user_id, device
    FROM bounds ANTI JOIN held USING (user_id, punched_at_local) WHERE punched_at_local IS NOT NULL
),
corrected AS (
    SELECT DISTINCT user_id FROM raw_punches
    WHERE device IN (SELECT device FROM clock_corrections) AND user_id IN (SELECT user_id FROM missing)
)
SELECT work_date, user_id, device, min(is_known) FROM (
    SELECT work_date, user_id, device, true AS is_known FROM missing WHERE user_id NOT IN (FROM corrected)
    UNION ALL
    SELECT work_date, user_id, device, false FROM changing WHERE device NOT IN (SELECT name FROM devices)
)
GROUP BY ALL ORDER BY work_date, 4, user_id
"""
