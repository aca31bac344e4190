-- Which event of which calendar a holiday was imported from, so that a feast that is moved or cancelled there follows.
-- A holiday without a row here was entered by hand, or imported before there was this table: no import removes it.

CREATE TABLE holiday_sources (
    holiday_date DATE NOT NULL,
    site VARCHAR,
    calendar VARCHAR NOT NULL,
    uid VARCHAR NOT NULL,
    name VARCHAR NOT NULL,
    imported_at TIMESTAMPTZ NOT NULL
);
