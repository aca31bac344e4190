-- Leave and other reasons of absence by date. Rows are never changed, and removed ones stay with operator and time.

CREATE TABLE leaves (
    id BIGINT NOT NULL,
    user_id VARCHAR NOT NULL,
    site VARCHAR,
    first_date DATE NOT NULL,
    last_date DATE NOT NULL,
    day_part VARCHAR,
    kind VARCHAR NOT NULL,
    note VARCHAR NOT NULL,
    source VARCHAR,
    source_uid VARCHAR,
    created_by VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    removed_by VARCHAR,
    removed_at TIMESTAMPTZ
);
