"""Details of sites for the web admin: presence today and punches per hour, from the punches read so far. Attendance
days are in `daily_attendance`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

import pyarrow as pa

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.work_dates.assignment import stored_workday_start, valid_punches

WEEKS = 8  # before the date, for the usual number, as on the home page
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


@dataclass(frozen=True)
class HourOfSite:
    """Punches in an hour on the wall clock of the terminals. `usual`: median of the same weekday of the WEEKS before,
    over the dates with punches; None without any.
    """

    hour: int
    punches: int
    usual: float | None


def punches_per_hour(database: Database, site: str, day: date) -> list[HourOfSite]:
    """The 24 hours of a date at the terminals of a site."""
    dates = [day - timedelta(weeks=number) for number in range(WEEKS + 1)]
    with database.read("punches per hour") as connection:
        punches = valid_punches(connection)
        rows = connection.execute(
            " UNION ALL ".join(_HOURS.format(punches=punches, day=one) for one in dates), {"site": site}
        ).fetchall()
    counts = {(found, hour): punches for found, hour, punches in rows}
    weeks = {found for found, _ in counts} - {day}
    return [
        HourOfSite(
            hour, counts.get((day, hour), 0), median(counts.get((one, hour), 0) for one in weeks) if weeks else None
        )
        for hour in range(24)
    ]


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
# One range of the stored column per date, so that DuckDB skips the row groups of all other dates.
_HOURS = """
SELECT DATE '{day}', hour(punched_at_local) AS hour, count(*) FROM {punches}
WHERE punched_at_local >= DATE '{day}' AND punched_at_local < DATE '{day}' + 1
  AND device IN (SELECT name FROM devices WHERE site = $site) GROUP BY hour
"""
