-- When a terminal's reader and keys were locked for a reading, until it confirmed that they are unlocked.

ALTER TABLE devices ADD COLUMN keypad_locked_at TIMESTAMPTZ;
