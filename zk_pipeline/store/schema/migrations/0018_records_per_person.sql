-- One record per person and work date, over all sites.

ALTER TABLE crm_deliveries ADD COLUMN record_per VARCHAR;
ALTER TABLE crm_deliveries ADD COLUMN merged VARCHAR;
UPDATE crm_deliveries SET record_per = 'person'; -- they named no site

-- A person with rows at several sites of which the CRM has not been told all: what waits is not sent any more, and the
-- rows that stand are made again, as a change.
UPDATE daily_attendance_history SET payload_hash = ''
WHERE (user_id, work_date) IN (
    SELECT (user_id, work_date) FROM crm_deliveries
    WHERE state IN ('pending', 'sending', 'retry', 'failed') AND (user_id, work_date) IN (
        SELECT (user_id, work_date) FROM daily_attendance_history
        GROUP BY user_id, work_date HAVING min(site) <> max(site)
    )
);
UPDATE daily_attendance SET payload_hash = ''
WHERE (user_id, work_date) IN (
    SELECT (user_id, work_date) FROM daily_attendance_history WHERE payload_hash = ''
);
UPDATE work_dates SET built_seq = least(built_seq, punched_seq - 1)
WHERE raw_deleted_at IS NULL AND work_date IN (SELECT work_date FROM daily_attendance WHERE payload_hash = '');
UPDATE crm_deliveries SET state = 'superseded'
WHERE state IN ('pending', 'retry', 'failed') AND sent_body IS NULL
  AND (user_id, work_date) IN (SELECT (user_id, work_date) FROM daily_attendance_history WHERE payload_hash = '')
  AND ((user_id, work_date) IN (
          SELECT (user_id, work_date) FROM daily_attendance
          WHERE work_date IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NULL)
      )
      OR EXISTS (
          FROM crm_deliveries AS later
          WHERE later.user_id = crm_deliveries.user_id AND later.work_date = crm_deliveries.work_date
            AND later.revision > crm_deliveries.revision
      ));

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
