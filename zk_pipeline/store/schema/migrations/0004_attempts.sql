-- Every attempt at a delivery, appended; and since when a delivery is being sent.

CREATE TABLE crm_attempts (
    site VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    revision INTEGER NOT NULL,
    idempotency_key VARCHAR NOT NULL,
    run_id VARCHAR,
    started_at TIMESTAMPTZ,
    finished_at TIMESTAMPTZ,
    status INTEGER,
    verdict VARCHAR NOT NULL,
    error VARCHAR
);

ALTER TABLE crm_deliveries ADD COLUMN claimed_at TIMESTAMPTZ;
