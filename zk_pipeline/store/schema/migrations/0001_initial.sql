-- Structure only; what each table and column means is in catalog.py, from which comments are written.
-- No keys and no sequences: uniqueness is kept inside the exclusive lock (see DESIGN, "DuckDB between processes").

CREATE TABLE store_settings (name VARCHAR NOT NULL, value VARCHAR NOT NULL);

CREATE TABLE devices (
    id INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    ip_address VARCHAR NOT NULL,
    port INTEGER NOT NULL,
    protocol VARCHAR NOT NULL,
    timezone VARCHAR NOT NULL,
    site VARCHAR NOT NULL,
    enabled BOOLEAN NOT NULL,
    comm_key_env VARCHAR,
    encoding VARCHAR NOT NULL,
    serial_number VARCHAR,
    firmware_version VARCHAR,
    platform VARCHAR,
    record_capacity BIGINT,
    last_sync TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    removed_at TIMESTAMPTZ
);

CREATE TABLE device_polls (
    id BIGINT NOT NULL,
    device VARCHAR NOT NULL,
    started_at TIMESTAMPTZ NOT NULL,
    finished_at TIMESTAMPTZ NOT NULL,
    status VARCHAR NOT NULL,
    reported BIGINT,
    reported_after BIGINT,
    fetched BIGINT,
    stored BIGINT,
    "new" BIGINT,
    quarantined BIGINT,
    clock_drift_seconds DOUBLE,
    round_trip_ms DOUBLE,
    transport VARCHAR,
    layout INTEGER,
    bytes_read BIGINT,
    run_id VARCHAR,
    error_code VARCHAR,
    error VARCHAR
);

CREATE TABLE raw_punches (
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    punched_at TIMESTAMPTZ NOT NULL,
    punched_at_local TIMESTAMP NOT NULL,
    status UTINYINT NOT NULL,
    punch_state UTINYINT NOT NULL,
    verify_type UTINYINT NOT NULL,
    first_poll_id BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE quarantined_records (
    device VARCHAR NOT NULL,
    raw BLOB NOT NULL,
    reason VARCHAR NOT NULL,
    first_poll_id BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE device_users (
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    uid INTEGER NOT NULL,
    name VARCHAR NOT NULL,
    privilege INTEGER NOT NULL,
    card BIGINT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE work_dates (
    work_date DATE NOT NULL,
    punched_seq BIGINT NOT NULL,
    built_seq BIGINT NOT NULL,
    built_at TIMESTAMPTZ,
    recheck_after TIMESTAMPTZ,
    raw_deleted_at TIMESTAMPTZ
);

CREATE TABLE daily_attendance (
    id BIGINT NOT NULL,
    site VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    clock_in TIMESTAMPTZ NOT NULL,
    clock_out TIMESTAMPTZ,
    clock_in_local TIMESTAMP NOT NULL,
    clock_out_local TIMESTAMP,
    timezone VARCHAR NOT NULL,
    punch_count INTEGER NOT NULL,
    worked_minutes INTEGER,
    is_incomplete BOOLEAN NOT NULL,
    is_outlier BOOLEAN NOT NULL,
    outlier_codes VARCHAR[] NOT NULL,
    outlier_reason VARCHAR NOT NULL,
    revision INTEGER NOT NULL,
    payload_hash VARCHAR NOT NULL,
    run_id VARCHAR,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE daily_attendance_history (
    id BIGINT NOT NULL,
    site VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    clock_in TIMESTAMPTZ,
    clock_out TIMESTAMPTZ,
    clock_in_local TIMESTAMP,
    clock_out_local TIMESTAMP,
    timezone VARCHAR NOT NULL,
    punch_count INTEGER NOT NULL,
    worked_minutes INTEGER,
    is_incomplete BOOLEAN NOT NULL,
    is_outlier BOOLEAN NOT NULL,
    outlier_codes VARCHAR[] NOT NULL,
    outlier_reason VARCHAR NOT NULL,
    is_retracted BOOLEAN NOT NULL,
    revision INTEGER NOT NULL,
    payload_hash VARCHAR NOT NULL,
    run_id VARCHAR,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE crm_deliveries (
    site VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    revision INTEGER NOT NULL,
    device_ip VARCHAR NOT NULL,
    idempotency_key VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    attempts INTEGER NOT NULL,
    rounds INTEGER NOT NULL,
    last_attempt_at TIMESTAMPTZ,
    delivered_at TIMESTAMPTZ,
    last_status INTEGER,
    last_error VARCHAR,
    run_id VARCHAR,
    created_at TIMESTAMPTZ NOT NULL
);

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
    coalesce(delivery.state = 'delivered', false) AS synced_to_crm,
    delivery.state AS sync_state,
    coalesce(delivery.attempts, 0) AS sync_attempts,
    delivery.last_attempt_at AS last_sync_attempt,
    delivery.last_error AS sync_error,
    day.created_at,
    day.updated_at
FROM daily_attendance AS day
LEFT JOIN devices AS device ON device.name = day.device
LEFT JOIN crm_deliveries AS delivery
    ON delivery.site = day.site
    AND delivery.user_id = day.user_id
    AND delivery.work_date = day.work_date
    AND delivery.revision = day.revision;
