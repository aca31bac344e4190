-- Polls that read only what is new, punches of a clock that cannot be believed, and a counter that numbers punches.

ALTER TABLE devices ADD COLUMN last_transport VARCHAR;
ALTER TABLE devices ADD COLUMN live BOOLEAN DEFAULT 'false';

ALTER TABLE device_polls ADD COLUMN mode VARCHAR;
ALTER TABLE device_polls ADD COLUMN accounted BIGINT;

ALTER TABLE raw_punches ADD COLUMN is_clock_suspect BOOLEAN DEFAULT 'false';

CREATE TABLE device_tails (
    device VARCHAR NOT NULL,
    serial_number VARCHAR NOT NULL,
    layout VARCHAR NOT NULL,
    record_count BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL,
    overlap BLOB NOT NULL,
    user_count BIGINT NOT NULL,
    full_read_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

INSERT INTO store_settings
SELECT 'last_seq', greatest(
    (SELECT coalesce(max(seq), 0) FROM raw_punches), (SELECT coalesce(max(punched_seq), 0) FROM work_dates)
)::VARCHAR;
