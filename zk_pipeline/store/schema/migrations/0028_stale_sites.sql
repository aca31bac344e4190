-- Sites that make a work date stale. Which ones made the dates stale that are so now is unknown, and dates processed from
-- in and out states that migration 0013 corrected are to be processed again: the next processing covers all their sites.

ALTER TABLE work_dates ADD COLUMN stale_sites STRUCT(site VARCHAR, seq BIGINT)[];

UPDATE work_dates SET stale_sites = [struct_pack(site := NULL::VARCHAR, seq := latest_punch_seq)]
WHERE raw_purged_at IS NULL AND (
    latest_punch_seq > processed_seq
    OR processed_at < (SELECT min(applied_at) FROM schema_migrations WHERE version = 13) AND work_date IN (
        SELECT day.work_date FROM daily_attendance AS day JOIN devices AS device ON device.name = day.device
        WHERE device.trust_punch_states AND device.log_layout IN ('16', '8-MA300')
    )
);
