-- What people have been told of, what is still to be told to whom, and work dates that the CRM must not hear of.

CREATE TABLE alerts (
    key VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    severity VARCHAR NOT NULL,
    owner VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    body VARCHAR NOT NULL,
    first_at TIMESTAMPTZ NOT NULL,
    told_at TIMESTAMPTZ,
    resolved_at TIMESTAMPTZ
);

CREATE TABLE alert_messages (
    id BIGINT NOT NULL,
    channel VARCHAR NOT NULL,
    title VARCHAR NOT NULL,
    body VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at TIMESTAMPTZ NOT NULL,
    sent_at TIMESTAMPTZ,
    last_error VARCHAR
);

CREATE TABLE held_dates (
    work_date DATE NOT NULL,
    reason VARCHAR NOT NULL,
    since TIMESTAMPTZ NOT NULL
);
