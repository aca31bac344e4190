-- What was sent under a key, until its outcome is known.

ALTER TABLE crm_deliveries ADD COLUMN sent_body VARCHAR;
