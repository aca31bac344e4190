-- Who looked at an unusual day, and what they said of it. A revision that comes later has not been looked at.

CREATE TABLE day_reviews (
    site VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    revision INTEGER NOT NULL,
    is_reviewed BOOLEAN NOT NULL,
    reviewed_at TIMESTAMPTZ NOT NULL,
    reviewed_by VARCHAR NOT NULL,
    note VARCHAR NOT NULL
);
