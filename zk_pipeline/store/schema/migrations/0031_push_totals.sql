-- Counts of uploads whose rows retention has deleted, so that counters over all uploads never fall.

CREATE TABLE push_totals (
    device VARCHAR NOT NULL,
    uploads BIGINT NOT NULL,
    stored BIGINT NOT NULL,
    duplicates BIGINT NOT NULL,
    quarantined BIGINT NOT NULL,
    other BIGINT NOT NULL
);
