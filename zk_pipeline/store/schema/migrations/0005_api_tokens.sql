-- Who may use the REST API and the web admin. The token itself is shown once and kept nowhere.

CREATE TABLE api_tokens (
    id VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    scope VARCHAR NOT NULL,
    secret_sha256 VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    last_used_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);
