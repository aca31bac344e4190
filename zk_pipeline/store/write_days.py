"""Turning staged days into revisions: what changed, what is new, what vanished, and what the CRM must be told.

Works on the temporary tables `staged` (days with their content hash) and `staged_dates`, inside the caller's
transaction; leaves `revised`, one row per revision made.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from zk_pipeline.store.database import Connection
from zk_pipeline.store.keys import key_revised

_CONTENT = """site, device, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, timezone,
    punch_count, worked_minutes, is_incomplete, is_outlier, outlier_codes, outlier_reason, shift, shift_start,
    shift_end, day_off, worked_by"""

_REVISED = """
CREATE TEMP TABLE revised AS
WITH held AS (
    SELECT * FROM daily_attendance WHERE work_date IN (SELECT work_date FROM staged_dates)
),
past AS (
    SELECT site, user_id, work_date, any_value(id) AS id, max(revision) AS revision, min(created_at) AS created_at
    FROM daily_attendance_history
    WHERE work_date IN (SELECT work_date FROM staged_dates)
    GROUP BY ALL
),
-- The CRM's record has no site: what it was told of this person and date elsewhere, and then told to forget.
elsewhere AS (
    SELECT user_id, work_date, max(told.revision) AS revision
    FROM (
        SELECT site, user_id, work_date, max(revision) AS revision FROM daily_attendance_history
        WHERE work_date IN (SELECT work_date FROM staged_dates)
        GROUP BY ALL
        HAVING arg_max(is_retracted, revision)
        UNION ALL
        SELECT site, user_id, work_date, past.revision + 1
        FROM held ANTI JOIN staged USING (site, user_id, work_date) JOIN past USING (site, user_id, work_date)
    ) AS told
    GROUP BY ALL
),
current AS (
    SELECT staged.*, false AS is_retracted, held.id IS NULL AS is_added
    FROM staged LEFT JOIN held USING (site, user_id, work_date)
    WHERE held.payload_hash IS DISTINCT FROM staged.payload_hash
),
vanished AS (
    SELECT
        site, device, user_id, work_date, NULL AS clock_in, NULL AS clock_out, NULL AS clock_in_local,
        NULL AS clock_out_local, timezone, 0 AS punch_count, NULL AS worked_minutes, true AS is_incomplete,
        false AS is_outlier, []::VARCHAR[] AS outlier_codes, '' AS outlier_reason, shift, shift_start, shift_end,
        NULL AS day_off, NULL AS worked_by, 'retracted' AS payload_hash,
        true AS is_retracted, false AS is_added
    FROM held ANTI JOIN staged USING (site, user_id, work_date)
),
changes AS (FROM current UNION ALL BY NAME FROM vanished),
floor AS ( -- set where a store was restored and nobody knows which revisions the CRM has seen since (`restoring`)
    SELECT CAST(max(value) FILTER (name = 'revision_floor') AS INTEGER) AS revision,
           CAST(max(value) FILTER (name = 'revision_floor_until') AS DATE) AS until
    FROM store_settings WHERE name IN ('revision_floor', 'revision_floor_until')
)
SELECT
    changes.*,
    greatest(
        coalesce(past.revision, 0),
        CASE WHEN is_added THEN coalesce(elsewhere.revision, 0) ELSE 0 END,
        CASE WHEN work_date <= floor.until THEN floor.revision ELSE 0 END
    ) + 1 AS revision,
    coalesce(past.created_at, $now) AS first_created_at,
    coalesce(
        past.id,
        (SELECT coalesce(max(id), 0) FROM daily_attendance_history)
            + row_number() OVER (PARTITION BY past.id IS NULL ORDER BY work_date, site, user_id)
    ) AS id
