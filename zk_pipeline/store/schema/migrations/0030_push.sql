-- Terminals that push their punches, and the source of each punch.

ALTER TABLE raw_punches ADD COLUMN source VARCHAR DEFAULT 'poll';
UPDATE raw_punches SET source = 'live' WHERE first_poll_id IN (SELECT id FROM device_polls WHERE mode = 'live');
ALTER TABLE quarantined_records ADD COLUMN record_format VARCHAR;
ALTER TABLE devices ADD COLUMN polled BOOLEAN;
UPDATE devices SET polled = true;

CREATE TABLE push_terminals (
    serial_number VARCHAR NOT NULL,
    device VARCHAR,
    family VARCHAR,
    address VARCHAR NOT NULL,
    first_seen_at TIMESTAMPTZ NOT NULL,
    last_seen_at TIMESTAMPTZ NOT NULL,
    adopted_at TIMESTAMPTZ,
    adopted_by VARCHAR,
    hello_at TIMESTAMPTZ,
    hello_offset_seconds INTEGER,
    push_version VARCHAR,
    firmware_version VARCHAR,
    user_count INTEGER,
    record_count INTEGER,
    info_at TIMESTAMPTZ,
    secret_hash VARCHAR,
    networks VARCHAR,
    timezone_form VARCHAR
);

CREATE TABLE push_batches (
    id BIGINT NOT NULL,
    serial VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    stamp VARCHAR,
    received_at TIMESTAMPTZ NOT NULL,
    lines INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    other INTEGER NOT NULL,
    lag_seconds DOUBLE
);

CREATE TABLE push_stamps (
    serial_number VARCHAR NOT NULL,
    table_name VARCHAR NOT NULL,
    stamp VARCHAR NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE push_commands (
    id BIGINT NOT NULL,
    serial_number VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    start_local TIMESTAMP,
    end_local TIMESTAMP,
    user_id VARCHAR,
    requested_by VARCHAR NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL,
    state VARCHAR NOT NULL,
    sent_at TIMESTAMPTZ,
    times_sent INTEGER NOT NULL,
    finished_at TIMESTAMPTZ,
    return_code INTEGER,
    result VARCHAR
);

CREATE TABLE push_checks (
    serial_number VARCHAR NOT NULL,
    first_date DATE NOT NULL,
    last_date DATE NOT NULL,
    state VARCHAR NOT NULL,
    terminal_punches INTEGER,
    stored_punches INTEGER,
    resent_punches INTEGER,
    command_id BIGINT,
    checked_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE device_events (
    device VARCHAR NOT NULL,
    occurred_at_local TIMESTAMP NOT NULL,
    code INTEGER NOT NULL,
    is_operation BOOLEAN NOT NULL,
    user_id VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    received_at TIMESTAMPTZ NOT NULL
);
