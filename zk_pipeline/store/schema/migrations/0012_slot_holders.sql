-- Who held each slot of a terminal by the user lists read, punches that know their slot, what a clock was measured at.

ALTER TABLE raw_punches ADD COLUMN uid INTEGER;
ALTER TABLE raw_punches ADD COLUMN work_code BIGINT;
ALTER TABLE raw_punches ADD COLUMN voided_at TIMESTAMPTZ;

ALTER TABLE quarantined_records ADD COLUMN listed_before INTEGER;
ALTER TABLE quarantined_records ADD COLUMN listed_after INTEGER;

ALTER TABLE devices ADD COLUMN user_lists INTEGER DEFAULT 0;
ALTER TABLE devices ADD COLUMN user_lists_at_reading INTEGER DEFAULT 0;
ALTER TABLE devices ADD COLUMN users_listed_at TIMESTAMPTZ;
ALTER TABLE devices ADD COLUMN clock_drift_seconds DOUBLE;
ALTER TABLE devices ADD COLUMN clock_right_at TIMESTAMPTZ;
ALTER TABLE devices ADD COLUMN clock_wrong_by DOUBLE;

ALTER TABLE device_polls ADD COLUMN doubted_drift_seconds DOUBLE;
ALTER TABLE clock_corrections ADD COLUMN only_in_doubt BOOLEAN DEFAULT 'false';

CREATE TABLE device_slots (
    device VARCHAR NOT NULL,
    uid INTEGER NOT NULL,
    user_id VARCHAR NOT NULL,
    first_list INTEGER NOT NULL,
    last_list INTEGER,
    first_listed_at TIMESTAMPTZ NOT NULL,
    last_listed_at TIMESTAMPTZ
);

-- The user lists known so far count as the first one.
INSERT INTO device_slots (device, uid, user_id, first_list, first_listed_at)
SELECT device, uid, min(user_id), 1, min(updated_at) FROM device_users GROUP BY device, uid HAVING count(*) = 1;

UPDATE devices SET user_lists = 1, user_lists_at_reading = 1, users_listed_at = listed.listed_at
FROM (
    SELECT people.device, coalesce(max(tail.full_read_at), max(people.updated_at)) AS listed_at
    FROM device_users AS people LEFT JOIN device_tails AS tail ON tail.device = people.device
    GROUP BY people.device
) AS listed
WHERE listed.device = devices.name;

-- Records of 8 bytes name only a slot. Who has been deleted from the terminal since has none on record.
UPDATE raw_punches SET uid = held.uid
FROM (
    SELECT device, user_id, min(uid) AS uid FROM device_slots
    WHERE device IN (SELECT device FROM device_polls WHERE layout = 8)
    GROUP BY device, user_id HAVING count(*) = 1
) AS held
WHERE held.device = raw_punches.device AND held.user_id = raw_punches.user_id;

-- These waited for a user list; all others in quarantine had one that did not name them.
UPDATE quarantined_records SET listed_before = 0, listed_after = 1
WHERE reason LIKE '%the user list could not be read';

-- A clock is right within 15 minutes (attendance.clock_errors.LIMIT_SECONDS).
UPDATE devices SET clock_right_at = measured.right_at,
    clock_drift_seconds = measured.newest.drift,
    clock_wrong_by = CASE WHEN abs(measured.newest.drift) > 900 THEN measured.newest.drift END
FROM (
    SELECT device,
        max(finished_at) FILTER (WHERE abs(clock_drift_seconds) <= 900) AS right_at,
        max(struct_pack(id := id, drift := clock_drift_seconds)) AS newest
    FROM device_polls WHERE status = 'success' AND clock_drift_seconds IS NOT NULL
    GROUP BY device
) AS measured
WHERE measured.device = devices.name;
