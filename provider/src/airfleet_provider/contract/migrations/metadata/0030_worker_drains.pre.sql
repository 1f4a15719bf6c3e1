-- Why: an operator drains a worker on the Fleet pages, and the worker learns it with the answer to its report (ADR 97).
CREATE TABLE airfleet.worker_drain (
    pool text NOT NULL,
    host text NOT NULL,
    drained_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (pool, host)
);
COMMENT ON TABLE airfleet.worker_drain IS 'workers that take no tasks until somebody resumes them; a file on a host can drain its workers too';
ALTER TABLE airfleet.worker_slots ADD COLUMN marked boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN airfleet.worker_slots.marked IS 'whether a file on its host drains it, as it reported';
COMMENT ON TABLE airfleet.worker_slots IS 'the workers that report: those of pools that scale, and of pools that have all their slots always';
