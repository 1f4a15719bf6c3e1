-- Why: tasks go to the worker with the lowest rank that has a free slot, so that hosts become empty (ADR 92).
ALTER TABLE airfleet.worker_slots ADD COLUMN rank int;
COMMENT ON COLUMN airfleet.worker_slots.rank IS 'lower ones are served first; null: all in turn';
