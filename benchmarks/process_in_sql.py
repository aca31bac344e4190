"""Floor of processing: DuckDB SQL alone, for a store without days, by the settings or by one shift for all users.

The result is that of `process_dates`, without comparison with earlier rows: no revisions, no retractions.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import pandas as pd

from zk_pipeline.attendance.rules import WorkRules
from zk_pipeline.attendance.shifts import Shift
from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.crm.payload import KEY_NAMESPACE
from zk_pipeline.store.store import Store

# All rules; `_WORKED_BY_RULES` and `_DUE` have them as SQL. Lunch is within the hours and not at night.
OFFICE = Shift(
    name="office",
    start=time(9),
    end=time(18),
    late_grace_minutes=5,
    half_day_below_minutes=240,
    breaks="12:00-13:00, 30 min after 6 h, 45 min after 9 h",
    overtime="after 8 h a day, after 40 h a week, after shift, at least 15 min, in steps of 15 min",
    night_hours="20:00-06:00",
    rounding="punches nearest 5 min",
)
CONTENT = """site, device, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, timezone,
    punch_count, worked_minutes, is_incomplete, is_outlier, outlier_codes, outlier_reason, shift, shift_start,
    shift_end, late_minutes, early_leave_minutes, attendance_status, judged_by, break_minutes, break_source,
    overtime_minutes, overtime_class, night_minutes, weekly_overtime_after_minutes"""


def make_days(store: Store, dates: list[date], rules: WorkRules, zones: list[str], shift: Shift | None = None) -> None:
    """Compute all days of `dates` in one transaction, by the rules of `WorkRules()` or OFFICE, for work dates from
    midnight.
    """
    days = pd.Series(pd.to_datetime(dates))
    due = pd.concat([_due(days, zone, rules) for zone in zones])
    now = datetime.now(UTC)
    worked = _WORKED if shift is None else _WORKED_BY_RULES
    with store.database.write("days by SQL alone") as connection:
        connection.execute("SET enable_progress_bar = false")
        connection.register("due", due)
        connection.execute(_MACROS)
        connection.execute(_JUDGE.format(worked=worked, grace=0 if shift is None else 5), {"now": now})
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


def _due(days: pd.Series[pd.Timestamp], zone: str, rules: WorkRules) -> pd.DataFrame:
    """Instants of the shift, of lunch and of the nights before and after it, for each work date in a zone."""
    hours = {"lunch_from": 12, "lunch_to": 13, "night_to": 6, "night_from": 20, "next_night_to": 30}
    instants = {
        name: to_instants((days + timedelta(hours=hour)).astype("datetime64[us]"), zone) for name, hour in hours.items()
    }
    return rules.shift_instants(days, zone).assign(work_date=days, timezone=zone, **instants)


# A time within the minute of its bound has seconds. `meets` is the common part of two spans.
_MACROS = """
CREATE TEMP MACRO wall(local, bound) AS
    left(strftime(local, '%H:%M:%S'), CASE WHEN strftime(local, '%H:%M') = bound THEN 8 ELSE 5 END);
CREATE TEMP MACRO meets(one_from, one_to, other_from, other_to) AS
    greatest(least(one_to, epoch_us(other_to)) - greatest(one_from, epoch_us(other_from)), 0);
