"""Context of one attendance day: user, CRM deliveries and attempts, pending work.

Its punches and revisions are in `explanations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date, datetime

from zk_pipeline.store.engine.database import Connection, Database
from zk_pipeline.store.work_dates.sequence import IS_STALE

_MOST_ATTEMPTS = 200


@dataclass(frozen=True)
class DeliveryDetails:
    """Delivery of one revision of the day, or of the user and date over all sites; `state` as in `crm_deliveries`."""

    revision: int
    state: str
    attempts: int
    due_since: datetime
    last_attempt_at: datetime | None
    delivered_at: datetime | None
    last_status: int | None
    last_error: str | None
    idempotency_key: str
    run_id: str | None


@dataclass(frozen=True)
class Attempt:
    """One request, or an abandoned attempt that may not have been sent (see `outcome`)."""

    revision: int
    started_at: datetime | None
    finished_at: datetime | None
    status: int | None
    outcome: str
    error: str | None
    run_id: str | None


@dataclass(frozen=True)
class WorkDateState:
    """State of the work date. `is_stale`: it has newer punches or rules, at the site of the day; `blocked_reason`: why
    it is kept from the CRM.
    """

    processed_at: datetime | None
    is_stale: bool
    reprocess_after: datetime | None
    raw_purged_at: datetime | None
    blocked_reason: str | None


@dataclass(frozen=True)
class DayDetails:
    """`absence`: the shift that expected the user, if there is no day; `timezone`: that of the day or site."""

    day_id: int | None  # None if there is no day
    name: str
    timezone: str | None
    sites: list[str]  # other sites with a day of this date
    earlier: date | None
    later: date | None
    holiday: str | None
    absence: str | None
    work_date: WorkDateState | None
    deliveries: list[DeliveryDetails]
    attempts: list[Attempt]  # the latest, in order
    poll_runs: dict[int, str]


@dataclass(frozen=True)
class DayDetailsStore:
    database: Database
    clock: Callable[[], datetime]

    def read(self, site: str, user_id: str, work_date: date, *, polls: Iterable[int] = ()) -> DayDetails:
        """All details in one read; `polls`: ids whose run ids are returned."""
        values = {"site": site, "user": user_id, "date": work_date}
        with self.database.read("day details") as connection:
            row = connection.execute(_AROUND, values).fetchone()
            assert row is not None
            name, zone, sites, day_id, earlier, later, holiday = row
            state = connection.execute(_WORK_DATE, {"date": work_date, "site": site, "now": self.clock()}).fetchone()
            deliveries = connection.execute(_DELIVERIES, values).fetchall()
            attempts = connection.execute(_ATTEMPTS, values).fetchall()
            runs = connection.execute(
                "SELECT id, run_id FROM device_polls WHERE run_id IS NOT NULL AND id IN (SELECT unnest($ids))",
                {"ids": sorted(set(polls))},
            ).fetchall()
            absence = None if day_id is not None else _absence(connection, values)
        return DayDetails(
            day_id=day_id,
            name=name,
            timezone=zone,
            sites=sites,
            earlier=earlier,
            later=later,
            holiday=holiday,
            absence=absence,
            work_date=WorkDateState(*state) if state else None,
            deliveries=[DeliveryDetails(*one) for one in deliveries],
            attempts=[Attempt(*one) for one in reversed(attempts)],
            poll_runs=dict(runs),
        )


def _absence(connection: Connection, values: dict[str, object]) -> str | None:
    found = connection.execute(
        "SELECT shift FROM absences WHERE site = $site AND user_id = $user AND work_date = $date", values
    ).fetchone()
    return str(found[0]) if found else None


_AROUND = """
WITH
mine AS (SELECT * FROM daily_attendance WHERE user_id = $user),
past AS (SELECT site, timezone, created_at FROM daily_attendance_revisions WHERE user_id = $user AND work_date = $date)
SELECT
    (SELECT coalesce(arg_max(enrolled.name, (enrolled.updated_at, enrolled.device)), '')
     FROM device_users AS enrolled LEFT JOIN devices AS device ON device.name = enrolled.device
     WHERE enrolled.user_id = $user AND enrolled.name <> '' AND coalesce(device.site, enrolled.device) = $site),
    coalesce(
        (SELECT arg_max(timezone, created_at) FROM past WHERE site = $site),
        (SELECT min(timezone) FROM devices WHERE site = $site)
    ),
    (SELECT coalesce(list_sort(list_distinct(list(site))), []) FROM past WHERE site <> $site),
    (SELECT id FROM mine WHERE site = $site AND work_date = $date),
    (SELECT max(work_date) FROM mine WHERE site = $site AND work_date < $date),
    (SELECT min(work_date) FROM mine WHERE site = $site AND work_date > $date),
    (SELECT arg_min(name, site IS NULL) FROM holidays WHERE holiday_date = $date AND coalesce(site, $site) = $site)
"""

_WORK_DATE = f"""
SELECT processed_at, {IS_STALE}, reprocess_after, raw_purged_at, blocked.reason
FROM work_dates LEFT JOIN blocked_dates AS blocked USING (work_date)
WHERE work_date = $date
"""  # noqa: S608 (constant SQL)

_DELIVERIES = """
SELECT revision, state, attempts, created_at, last_attempt_at, delivered_at, last_status, last_error, idempotency_key,
       run_id
FROM crm_deliveries
WHERE user_id = $user AND work_date = $date AND (site = $site OR record_per = 'person')
ORDER BY revision, site = $site
"""

_ATTEMPTS = f"""
SELECT revision, started_at, finished_at, status, outcome, error, run_id
FROM crm_attempts
WHERE user_id = $user AND work_date = $date AND (site = $site OR idempotency_key IN (
    SELECT idempotency_key FROM crm_deliveries
    WHERE user_id = $user AND work_date = $date AND record_per = 'person'
))
ORDER BY coalesce(finished_at, started_at) DESC NULLS LAST, revision DESC
LIMIT {_MOST_ATTEMPTS}
"""  # noqa: S608 (a constant)
