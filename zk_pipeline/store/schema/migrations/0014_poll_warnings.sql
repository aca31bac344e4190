-- What went wrong in a poll without failing it, such as a user list that could not be read.

ALTER TABLE device_polls ADD COLUMN warnings VARCHAR;