CREATE TEMP MACRO minute(instant) AS epoch_us(instant) // 60000000 * 60000000;
"""

_WORKED = """
worked AS (
    SELECT *, (epoch_us(clock_out) - epoch_us(clock_in)) // 60000000 AS worked_minutes,
        NULL::VARCHAR AS shift, NULL::TIME AS shift_start, NULL::TIME AS shift_end,
        'present' AS attendance_status, '09:00-18:00 (settings)' AS judged_by,
        worked_minutes * 0 AS break_minutes, NULL::VARCHAR AS break_source, worked_minutes * 0 AS overtime_minutes,
        NULL::VARCHAR AS overtime_class, worked_minutes * 0 AS night_minutes,
        NULL::INTEGER AS weekly_overtime_after_minutes
    FROM flagged
)
"""

_WORKED_BY_RULES = """
rounded AS (
    SELECT *, epoch_us(clock_in_local) - epoch_us(clock_in) AS shifted,
        (epoch_us(clock_in) + shifted + 150000000) // 300000000 * 300000000 - shifted AS rounded_in,
        (epoch_us(clock_out) + shifted + 150000000) // 300000000 * 300000000 - shifted AS rounded_out,
        rounded_out - rounded_in AS whole,
        meets(rounded_in, rounded_out, lunch_from, lunch_to) AS lunch,
        whole - lunch AS net,
        least(net, greatest(0, CASE WHEN net > 9 * 3600000000 THEN 45 WHEN net > 6 * 3600000000 THEN 30 ELSE 0 END
            * 60000000 - lunch)) AS automatic
    FROM flagged
),
counted_minutes AS (
    SELECT *, (net - automatic) // 60000000 AS worked_minutes, whole // 60000000 - worked_minutes AS break_minutes,
        CASE WHEN greatest(0, rounded_out - greatest(rounded_in, epoch_us(ends))) >= 15 * 60000000
            THEN greatest(0, rounded_out - greatest(rounded_in, epoch_us(ends))) // 60000000 ELSE 0 END AS outside,
        CASE WHEN worked_minutes - 480 >= 15 THEN worked_minutes - 480 ELSE 0 END AS excess,
        least(greatest(outside, excess) // 15 * 15, worked_minutes) + worked_minutes * 0 AS overtime_minutes,
        least((meets(rounded_in, rounded_out, starts - INTERVAL 2 DAY, night_to)
            + meets(rounded_in, rounded_out, night_from, next_night_to)) // 60000000, worked_minutes)
            + worked_minutes * 0 AS night_minutes
    FROM rounded
),
worked AS (
    SELECT *, 'office' AS shift, TIME '09:00' AS shift_start, TIME '18:00' AS shift_end,
        CASE WHEN worked_minutes < 240 THEN 'half_day' ELSE 'present' END AS attendance_status,
        '09:00-18:00 (shift office)' AS judged_by,
        CASE WHEN break_minutes > 0 THEN nullif(concat_ws(', ',
            CASE WHEN (whole - lunch) // 60000000 < whole // 60000000 THEN 'windows' END,
            CASE WHEN automatic > 0 THEN 'automatic' END), '') END AS break_source,
        CASE WHEN overtime_minutes > 0 THEN 'weekday' END AS overtime_class,
        2400 AS weekly_overtime_after_minutes
    FROM counted_minutes
)
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
    SELECT counted.* EXCLUDE (sorted), due.* EXCLUDE (work_date, timezone), punch_count = 1 AS is_incomplete,
        CASE WHEN punch_count > 1 THEN last_punch END AS clock_out,
        CASE WHEN punch_count > 1 THEN last_local END AS clock_out_local,
        clock_in < starts - INTERVAL 2 HOUR AS too_early_in,
        clock_in > starts + INTERVAL 2 HOUR AS too_late_in,
        coalesce(clock_out < ends - INTERVAL 2 HOUR, false) AND over <= $now AS too_early_out,
        coalesce(clock_out > ends + INTERVAL 3 HOUR, false) AS too_late_out,
        punch_count = 1 AND over <= $now AS missing_out,
        greatest((minute(clock_in) - epoch_us(starts)) // 60000000, 0) AS late,
        CASE WHEN late > {grace} THEN late ELSE 0 END AS late_minutes,
        greatest((epoch_us(ends) - minute(clock_out)) // 60000000, 0) + 0 * epoch_us(clock_out) AS early_leave_minutes
    FROM counted JOIN due ON due.work_date = counted.work_date AND due.timezone = counted.timezone
),
{worked},
described AS (
    SELECT * EXCLUDE (last_punch, last_local),
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
    FROM worked
)
SELECT described.*, row_number() OVER () AS id, sha256(concat(json_array(
    site, device, user_id, work_date::VARCHAR, epoch_us(clock_in), epoch_us(clock_out), epoch_us(clock_in_local),
    epoch_us(clock_out_local), timezone, punch_count, worked_minutes, outlier_codes, outlier_reason
), CASE WHEN shift IS NOT NULL THEN json_array(shift, shift_start, shift_end, NULL, NULL) END,
CASE WHEN (late_minutes, coalesce(early_leave_minutes, 0), attendance_status) <> (0, 0, 'present')
    THEN json_array(late_minutes, early_leave_minutes, attendance_status) END,
CASE WHEN shift IS NOT NULL THEN json_array(break_minutes, break_source, overtime_minutes, overtime_class,
    night_minutes, weekly_overtime_after_minutes) END)) AS payload_hash
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
