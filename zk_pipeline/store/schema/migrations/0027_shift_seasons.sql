-- Seasons: between two dates another shift applies wherever a shift is assigned, such as Ramadan hours.

CREATE TABLE shift_seasons (
    id BIGINT NOT NULL,
    shift VARCHAR NOT NULL,
    use_shift VARCHAR NOT NULL,
    valid_from DATE NOT NULL,
    valid_to DATE NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE VIEW effective_assignments AS
WITH seasonal AS (
    SELECT held.id, season.use_shift AS shift,
        greatest(held.valid_from, season.valid_from) AS valid_from, least(held.valid_to, season.valid_to) AS valid_to
    FROM shift_assignments AS held JOIN shift_seasons AS season
        ON season.shift = held.shift
        AND season.valid_from <= coalesce(held.valid_to, season.valid_from)
        AND season.valid_to >= coalesce(held.valid_from, season.valid_to)
),
cut AS (
    SELECT id, list(valid_from ORDER BY valid_from) AS firsts, list(valid_to ORDER BY valid_from) AS lasts
    FROM seasonal GROUP BY id
),
between_seasons AS (
    SELECT held.id, held.shift,
        unnest(list_concat([held.valid_from], list_transform(lasts, lambda day: (day + 1)::DATE))) AS valid_from,
        unnest(list_concat(list_transform(firsts, lambda day: (day - 1)::DATE), [held.valid_to])) AS valid_to
    FROM cut JOIN shift_assignments AS held ON held.id = cut.id
),
spans AS (
    SELECT * FROM seasonal
    UNION ALL
    SELECT * FROM between_seasons WHERE valid_from IS NULL OR valid_to IS NULL OR valid_from <= valid_to
)
SELECT held.id, spans.shift, held.shift AS assigned_shift, held.user_id, held.site, held.device, spans.valid_from,
    spans.valid_to
FROM spans JOIN shift_assignments AS held ON held.id = spans.id
UNION ALL
SELECT held.id, held.shift, held.shift, held.user_id, held.site, held.device, held.valid_from, held.valid_to
FROM shift_assignments AS held ANTI JOIN cut ON cut.id = held.id;

DROP VIEW absences;
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
    FROM seen JOIN effective_assignments AS held
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
SELECT
    chosen.site,
    chosen.user_id,
    chosen.work_date,
    chosen.shift,
    (
        SELECT string_agg(DISTINCT kind || coalesce(' (' || day_part || ')', ''), ' / '
                          ORDER BY kind || coalesce(' (' || day_part || ')', ''))
        FROM leaves
        WHERE leaves.removed_at IS NULL AND leaves.user_id = chosen.user_id
          AND coalesce(leaves.site, chosen.site) = chosen.site
          AND chosen.work_date BETWEEN leaves.first_date AND leaves.last_date
    ) AS leave
FROM chosen JOIN shifts ON shifts.name = chosen.shift
WHERE contains(shifts.weekdays, lower(strftime(chosen.work_date, '%a')));
