"""Punches per hour of one date at a site, with the usual number of the same weekday."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median

from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.work_dates.assignment import valid_punches

WEEKS = 8  # before the date, for the usual number, as on the home page


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


# One range of the stored column per date, so that DuckDB skips the row groups of all other dates.
_HOURS = """
SELECT DATE '{day}', hour(punched_at_local) AS hour, count(*) FROM {punches}
WHERE punched_at_local >= DATE '{day}' AND punched_at_local < DATE '{day}' + 1
  AND device IN (SELECT name FROM devices WHERE site = $site) GROUP BY hour
"""
