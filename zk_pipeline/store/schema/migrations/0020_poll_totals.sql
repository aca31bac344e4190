-- Counts of polls whose rows retention has deleted, so that counters over all polls never fall.

CREATE TABLE device_poll_totals (
    device VARCHAR NOT NULL,
    status VARCHAR NOT NULL,
    polls BIGINT NOT NULL,
    duration_microseconds BIGINT NOT NULL,
    new_punches BIGINT NOT NULL
);
