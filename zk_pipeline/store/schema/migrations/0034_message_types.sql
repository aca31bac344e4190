-- Type of an alert message, which was read from its text before.

ALTER TABLE alert_messages ADD COLUMN notify_type VARCHAR;
