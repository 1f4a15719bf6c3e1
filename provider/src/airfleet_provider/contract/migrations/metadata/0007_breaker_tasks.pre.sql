-- Why: an explanation of a task names the breaker that keeps it, without the rules of fleet.yaml (ADR 49).
ALTER TABLE airfleet.breaker ADD COLUMN waiting_tasks jsonb NOT NULL DEFAULT '[]';
COMMENT ON COLUMN airfleet.breaker.waiting_tasks IS 'pairs of the id of a Dag and of a task of it that waits';
