"""Attendance days that another system delivered before: the CRM is not sent an equal record again.

The CRM is known to have the record of `earlier_deliveries` until this store sends one for the same user and date. So a
due delivery with the same clock-in and clock-out becomes `delivered` without a request; one that differs stays due, as
an update. Outlier flags do not count: they follow the rules of each system.
"""

from __future__ import annotations

from functools import cache

from zk_pipeline.data_libraries import pa
from zk_pipeline.store.engine.database import Connection

EARLIER_DELIVERIES = cache(
    lambda: pa.schema(
        {
            "source": pa.string(),
            "device": pa.string(),
            "user_id": pa.string(),
            "work_date": pa.date32(),
            "clock_in": pa.timestamp("us", "UTC"),
            "clock_out": pa.timestamp("us", "UTC"),
            "delivered_at": pa.timestamp("us", "UTC"),
        }
    )
)
_KEY = "(source, device, user_id, work_date)"


def record_earlier_deliveries(connection: Connection, deliveries: pa.Table) -> int:
    """Store the deliveries, of EARLIER_DELIVERIES, in place of those of the same days; returns how many are new or
    changed.
    """
    connection.register("given_deliveries", deliveries)
    connection.execute("CREATE TEMP TABLE changed_deliveries AS FROM given_deliveries EXCEPT FROM earlier_deliveries")
    connection.unregister("given_deliveries")
    connection.execute(
        f"DELETE FROM earlier_deliveries WHERE {_KEY} IN (SELECT {_KEY} FROM changed_deliveries)"  # noqa: S608
    )
    connection.execute("INSERT INTO earlier_deliveries BY NAME FROM changed_deliveries")
    (changed,) = connection.execute("SELECT count(*) FROM changed_deliveries").fetchall()[0]
    connection.execute("DROP TABLE changed_deliveries")
    return int(changed)


def settle_earlier_deliveries(connection: Connection, dates: str | None = None) -> int:
    """Mark due deliveries as delivered if another system delivered them; returns how many.

    `dates`: query of their work dates; None: all.
    """
    if not connection.execute("SELECT EXISTS (FROM earlier_deliveries)").fetchall()[0][0]:
        return 0
    condition = "true" if dates is None else f"work_date IN ({dates})"
    row = connection.execute(_SETTLE.format(condition=condition)).fetchone()
    return int(row[0]) if row else 0


# Of several records for one user and date, the CRM keeps the one that it got last.
_SETTLE = """
UPDATE crm_deliveries SET state = 'delivered', delivered_at = known.delivered_at
FROM (
    WITH asked AS (
        FROM earlier_deliveries WHERE {condition}
    ),
    held AS (
        SELECT asked.*, coalesce(device.site, asked.device) AS site
        FROM asked LEFT JOIN devices AS device ON device.name = asked.device
    ),
    record AS (
        SELECT user_id, work_date, NULL AS site, arg_max(struct_pack(clock_in, clock_out, delivered_at),
            (delivered_at, device)) AS got
        FROM held GROUP BY user_id, work_date
        UNION ALL
        SELECT user_id, work_date, site, arg_max(struct_pack(clock_in, clock_out, delivered_at),
            (delivered_at, device)) AS got
        FROM held GROUP BY user_id, work_date, site
    ),
    own AS (FROM crm_deliveries WHERE (user_id, work_date) IN (SELECT (user_id, work_date) FROM asked))
    SELECT due.work_date, due.idempotency_key, record.got.delivered_at AS delivered_at
    FROM own AS due
    JOIN daily_attendance_revisions AS day USING (site, user_id, work_date, revision)
    JOIN record ON record.user_id = due.user_id AND record.work_date = due.work_date
        AND record.site IS NOT DISTINCT FROM CASE WHEN due.record_per = 'site' THEN due.site END
    WHERE due.state = 'pending' AND due.attempts = 0 AND due.sent_body IS NULL
      AND NOT EXISTS (
          FROM own AS sent
          WHERE sent.user_id = due.user_id AND sent.work_date = due.work_date
            AND (sent.site = due.site OR 'person' IN (sent.record_per, due.record_per))
            AND (sent.state = 'sending' OR sent.attempts > 0 OR sent.sent_body IS NOT NULL)
      )
      -- The contract's instants have whole seconds.
      AND epoch_us(record.got.clock_in) // 1000000 IS NOT DISTINCT FROM
          CASE WHEN due.merged IS NULL THEN epoch_us(day.clock_in)
               ELSE (due.merged ->> 'clock_in')::BIGINT END // 1000000
      AND epoch_us(record.got.clock_out) // 1000000 IS NOT DISTINCT FROM
          CASE WHEN due.merged IS NULL THEN epoch_us(day.clock_out)
               ELSE (due.merged ->> 'clock_out')::BIGINT END // 1000000
) AS known
WHERE crm_deliveries.work_date = known.work_date AND crm_deliveries.idempotency_key = known.idempotency_key
"""
