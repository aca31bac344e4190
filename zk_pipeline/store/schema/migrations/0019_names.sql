-- Tables, columns, values and alert keys under the names of the glossary (docs/naming.md). No row changes its meaning:
-- `daily_attendance.payload_hash` and idempotency keys stay.

-- Tables before their columns: a DuckLake (of DuckDB 1.5.5) in which a column and then its table are renamed in one transaction
-- cannot be opened again ("Column with name id already exists").
ALTER TABLE fixed_begins RENAME TO frozen_work_date_starts;
ALTER TABLE held_dates RENAME TO blocked_dates;
ALTER TABLE device_tails RENAME TO device_log_positions;
ALTER TABLE daily_attendance_history RENAME TO daily_attendance_revisions;

ALTER TABLE frozen_work_date_starts RENAME COLUMN begins TO start_minute;
ALTER TABLE daily_attendance RENAME COLUMN worked_by TO worked_minutes_source;
ALTER TABLE daily_attendance_revisions RENAME COLUMN worked_by TO worked_minutes_source;
ALTER TABLE work_dates RENAME COLUMN punched_seq TO latest_punch_seq;
ALTER TABLE work_dates RENAME COLUMN built_seq TO processed_seq;
ALTER TABLE work_dates RENAME COLUMN built_at TO processed_at;
ALTER TABLE work_dates RENAME COLUMN recheck_after TO reprocess_after;
ALTER TABLE work_dates RENAME COLUMN raw_deleted_at TO raw_purged_at;
ALTER TABLE device_polls RENAME COLUMN reported_after TO record_count_after;
ALTER TABLE device_polls RENAME COLUMN accounted TO records_accounted_for;
ALTER TABLE crm_attempts RENAME COLUMN verdict TO outcome;
ALTER TABLE crm_deliveries RENAME COLUMN rounds TO retry_rounds;
ALTER TABLE alerts RENAME COLUMN first_at TO first_seen_at;
ALTER TABLE alerts RENAME COLUMN told_at TO notified_at;

UPDATE daily_attendance SET worked_minutes_source = 'punch_states' WHERE worked_minutes_source = 'states';
UPDATE daily_attendance_revisions SET worked_minutes_source = 'punch_states' WHERE worked_minutes_source = 'states';
UPDATE device_polls SET mode = 'incremental' WHERE mode = 'tail';
UPDATE crm_attempts SET outcome = 'rejected' WHERE outcome = 'refused';

-- An open alert goes on under its check's new name: no message says that it ended or began.
UPDATE alerts SET key = renamed.key
FROM (
    VALUES
        ('check:daily_attendance:revisions_are_calm', 'check:daily_attendance:no_revision_churn'),
        ('check:daily_attendance:days_are_sound', 'check:daily_attendance:attendance_rows_consistent'),
        ('check:devices:tables_are_sound', 'check:devices:schema_matches_migrations'),
        ('check:raw_punches:punches_are_there_once', 'check:raw_punches:punches_unique'),
        ('check:raw_punches:an_id_is_one_person', 'check:raw_punches:user_id_unique_per_site'),
        ('check:crm_sync:an_id_is_one_person_at_all_sites', 'check:crm_sync:user_id_unique_across_sites'),
        ('check:crm_sync:people_are_at_one_site_a_day', 'check:crm_sync:one_site_per_user_and_date'),
        ('check:raw_punches:punches_are_of_people_enrolled', 'check:raw_punches:punches_from_enrolled_users'),
        ('check:crm_sync:nothing_is_late', 'check:crm_sync:no_overdue_deliveries'),
        ('check:raw_punches:logs_have_room', 'check:raw_punches:log_capacity_available'),
        ('check:raw_punches:clocks_are_right', 'check:raw_punches:clock_drift_within_limit')
) AS renamed (former, key)
WHERE alerts.key = renamed.former;
