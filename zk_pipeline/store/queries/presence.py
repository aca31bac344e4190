"""Presence today by site, from the punches read so far. Attendance days are in `daily_attendance`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.work_dates.assignment import stored_workday_start, valid_punches

_LONGEST_TODAY = timedelta(hours=50)  # since today began in the earliest zone


@dataclass(frozen=True)
class SitePresence:
    """Presence at one site today. `people`: users with punches; `enrolled`: users in the latest user lists."""

    site: str
    today: date
    people: int
    enrolled: int
    last_punch: datetime | None  # of today


def presence(database: Database, now: datetime) -> list[SitePresence]:
    """Presence at the sites of enabled devices, by name. Today begins as in the settings, on each terminal's wall
    clock; the work-date boundaries of shifts are ignored.
    """
    with database.read("count present users") as connection:
        starts_at = stored_workday_start(connection)
        devices = connection.execute(
            "SELECT name, site, timezone FROM devices WHERE enabled AND removed_at IS NULL ORDER BY site, name"
        ).fetchall()
        if not devices:
            return []
        since_midnight = timedelta(hours=starts_at.hour, minutes=starts_at.minute)
        todays = [
            (now.astimezone(ZoneInfo(zone)).replace(tzinfo=None) - since_midnight).date() for _, _, zone in devices
        ]
        table = pa.table(
            {
                "device": pa.array([row[0] for row in devices], pa.string()),
                "site": pa.array([row[1] for row in devices], pa.string()),
                "today": pa.array(todays, pa.date32()),
            }
        )
        connection.register("todays", table)
        rows = connection.execute(
            _PRESENCE.format(punches=valid_punches(connection)),
            {"since": now - _LONGEST_TODAY, "starts": int(since_midnight.total_seconds() // 60)},
        ).fetchall()
        connection.unregister("todays")
    return [SitePresence(*row) for row in rows]


_PRESENCE = """
WITH seen AS (
    SELECT todays.site, count(DISTINCT punch.user_id) AS people, max(punch.punched_at) AS last_punch
    FROM {punches} AS punch JOIN todays ON todays.device = punch.device
    WHERE punch.punched_at >= $since AND CAST(punch.punched_at_local - to_minutes($starts) AS DATE) = todays.today
    GROUP BY todays.site
),
enrolled AS (
    SELECT todays.site, count(DISTINCT person.user_id) AS enrolled
    FROM device_users AS person JOIN todays ON todays.device = person.device
    GROUP BY todays.site
),
sites AS (SELECT site, max(today) AS today FROM todays GROUP BY site)
SELECT sites.site, sites.today, coalesce(seen.people, 0), coalesce(enrolled.enrolled, 0), seen.last_punch
FROM sites
LEFT JOIN seen ON seen.site = sites.site
LEFT JOIN enrolled ON enrolled.site = sites.site
ORDER BY sites.site
"""
