-- Late arrival, early leave and attendance status of a day, the hours by which it was evaluated, and since when the
-- hours of the settings apply. Rows of before have nulls until their date is processed again, without a revision.

ALTER TABLE daily_attendance ADD COLUMN late_minutes INTEGER;
ALTER TABLE daily_attendance ADD COLUMN early_leave_minutes INTEGER;
ALTER TABLE daily_attendance ADD COLUMN attendance_status VARCHAR;
ALTER TABLE daily_attendance ADD COLUMN judged_by VARCHAR;
ALTER TABLE daily_attendance_revisions ADD COLUMN late_minutes INTEGER;
ALTER TABLE daily_attendance_revisions ADD COLUMN early_leave_minutes INTEGER;
ALTER TABLE daily_attendance_revisions ADD COLUMN attendance_status VARCHAR;
ALTER TABLE daily_attendance_revisions ADD COLUMN judged_by VARCHAR;

ALTER TABLE shifts ADD COLUMN late_grace_minutes INTEGER;
ALTER TABLE shifts ADD COLUMN early_leave_grace_minutes INTEGER;
ALTER TABLE shifts ADD COLUMN half_day_below_minutes INTEGER;
ALTER TABLE shifts ADD COLUMN absent_below_minutes INTEGER;

CREATE TABLE configured_hours (
    valid_from DATE NOT NULL,
    start_time TIME NOT NULL,
    end_time TIME NOT NULL,
    early_clock_in_hours DOUBLE NOT NULL,
    late_clock_in_hours DOUBLE NOT NULL,
    early_clock_out_hours DOUBLE NOT NULL,
    late_clock_out_hours DOUBLE NOT NULL
);

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
