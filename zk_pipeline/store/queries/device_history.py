"""Polls and uploads of one device by date, for charts: drift, fill level, punches, failures, lag."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.queries.metrics import IS_POLL

DAYS = 90


@dataclass(frozen=True)
class DeviceDate:
    """One date in the device's zone. `polls` includes the `failed` ones; `drift_seconds`: the clock drift of a poll
    that is largest in magnitude, negative for a slow clock; `records`: the highest counter of its log; `punches`: new
    punches of polls, live capture and uploads; `lag_seconds`: the longest time from a punch to its upload. None without
    a measurement.
    """

    date: date
    polls: int = 0
    failed: int = 0
    punches: int = 0
    drift_seconds: float | None = None
    records: int | None = None
    uploads: int = 0
    lag_seconds: float | None = None


def device_history(database: Database, name: str, timezone: str, today: date) -> list[DeviceDate]:
    """The DAYS dates until `today`, oldest first, those without polls and uploads included."""
    first = today - timedelta(days=DAYS - 1)
    values = {"name": name, "zone": timezone, "first": first}
    with database.read("history of a device") as connection:
        rows = connection.execute(_HISTORY, values).fetchall()
    known = {row[0]: DeviceDate(*row) for row in rows}
    dates = [first + timedelta(days=number) for number in range(DAYS)]
    return [known.get(one) or DeviceDate(one) for one in dates]


_HISTORY = f"""
WITH polled AS (
    SELECT
        (finished_at AT TIME ZONE $zone)::DATE AS day,
        count(*) FILTER ({IS_POLL}) AS polls,
        count(*) FILTER (status = 'failed' AND {IS_POLL}) AS failed,
        coalesce(sum("new") FILTER (coalesce(mode, '') <> 'file'), 0) AS punches,
        arg_max(clock_drift_seconds, abs(clock_drift_seconds)) AS drift,
        max(record_count_after) FILTER ({IS_POLL}) AS records
    FROM device_polls
    WHERE device = $name AND finished_at >= $first::DATE - INTERVAL 1 DAY GROUP BY day
),
pushed AS (
    SELECT (received_at AT TIME ZONE $zone)::DATE AS day, count(*) AS uploads, sum(stored) AS punches,
           max(lag_seconds) AS lag
    FROM push_batches
    WHERE device = $name AND received_at >= $first::DATE - INTERVAL 1 DAY GROUP BY day
)
SELECT day, coalesce(polls, 0), coalesce(failed, 0),
       (coalesce(polled.punches, 0) + coalesce(pushed.punches, 0))::BIGINT, drift, records, coalesce(uploads, 0), lag
FROM polled FULL JOIN pushed USING (day) WHERE day >= $first ORDER BY day
"""  # noqa: S608 (constant SQL)
