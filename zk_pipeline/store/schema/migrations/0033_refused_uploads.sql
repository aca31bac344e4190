-- Uploads that the receiver could not read, such as encrypted ones: the terminal keeps their punches.

ALTER TABLE push_terminals ADD COLUMN refused_at TIMESTAMPTZ;
ALTER TABLE push_terminals ADD COLUMN refusal VARCHAR;
