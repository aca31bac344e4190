-- Shifts, who has them and when, holidays, and what each day was judged by; clocks set right afterwards; released records.

CREATE TABLE shifts (
    name VARCHAR NOT NULL,
    start_time TIME NOT NULL,
    end_time TIME NOT NULL,
    weekdays VARCHAR NOT NULL,
    workday_starts_at TIME,
    early_clock_in_hours DOUBLE,
    late_clock_in_hours DOUBLE,
    early_clock_out_hours DOUBLE,
    late_clock_out_hours DOUBLE,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE shift_assignments (
    id BIGINT NOT NULL,
    shift VARCHAR NOT NULL,
    user_id VARCHAR,
    site VARCHAR,
    device VARCHAR,
    valid_from DATE,
    valid_to DATE,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE holidays (
    holiday_date DATE NOT NULL,
    name VARCHAR NOT NULL,
    site VARCHAR,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE clock_corrections (
    id BIGINT NOT NULL,
    device VARCHAR NOT NULL,
    from_local TIMESTAMP NOT NULL,
    to_local TIMESTAMP NOT NULL,
    add_seconds BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    revoked_at TIMESTAMPTZ
);

CREATE TABLE corrected_punches (
    seq BIGINT NOT NULL,
    device VARCHAR NOT NULL,
    user_id VARCHAR NOT NULL,
    punched_at TIMESTAMPTZ NOT NULL,
    punched_at_local TIMESTAMP NOT NULL,
    punch_state UTINYINT NOT NULL,
    first_poll_id BIGINT NOT NULL,
    correction_id BIGINT NOT NULL
);

ALTER TABLE quarantined_records ADD COLUMN released_at TIMESTAMPTZ;

ALTER TABLE devices ADD COLUMN trust_punch_states BOOLEAN DEFAULT 'false';

ALTER TABLE daily_attendance ADD COLUMN shift VARCHAR;
ALTER TABLE daily_attendance ADD COLUMN shift_start TIME;
ALTER TABLE daily_attendance ADD COLUMN shift_end TIME;
ALTER TABLE daily_attendance ADD COLUMN day_off VARCHAR;
ALTER TABLE daily_attendance ADD COLUMN worked_by VARCHAR;

ALTER TABLE daily_attendance_history ADD COLUMN shift VARCHAR;
ALTER TABLE daily_attendance_history ADD COLUMN shift_start TIME;
ALTER TABLE daily_attendance_history ADD COLUMN shift_end TIME;
ALTER TABLE daily_attendance_history ADD COLUMN day_off VARCHAR;
ALTER TABLE daily_attendance_history ADD COLUMN worked_by VARCHAR;

CREATE VIEW absences AS
WITH newest AS (SELECT site, max(work_date) AS last FROM daily_attendance GROUP BY site),
enrolled AS (
    SELECT DISTINCT coalesce(device.site, person.device) AS site, person.user_id
    FROM device_users AS person LEFT JOIN devices AS device ON device.name = person.device
),
people AS (
    SELECT
        day.site,
        day.user_id,
        min(day.work_date) AS first,
        CASE WHEN any_value(enrolled.user_id) IS NULL THEN max(day.work_date) ELSE any_value(newest.last) - 1 END AS last
    FROM daily_attendance AS day
    JOIN newest ON newest.site = day.site
    LEFT JOIN enrolled ON enrolled.site = day.site AND enrolled.user_id = day.user_id
    GROUP BY day.site, day.user_id
),
expected AS (
    SELECT people.site, people.user_id, CAST(unnest(generate_series(first, last, INTERVAL 1 DAY)) AS DATE) AS work_date
    FROM people
    WHERE EXISTS (FROM shift_assignments)
),
missing AS (
    SELECT expected.site, expected.user_id, expected.work_date
    FROM expected
    ANTI JOIN daily_attendance AS day
        ON day.site = expected.site AND day.user_id = expected.user_id AND day.work_date = expected.work_date
    ANTI JOIN holidays ON holidays.holiday_date = expected.work_date
        AND coalesce(holidays.site, expected.site) = expected.site
),
seen AS (
    SELECT missing.site, missing.user_id, missing.work_date, day.device
    FROM missing
    ASOF JOIN daily_attendance AS day
        ON day.site = missing.site AND day.user_id = missing.user_id AND day.work_date < missing.work_date
),
candidates AS (
    SELECT seen.site, seen.user_id, seen.work_date, held.shift,
        CASE WHEN held.user_id IS NOT NULL AND held.site IS NOT NULL THEN 1 WHEN held.user_id IS NOT NULL THEN 2
             WHEN held.device IS NOT NULL THEN 3 ELSE 4 END AS level
    FROM seen JOIN shift_assignments AS held
        ON coalesce(held.user_id, seen.user_id) = seen.user_id
        AND coalesce(held.site, seen.site) = seen.site
        AND coalesce(held.device, seen.device) = seen.device
        AND seen.work_date >= coalesce(held.valid_from, seen.work_date)
        AND seen.work_date <= coalesce(held.valid_to, seen.work_date)
),
chosen AS (
    SELECT site, user_id, work_date, arg_min(shift, level) AS shift
    FROM candidates GROUP BY site, user_id, work_date
)
SELECT chosen.site, chosen.user_id, chosen.work_date, chosen.shift
FROM chosen JOIN shifts ON shifts.name = chosen.shift
WHERE contains(shifts.weekdays, lower(strftime(chosen.work_date, '%a')));
