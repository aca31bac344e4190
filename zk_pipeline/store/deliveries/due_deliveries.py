"""Queries of due deliveries and their order. Claims and outcomes are in `outbox`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from zk_pipeline.crm.models import Delivery
from zk_pipeline.store.engine.database import Connection

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class SyncScope:
    """Deliveries selected for a sync; None means no restriction."""

    first: date | None = None
    last: date | None = None
    user_id: str | None = None
    states: tuple[str, ...] = ()  # in addition to due deliveries: `retry`, `failed`, `delivered`
    without: tuple[date, ...] = ()  # work dates to leave out


# Under the sync lock, a row in `sending` of another run belongs to a dead run and is due again. Dates with inconsistent
# rows (`blocked_dates`) wait.
_WANTED = "(state = 'pending' OR (run_id IS DISTINCT FROM $run_id AND (state = 'sending' OR state IN $states)))"

_DATES = f"""
SELECT work_date, count(*) FROM crm_deliveries
WHERE {_WANTED}
  AND ($first IS NULL OR work_date >= $first) AND ($last IS NULL OR work_date <= $last)
  AND ($user_id IS NULL OR user_id = $user_id) AND NOT list_contains($without::DATE[], work_date)
  AND work_date NOT IN (SELECT work_date FROM blocked_dates)
GROUP BY 1 ORDER BY 1
"""  # noqa: S608 (constant SQL)

# One delivery per user and date at a time, over all sites: first an unknown outcome (`sent_body`) under its own key, or
# the CRM might apply it after its successor; then by revision. A delivery in `retry` is sent again before a later one
# of its user and date, which waits for it; a dead letter is not.
_SAID = (
    '{"site": "VARCHAR", "device": "VARCHAR", "timezone": "VARCHAR", "clock_in": "BIGINT", "clock_out": "BIGINT", '
    '"is_outlier": "BOOLEAN", "outlier_reason": "VARCHAR"}'
)
_DUE = f"""
WITH
asked AS (SELECT unnest($dates::DATE[]) AS work_date EXCEPT SELECT work_date FROM blocked_dates),
row AS (
    SELECT
        *,
        {_WANTED} AS is_wanted,
        revision = CASE
            WHEN record_per = 'person' THEN max(revision) OVER (PARTITION BY work_date, user_id)
            ELSE greatest(
                max(revision) OVER (PARTITION BY work_date, user_id, site),
                max(revision) FILTER (record_per = 'person') OVER (PARTITION BY work_date, user_id)
            )
        END AS is_newest,
        bool_or(state = 'pending') OVER (PARTITION BY work_date, user_id) AS has_waiting
    FROM crm_deliveries
    WHERE work_date IN (SELECT work_date FROM asked) AND ($user_id IS NULL OR user_id = $user_id)
),
open AS (
    SELECT
        row.* REPLACE (
            is_wanted OR (state = 'retry' AND row.run_id IS DISTINCT FROM $run_id AND has_waiting) AS is_wanted
        ),
        struct_pack(site, device, timezone, clock_in := epoch_us(day.clock_in), clock_out := epoch_us(day.clock_out),
            is_outlier, outlier_reason) AS day
    FROM row JOIN daily_attendance_revisions AS day USING (site, user_id, work_date, revision)
    WHERE state = 'sending' OR (is_newest AND (is_wanted OR state = 'retry'))
       OR (sent_body IS NOT NULL AND state IN ('pending', 'retry'))
),
first AS (
    FROM open
    QUALIFY row_number() OVER (
        PARTITION BY work_date, user_id
        ORDER BY state <> 'sending', sent_body IS NULL, revision, site
    ) = 1
)
SELECT
    site, user_id, work_date, revision, idempotency_key, attempts, said.clock_in, said.clock_out, said.timezone,
    said.is_outlier, said.outlier_reason, said.device, device_ip, retry_rounds, sent_body, record_per, said.site
FROM (
    SELECT *, CASE WHEN merged IS NULL THEN day ELSE from_json(merged, '{_SAID}') END AS said FROM first WHERE is_wanted
)
ORDER BY work_date, site, user_id
LIMIT $limit
"""  # noqa: S608 (constant SQL)


def due_dates(connection: Connection, scope: SyncScope, *, run_id: str) -> dict[date, int]:
    """Due deliveries per work date, ascending. Scans the state column once."""
    values = _values(scope, run_id) | {"first": scope.first, "last": scope.last, "without": list(scope.without)}
    return dict(connection.execute(_DATES, values).fetchall())


def due_deliveries(
    connection: Connection, dates: list[date], scope: SyncScope, *, run_id: str, limit: int
) -> list[Delivery]:
    """Deliveries of `dates` to send now, at most `limit`, each with its content, by date, site and user.

    At most one per user and date; the next one is due after it.
    """
    values = _values(scope, run_id) | {"dates": dates, "limit": limit}
    return [_delivery(row) for row in connection.execute(_DUE, values).fetchall()]


def date_pages(dates: dict[date, int], size: int) -> Iterator[list[date]]:
    """Batches of successive dates with about `size` due deliveries each, so that a query reads only these."""
    page: list[date] = []
    held = 0
    for day, count in dates.items():
        page.append(day)
        held += count
        if held >= size:
            yield page
            page, held = [], 0
    if page:
        yield page


def _values(scope: SyncScope, run_id: str) -> dict[str, Any]:
    return {"run_id": run_id, "states": list(scope.states), "user_id": scope.user_id}


def _delivery(row: tuple[Any, ...]) -> Delivery:
    (site, user_id, work_date, revision, key, attempts, clock_in, clock_out, zone, is_outlier, reason, device, ip,
     retry_rounds, sent_body, record_per, clock_in_site) = row  # fmt: skip
    tz = ZoneInfo(zone)
    return Delivery(
        site=site,
        user_id=user_id,
        work_date=work_date,
        revision=revision,
        idempotency_key=key,
        attempts=attempts,
        clock_in=_instant(clock_in, tz),
        clock_out=_instant(clock_out, tz),
        is_outlier=is_outlier,
        outlier_reason=reason,
        device_name=device,
        device_ip=ip,
        retry_rounds=retry_rounds,
        sent_body=sent_body,
        record_per=record_per,
        clock_in_site=clock_in_site,
    )


def _instant(microseconds: int | None, tz: ZoneInfo) -> datetime | None:
    """Instant from a number: DuckDB creates a datetime more slowly than the rest of the row."""
    return None if microseconds is None else (_EPOCH + timedelta(microseconds=microseconds)).astimezone(tz)
