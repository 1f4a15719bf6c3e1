-- Why: the agents decide how many slots each worker has, and the api-server tells it the worker (ADR 51).
CREATE TABLE airfleet.worker_slots (
    pool text NOT NULL,
    host text NOT NULL,
    slots int,
    otherwise int NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    held int NOT NULL DEFAULT 0,
    in_force int,
    takes boolean NOT NULL DEFAULT true,
    seen_at timestamptz,
    PRIMARY KEY (pool, host)
) WITH (fillfactor = 50);
COMMENT ON TABLE airfleet.worker_slots IS 'the workers of pools that scale';
COMMENT ON COLUMN airfleet.worker_slots.slots IS 'what it may run at once; null: all that it can';
COMMENT ON COLUMN airfleet.worker_slots.otherwise IS 'what it may run at once while no agent decides';
COMMENT ON COLUMN airfleet.worker_slots.decided_at IS 'when an agent last confirmed `slots`';
COMMENT ON COLUMN airfleet.worker_slots.held IS 'tasks that it has taken and that have not ended, as it reported';
COMMENT ON COLUMN airfleet.worker_slots.in_force IS 'the slots that it keeps to, as it reported';

CREATE TABLE airfleet.slot_override (
    pool text PRIMARY KEY,
    slots int NOT NULL CHECK (slots >= 1),
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    reason text NOT NULL DEFAULT ''
);
COMMENT ON TABLE airfleet.slot_override IS 'pools whose slots a person has set; the others scale by themselves';

CREATE TABLE airfleet.slot_decision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pool text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    inputs jsonb NOT NULL,
    wanted int NOT NULL,
    slots jsonb NOT NULL,
    reason text NOT NULL
);
COMMENT ON TABLE airfleet.slot_decision IS 'each decision that changed the slots of a worker, with all it depended on';
CREATE INDEX slot_decision_recent ON airfleet.slot_decision (pool, decided_at);
