"""Punches per hour of one date at a site, with the usual number of the same weekday."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from zk_pipeline.store.engine.database import Database

USUAL_WEEKS = 4


@dataclass(frozen=True)
class HourOfSite:
    """Punches in an hour on the wall clock of the terminals. `usual`: mean of the same weekday of the USUAL_WEEKS
    before, over the weeks with punches; None without any.
    """

    hour: int
    punches: int
    usual: float | None


def punches_per_hour(database: Database, site: str, day: date) -> list[HourOfSite]:
    """The 24 hours of a date at the terminals of a site, without voided punches and those of an implausible clock."""
    dates = [day - timedelta(weeks=number) for number in range(USUAL_WEEKS + 1)]
    with database.read("punches per hour") as connection:
        rows = connection.execute(
            _HOURS, {"site": site, "dates": dates, "first": dates[-1], "until": day + timedelta(days=1)}
        ).fetchall()
    counts = {(found, hour): punches for found, hour, punches in rows}
    weeks = {found for found, _ in counts} - {day}
    return [
        HourOfSite(
            hour,
            counts.get((day, hour), 0),
            sum(counts.get((one, hour), 0) for one in weeks) / len(weeks) if weeks else None,
        )
        for hour in range(24)
    ]


_HOURS = """
SELECT punched_at_local::DATE AS day, hour(punched_at_local) AS hour, count(*)
FROM raw_punches
WHERE punched_at_local >= $first AND punched_at_local < $until
  AND punched_at_local::DATE IN (SELECT unnest($dates::DATE[]))
  AND device IN (SELECT name FROM devices WHERE site = $site)
  AND NOT is_clock_suspect AND voided_at IS NULL
GROUP BY ALL
"""
