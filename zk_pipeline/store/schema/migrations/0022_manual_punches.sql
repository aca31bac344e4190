-- Punches that were requested by hand, and the decisions on them. Approved ones count as punches of their site and user.

CREATE TABLE manual_punches (
    id BIGINT NOT NULL,
    site VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    punched_at TIMESTAMPTZ NOT NULL,
    punched_at_local TIMESTAMP NOT NULL,
    punch_state UTINYINT NOT NULL,
    reason VARCHAR NOT NULL,
    requested_by VARCHAR NOT NULL,
    requested_at TIMESTAMPTZ NOT NULL,
    decided_by VARCHAR,
    decided_at TIMESTAMPTZ,
    decision VARCHAR,
    decision_reason VARCHAR,
    device VARCHAR NOT NULL,
    seq BIGINT
);
