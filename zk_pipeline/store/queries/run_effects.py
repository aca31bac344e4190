"""Effects of runs on the store: attendance days by work date, and attempts at the CRM by outcome."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Database

MAX_DATES = 60


@dataclass(frozen=True)
class DateEffect:
    """Revisions that runs created on one work date: `users` with a new revision, of which `retracted` have no day."""

    work_date: date
    users: int
    retracted: int


@dataclass(frozen=True)
class RunEffects:
    """`dates`: the newest MAX_DATES work dates with revisions, of `all_dates`; `attempts`: requests by outcome."""

    dates: list[DateEffect]
    all_dates: int
    attempts: dict[str, int]


def run_effects(database: Database, run_ids: Sequence[str], since: datetime) -> RunEffects:
    """Effects of these runs, the first of which started at `since` (instant, UTC)."""
    values = {"ids": list(run_ids), "since": since}
    with database.read("effects of a run") as connection:
        dates = connection.execute(_DATES, values).fetchall()
        attempts = connection.execute(_ATTEMPTS, values).fetchall()
    return RunEffects([DateEffect(*row) for row in dates[:MAX_DATES]], len(dates), dict(attempts))


_DATES = """
SELECT work_date, count(DISTINCT (site, user_id)), count(*) FILTER (is_retracted) FROM daily_attendance_revisions
WHERE created_at >= $since AND run_id IN (SELECT unnest($ids)) GROUP BY work_date ORDER BY work_date DESC
"""
_ATTEMPTS = """
SELECT outcome, count(*) FROM crm_attempts
WHERE (finished_at IS NULL OR finished_at >= $since) AND run_id IN (SELECT unnest($ids)) GROUP BY outcome ORDER BY 1
"""
