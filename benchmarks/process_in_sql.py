"""Floor of processing: DuckDB SQL alone, for a store without days and for the default rules only.

The result is that of `process_dates`, without comparison with earlier rows: no revisions, no retractions.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.crm.payload import KEY_NAMESPACE
from zk_pipeline.store.store import Store

CONTENT = """site, device, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, timezone,
    punch_count, worked_minutes, is_incomplete, is_outlier, outlier_codes, outlier_reason"""


def make_days(store: Store, dates: list[date], rules: WorkRules, zones: list[str]) -> None:
    """Compute all days of `dates` in one transaction, by the rules of `WorkRules()`, for work dates from midnight."""
    days = pd.Series(pd.to_datetime(dates))
    due = pd.concat([rules.shift_instants(days, zone).assign(work_date=days, timezone=zone) for zone in zones])
    now = datetime.now(UTC)
    with store.database.write("days by SQL alone") as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("due", due)
        connection.execute(_WALL)
        connection.execute(_JUDGE, {"now": now})
        connection.execute(
            f"""
            INSERT INTO daily_attendance (id, {CONTENT}, revision, payload_hash, run_id, created_at, updated_at)
            SELECT id, {CONTENT}, 1, payload_hash, 'sql', $now, $now FROM judged
            """,
            {"now": now},
        )
        connection.execute(
            f"""
            INSERT INTO daily_attendance_revisions
                (id, {CONTENT}, is_retracted, revision, payload_hash, run_id, created_at)
            SELECT id, {CONTENT}, false, 1, payload_hash, 'sql', $now FROM judged
            """,
            {"now": now},
        )
        connection.execute(_ENQUEUE, {"now": now, "namespace": KEY_NAMESPACE.hex})
        connection.execute("UPDATE work_dates SET processed_seq = latest_punch_seq, processed_at = $now", {"now": now})


# A time within the minute of its bound has seconds.
_WALL = """
CREATE TEMP MACRO wall(local, bound) AS
    left(strftime(local, '%H:%M:%S'), CASE WHEN strftime(local, '%H:%M') = bound THEN 8 ELSE 5 END)
"""

_JUDGE = """
CREATE TEMP TABLE judged AS
WITH summed AS (
    SELECT
        device.site, user_id, punched_at_local::DATE AS work_date,
        arg_min(device.name, punched_at) AS device,
        arg_min(device.timezone, punched_at) AS timezone,
        min(punched_at) AS clock_in,
        max(punched_at) AS last_punch,
        arg_min(punched_at_local, punched_at) AS clock_in_local,
        arg_max(punched_at_local, punched_at) AS last_local,
        list(epoch_us(punched_at)) AS moments
    FROM raw_punches JOIN devices AS device ON device.name = raw_punches.device
    GROUP BY ALL
),
counted AS (
    SELECT * EXCLUDE (moments), list_sort(moments) AS sorted,
        len(list_filter(sorted, lambda moment, nth: nth = 1 OR moment - sorted[nth - 1] >= 60000000))::INTEGER
            AS punch_count
    FROM summed
),
flagged AS (
    SELECT counted.* EXCLUDE (sorted), punch_count = 1 AS is_incomplete,
        CASE WHEN punch_count > 1 THEN last_punch END AS clock_out,
        CASE WHEN punch_count > 1 THEN last_local END AS clock_out_local,
        clock_in < starts - INTERVAL 2 HOUR AS too_early_in,
        clock_in > starts + INTERVAL 2 HOUR AS too_late_in,
        coalesce(clock_out < ends - INTERVAL 2 HOUR, false) AND over <= $now AS too_early_out,
        coalesce(clock_out > ends + INTERVAL 3 HOUR, false) AS too_late_out,
        punch_count = 1 AND over <= $now AS missing_out
    FROM counted JOIN due ON due.work_date = counted.work_date AND due.timezone = counted.timezone
),
described AS (
    SELECT * EXCLUDE (last_punch, last_local),
        floor(epoch(clock_out - clock_in) / 60)::INTEGER AS worked_minutes,
        too_early_in OR too_late_in OR too_early_out OR too_late_out OR missing_out AS is_outlier,
        list_filter([
            CASE WHEN too_early_in THEN 'CLOCK_IN_TOO_EARLY' END, CASE WHEN too_late_in THEN 'CLOCK_IN_TOO_LATE' END,
            CASE WHEN too_early_out THEN 'CLOCK_OUT_TOO_EARLY' END,
            CASE WHEN too_late_out THEN 'CLOCK_OUT_TOO_LATE' END,
            CASE WHEN missing_out THEN 'MISSING_CLOCK_OUT' END
        ], lambda code: code IS NOT NULL) AS outlier_codes,
        CASE WHEN is_outlier THEN concat_ws('; ',
            CASE WHEN too_early_in THEN 'Clock-in ' || wall(clock_in_local, '07:00')
                || ', more than 2 h before 09:00' END,
            CASE WHEN too_late_in THEN 'Clock-in ' || wall(clock_in_local, '11:00')
                || ', more than 2 h after 09:00' END,
            CASE WHEN too_early_out THEN 'Clock-out ' || wall(clock_out_local, '16:00')
                || ', more than 2 h before 18:00' END,
            CASE WHEN too_late_out THEN 'Clock-out ' || wall(clock_out_local, '21:00')
                || ', more than 3 h after 18:00' END,
            CASE WHEN missing_out THEN 'No clock-out after the punch at ' || strftime(clock_in_local, '%H:%M') END
        ) ELSE '' END AS outlier_reason
    FROM flagged
)
SELECT described.*, row_number() OVER () AS id, sha256(json_array(
    site, device, user_id, work_date::VARCHAR, epoch_us(clock_in), epoch_us(clock_out), epoch_us(clock_in_local),
    epoch_us(clock_out_local), timezone, punch_count, worked_minutes, outlier_codes, outlier_reason
)::VARCHAR) AS payload_hash
FROM described
"""

# Names of sites and users in the benchmark need no JSON escaping.
_ENQUEUE = """
INSERT INTO crm_deliveries (site, user_id, work_date, revision, device_ip, idempotency_key, state, attempts,
                            retry_rounds, created_at)
WITH hashed AS (
    SELECT *, sha1(from_hex($namespace) || encode(concat(
        '["', site, '", "', user_id, '", "', work_date, '", 1, "', payload_hash, '"]'
    ))) AS hash FROM judged
)
SELECT hashed.site, user_id, work_date, 1, device.ip_address, concat(
        substr(hash, 1, 8), '-', substr(hash, 9, 4), '-5', substr(hash, 14, 3), '-',
        substr('89ab', ('0x' || substr(hash, 17, 1))::INTEGER % 4 + 1, 1), substr(hash, 18, 3), '-',
        substr(hash, 21, 12)
    ), 'pending', 0, 0, $now
FROM hashed JOIN devices AS device ON device.name = hashed.device
"""
