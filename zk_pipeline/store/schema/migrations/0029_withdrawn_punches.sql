-- Withdrawals of approved manual punches.

ALTER TABLE manual_punches ADD COLUMN withdrawn_by VARCHAR;
ALTER TABLE manual_punches ADD COLUMN withdrawn_at TIMESTAMPTZ;
ALTER TABLE manual_punches ADD COLUMN withdrawal_reason VARCHAR;
