-- The record layout of each terminal's log; in/out states and ways of verification that were read wrongly, put right.

ALTER TABLE devices ADD COLUMN log_layout VARCHAR;

-- The bytes per record tell the layout, but of 8 bytes there are two orders.
UPDATE devices SET log_layout = polled.size::VARCHAR
FROM (
    SELECT device, max(struct_pack(id := id, size := layout)).size AS size
    FROM device_polls WHERE layout IS NOT NULL GROUP BY device
) AS polled
WHERE polled.device = devices.name AND polled.size <> 8;

UPDATE devices SET log_layout = tail.layout
FROM device_tails AS tail WHERE tail.device = devices.name;

-- Records of 16 bytes have the state first; it was taken for the verification. Live punches were not decoded from
-- records, and come under polls of their own.
UPDATE raw_punches SET punch_state = verify_type, verify_type = punch_state
WHERE first_poll_id IN (
    SELECT id FROM device_polls WHERE layout = 16 AND coalesce(mode, 'full') IN ('full', 'tail')
);

-- Records of MA300 have both in one byte, which was taken for the verification: bits 0-2 and 3-4. Those released from
-- quarantine came under polls of their own, and were decoded likewise.
UPDATE raw_punches SET punch_state = verify_type & 7, verify_type = (verify_type >> 3) & 3
WHERE device IN (SELECT device FROM device_tails WHERE layout = '8-MA300')
  AND first_poll_id IN (
    SELECT id FROM device_polls
    WHERE layout = 8 AND coalesce(mode, 'full') IN ('full', 'tail') OR mode = 'release'
);

UPDATE corrected_punches SET punch_state = punch.punch_state
FROM raw_punches AS punch
WHERE punch.seq = corrected_punches.seq AND punch.punch_state <> corrected_punches.punch_state;
