-- Why: an alert whose source never reports its end must end all the same, and a person must see who ended it (ADR 45).
ALTER TABLE airfleet.alert ADD COLUMN ended_by text NOT NULL DEFAULT '';
ALTER TABLE airfleet.alert ADD COLUMN end_note text NOT NULL DEFAULT '';
COMMENT ON COLUMN airfleet.alert.ended_by IS 'who ended the alert, if its source did not report the end';
COMMENT ON COLUMN airfleet.alert.end_note IS 'why, in the words of whoever ended it';

ALTER TABLE airfleet.heartbeat ADD COLUMN since timestamptz NOT NULL DEFAULT clock_timestamp();
COMMENT ON COLUMN airfleet.heartbeat.since IS 'from when on the signal has arrived without a gap';
