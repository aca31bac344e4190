CREATE TABLE earlier_deliveries (
    source VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    work_date DATE NOT NULL,
    clock_in TIMESTAMPTZ,
    clock_out TIMESTAMPTZ,
    delivered_at TIMESTAMPTZ NOT NULL
);
