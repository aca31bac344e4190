-- Directions of terminals (entry and exit gates), and the direction of each punch.

ALTER TABLE devices ADD COLUMN direction VARCHAR;

CREATE VIEW punch_directions AS
WITH punch AS (
    SELECT
        raw.seq, raw.device, raw.user_id, raw.punch_state, raw.work_code,
        coalesce(corrected.punched_at, raw.punched_at) AS punched_at,
        coalesce(corrected.punched_at_local, raw.punched_at_local) AS punched_at_local,
        false AS is_manual
    FROM raw_punches AS raw LEFT JOIN corrected_punches AS corrected ON corrected.seq = raw.seq
    WHERE raw.voided_at IS NULL AND (NOT raw.is_clock_suspect OR corrected.seq IS NOT NULL)
    UNION ALL
    SELECT seq, device, user_id, punch_state, NULL, punched_at, punched_at_local, true
    FROM manual_punches WHERE decision = 'approved'
),
placed AS (
    SELECT
        punch.*,
        coalesce(device.site, punch.device) AS site,
        CASE WHEN NOT punch.is_manual THEN device.direction END AS device_direction,
        coalesce(device.direction IS NOT NULL OR device.trust_punch_states, false) AS is_trusted
    FROM punch LEFT JOIN devices AS device ON device.name = punch.device
),
-- A punch is part of the row of its date or the date before. The row of a single debounced punch has no clock-out: the
-- punches after its clock-in (`is_after`) are repeated presses of it, if no pause is between them (`number` 1).
dated AS (
    SELECT
        placed.*,
        CASE
            WHEN placed.punched_at BETWEEN today.clock_in AND coalesce(today.clock_out, today.clock_in)
                THEN today.work_date
            WHEN placed.punched_at BETWEEN eve.clock_in AND coalesce(eve.clock_out, eve.clock_in) THEN eve.work_date
            WHEN placed.punched_at > today.clock_in AND today.clock_out IS NULL THEN today.work_date
            WHEN placed.punched_at > eve.clock_in AND eve.clock_out IS NULL THEN eve.work_date
        END AS day,
        coalesce(
            placed.punched_at > CASE day WHEN today.work_date THEN coalesce(today.clock_out, today.clock_in)
                                         ELSE coalesce(eve.clock_out, eve.clock_in) END,
            true
        ) AS is_after
    FROM placed
    LEFT JOIN daily_attendance AS today
        ON today.site = placed.site AND today.user_id = placed.user_id
        AND today.work_date = CAST(placed.punched_at_local AS DATE)
    LEFT JOIN daily_attendance AS eve
        ON eve.site = placed.site AND eve.user_id = placed.user_id
        AND eve.work_date = CAST(placed.punched_at_local AS DATE) - 1
),
spaced AS (
    SELECT
        *,
        epoch_us(punched_at) - lag(epoch_us(punched_at)) OVER (
            PARTITION BY site, user_id, day ORDER BY punched_at, device, punched_at_local
        ) AS pause
    FROM dated
),
numbered AS (
    SELECT
        *,
        count(*) FILTER (WHERE pause IS NULL OR pause >= 1000000 * coalesce(
            (SELECT CAST(value AS BIGINT) FROM store_settings WHERE name = 'debounce_seconds'), 60
        )) OVER (PARTITION BY site, user_id, day ORDER BY punched_at, device, punched_at_local) AS number
    FROM spaced
),
known AS (
    SELECT
        *,
        CASE WHEN NOT is_after OR number = 1 THEN day END AS work_date,
        CASE WHEN NOT is_trusted THEN NULL
             WHEN punch_state IN (0, 3, 4) THEN 'in'
             WHEN punch_state IN (1, 2, 5) THEN 'out' END AS stated
    FROM numbered
)
SELECT
    seq, device, site, user_id, punched_at, punched_at_local, work_date, punch_state, work_code,
    CASE WHEN device_direction IS NOT NULL THEN device_direction
         WHEN stated IS NOT NULL THEN stated
         WHEN work_date IS NOT NULL THEN CASE WHEN number % 2 = 1 THEN 'in' ELSE 'out' END END AS punch_direction,
    CASE WHEN device_direction IS NOT NULL THEN 'device'
         WHEN stated IS NOT NULL THEN 'punch_state'
         WHEN work_date IS NOT NULL THEN 'alternation' END AS direction_source
FROM known;