FROM changes
LEFT JOIN past USING (site, user_id, work_date)
LEFT JOIN elsewhere USING (user_id, work_date)
CROSS JOIN floor
ORDER BY work_date, site, user_id
"""


def revise(connection: Connection, *, now: datetime, run_id: str | None) -> None:
    """Write the revisions: current rows, history, and a pending delivery each.

    Older deliveries are superseded, unless they were sent and nobody knows with what outcome: these go first.
    """
    values = {"now": now, "run_id": run_id}
    connection.execute(_REVISED, {"now": now})
    connection.execute(
        """
        DELETE FROM daily_attendance
        WHERE work_date IN (SELECT work_date FROM staged_dates)
          AND (site, user_id, work_date) IN (SELECT (site, user_id, work_date) FROM revised)
        """
    )
    connection.execute(
        f"""
        INSERT INTO daily_attendance (id, {_CONTENT}, revision, payload_hash, run_id, created_at, updated_at)
        SELECT id, {_CONTENT}, revision, payload_hash, $run_id, first_created_at, $now
        FROM revised WHERE NOT is_retracted
        """,  # noqa: S608 (column names of ours)
        values,
    )
    connection.execute(
        f"""
        INSERT INTO daily_attendance_history (id, {_CONTENT}, is_retracted, revision, payload_hash, run_id, created_at)
        SELECT id, {_CONTENT}, is_retracted, revision, payload_hash, $run_id, $now
        FROM revised
        """,  # noqa: S608 (column names of ours)
        values,
    )
    _enqueue(connection, now)


def _enqueue(connection: Connection, now: datetime) -> None:
    connection.execute(
        """
        UPDATE crm_deliveries SET state = 'superseded', sent_body = NULL
        WHERE (state = 'failed' OR (state IN ('pending', 'retry') AND sent_body IS NULL))
          AND work_date IN (SELECT work_date FROM staged_dates)
          AND (site, user_id, work_date) IN (SELECT (site, user_id, work_date) FROM revised)
        """
    )
    key_revised(connection)
    connection.execute(
        """
        INSERT INTO crm_deliveries (site, user_id, work_date, revision, device_ip, idempotency_key, state, attempts,
                                    rounds, created_at)
        SELECT keyed.site, user_id, work_date, revision, coalesce(device.ip_address, ''), idempotency_key, 'pending',
               0, 0, $now
        FROM keyed LEFT JOIN devices AS device ON device.name = keyed.device
        """,
        {"now": now},
    )
    connection.execute("DROP TABLE keyed")


def count_changes(connection: Connection) -> list[tuple[Any, ...]]:
    """Per staged work date, in order: work_date, rows, added, changed, unchanged, retracted."""
    return connection.execute(
        """
        SELECT
            work_date,
            coalesce(kept.rows, 0) AS rows,
            coalesce(made.added, 0) AS added,
            coalesce(made.changed, 0) AS changed,
            coalesce(kept.rows, 0) - coalesce(made.added, 0) - coalesce(made.changed, 0) AS unchanged,
            coalesce(made.retracted, 0) AS retracted
        FROM staged_dates
        LEFT JOIN (SELECT work_date, count(*) AS rows FROM staged GROUP BY 1) AS kept USING (work_date)
        LEFT JOIN (
            SELECT
                work_date,
                count(*) FILTER (is_added) AS added,
                count(*) FILTER (NOT is_added AND NOT is_retracted) AS changed,
                count(*) FILTER (is_retracted) AS retracted
            FROM revised GROUP BY 1
        ) AS made USING (work_date)
        ORDER BY work_date
        """
    ).fetchall()


def stage(connection: Connection) -> None:
    """Leave aside the dates that another run built from newer punches; give each row the hash of its content."""
    connection.execute(
        """
        CREATE TEMP TABLE staged_dates AS
        SELECT incoming.*
        FROM incoming_dates AS incoming
        LEFT JOIN work_dates AS known USING (work_date)
        WHERE coalesce(known.built_seq, 0) <= incoming.seq AND known.raw_deleted_at IS NULL
        """
    )
    connection.execute(
        """
        CREATE TEMP TABLE staged AS
        SELECT
            day.* REPLACE (day.work_date::DATE AS work_date),
            sha256(concat(json_array(
                site, device, user_id, day.work_date::DATE::VARCHAR, epoch_us(clock_in), epoch_us(clock_out),
                epoch_us(clock_in_local), epoch_us(clock_out_local), timezone, punch_count, worked_minutes,
                outlier_codes, outlier_reason
            ), CASE WHEN coalesce(shift, day_off, worked_by) IS NOT NULL
                THEN json_array(shift, shift_start, shift_end, day_off, worked_by) END)) AS payload_hash
        FROM incoming_days AS day
        WHERE day.work_date::DATE IN (SELECT work_date FROM staged_dates)
        """
    )


def mark_built(connection: Connection, now: datetime) -> None:
    connection.execute(
        """
        MERGE INTO work_dates AS known
        USING staged_dates AS built ON known.work_date = built.work_date
        WHEN MATCHED THEN UPDATE SET built_seq = built.seq, built_at = $now, recheck_after = built.recheck_after
        WHEN NOT MATCHED THEN INSERT (work_date, punched_seq, built_seq, built_at) VALUES (built.work_date, 0, 0, $now)
        """,
        {"now": now},
    )
