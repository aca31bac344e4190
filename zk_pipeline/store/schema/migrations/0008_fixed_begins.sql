-- Where a work date that retention has cleared meets one that it has not, the border between them stays as it was.

CREATE TABLE fixed_begins (
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    on_date DATE NOT NULL,
    begins INTEGER NOT NULL
);
