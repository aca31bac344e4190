-- Breaks, overtime and night hours of a day, and the rules of shifts for them. Rows of before have no such rules: only
-- in/out pairs of punch states shorten their worked minutes.

ALTER TABLE daily_attendance ADD COLUMN break_minutes INTEGER;
ALTER TABLE daily_attendance ADD COLUMN break_source VARCHAR;
ALTER TABLE daily_attendance ADD COLUMN overtime_minutes INTEGER;
ALTER TABLE daily_attendance ADD COLUMN overtime_class VARCHAR;
ALTER TABLE daily_attendance ADD COLUMN night_minutes INTEGER;
ALTER TABLE daily_attendance ADD COLUMN weekly_overtime_after_minutes INTEGER;
ALTER TABLE daily_attendance_revisions ADD COLUMN break_minutes INTEGER;
ALTER TABLE daily_attendance_revisions ADD COLUMN break_source VARCHAR;
ALTER TABLE daily_attendance_revisions ADD COLUMN overtime_minutes INTEGER;
ALTER TABLE daily_attendance_revisions ADD COLUMN overtime_class VARCHAR;
ALTER TABLE daily_attendance_revisions ADD COLUMN night_minutes INTEGER;
ALTER TABLE daily_attendance_revisions ADD COLUMN weekly_overtime_after_minutes INTEGER;

ALTER TABLE shifts ADD COLUMN breaks VARCHAR;
ALTER TABLE shifts ADD COLUMN overtime VARCHAR;
ALTER TABLE shifts ADD COLUMN night_hours VARCHAR;
ALTER TABLE shifts ADD COLUMN rounding VARCHAR;
ALTER TABLE shifts ADD COLUMN core_time VARCHAR;
ALTER TABLE shifts ADD COLUMN alternatives VARCHAR;

UPDATE daily_attendance SET
    break_minutes = (epoch_us(clock_out) - epoch_us(clock_in)) // 60000000 - worked_minutes,
    break_source = CASE WHEN (epoch_us(clock_out) - epoch_us(clock_in)) // 60000000 > worked_minutes THEN 'punches' END,
    overtime_minutes = 0,
    night_minutes = 0
WHERE worked_minutes IS NOT NULL;
UPDATE daily_attendance_revisions SET
    break_minutes = (epoch_us(clock_out) - epoch_us(clock_in)) // 60000000 - worked_minutes,
    break_source = CASE WHEN (epoch_us(clock_out) - epoch_us(clock_in)) // 60000000 > worked_minutes THEN 'punches' END,
    overtime_minutes = 0,
    night_minutes = 0
WHERE worked_minutes IS NOT NULL;

DROP VIEW processed_attendance;
CREATE VIEW processed_attendance AS
SELECT
    day.id,
    device.id AS device,
    day.device AS device_name,
    day.site,
    day.user_id,
    day.work_date AS date,
    day.clock_in,
    day.clock_out,
    day.clock_in_local,
    day.clock_out_local,
    day.punch_count,
    day.worked_minutes,
    day.is_incomplete,
    day.is_outlier,
    day.outlier_codes,
    day.outlier_reason,
    day.late_minutes,
    day.early_leave_minutes,
    day.attendance_status,
    day.break_minutes,
    day.break_source,
    day.overtime_minutes,
    day.overtime_class,
    day.night_minutes,
    day.late_minutes > 0 AS is_late_arrival,
    day.early_leave_minutes > 0 AS is_early_departure,
    round(day.worked_minutes / 60, 2) AS hours_worked,
    day.revision,
    coalesce(told.state = 'delivered', false) AS synced_to_crm,
    told.state AS sync_state,
    coalesce(told.attempts, 0) AS sync_attempts,
    told.last_attempt_at AS last_sync_attempt,
    told.last_error AS sync_error,
    day.created_at,
    day.updated_at
FROM (
    SELECT
        standing.*,
        CASE WHEN shared.latest.revision > coalesce(own.revision, 0) THEN shared.latest
             ELSE struct_pack(own.revision, own.state, own.attempts, own.last_attempt_at, own.last_error) END AS told
    FROM daily_attendance AS standing
    LEFT JOIN crm_deliveries AS own
        ON own.site = standing.site
        AND own.user_id = standing.user_id
        AND own.work_date = standing.work_date
        AND own.revision = standing.revision
    LEFT JOIN (
        SELECT user_id, work_date,
            max(struct_pack(revision, state, attempts, last_attempt_at, last_error)) AS latest
        FROM crm_deliveries WHERE merged IS NOT NULL
        GROUP BY user_id, work_date
    ) AS shared
        ON shared.user_id = standing.user_id
        AND shared.work_date = standing.work_date
) AS day
LEFT JOIN devices AS device ON device.name = day.device;
