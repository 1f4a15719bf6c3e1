-- Why: files of records that wait on a host are seen by its supervisors only, and an alert must know of them (ADR 79).
CREATE TABLE airfleet.record_spool (
    host text PRIMARY KEY,
    files int NOT NULL,
    oldest_s int NOT NULL,
    told_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.record_spool IS 'files of records of earlier attempts that wait on a host, as its supervisors last said';
COMMENT ON COLUMN airfleet.record_spool.host IS 'as task_instance.hostname has it';
COMMENT ON COLUMN airfleet.record_spool.oldest_s IS 'seconds since the oldest of them was written, at told_at';
