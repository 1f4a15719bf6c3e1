-- Why: the state of a circuit breaker is a row, so that all hosts agree on it and no restart forgets it (ADR 49).
CREATE TABLE airfleet.breaker (
    name text PRIMARY KEY,
    state text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half-open')),
    generation bigint NOT NULL DEFAULT 0,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    opened_at timestamptz,
    probe_at timestamptz,
    wave int NOT NULL DEFAULT 0,
    failed_probes int NOT NULL DEFAULT 0,
    waiting int NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT ''
) WITH (fillfactor = 70);
COMMENT ON COLUMN airfleet.breaker.generation IS 'grows with each change of the state or the wave';
COMMENT ON COLUMN airfleet.breaker.opened_at IS 'since when tasks wait; null while it is closed';
COMMENT ON COLUMN airfleet.breaker.probe_at IS 'when an open breaker lets a task through; null: a person must close it';
COMMENT ON COLUMN airfleet.breaker.wave IS 'how many tasks a half-open breaker lets through';
COMMENT ON COLUMN airfleet.breaker.failed_probes IS 'probes that failed since it opened';
COMMENT ON COLUMN airfleet.breaker.waiting IS 'tasks that wait for it';

CREATE TABLE airfleet.breaker_event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    breaker text NOT NULL,
    generation bigint NOT NULL,
    state text NOT NULL,
    wave int NOT NULL,
    happened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reason text NOT NULL,
    actor text NOT NULL
);
COMMENT ON TABLE airfleet.breaker_event IS 'every change of a breaker, and who or what made it';
CREATE INDEX breaker_event_recent ON airfleet.breaker_event (happened_at);

CREATE TABLE airfleet.breaker_failure (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    breaker text NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    worker text NOT NULL,
    instance uuid NOT NULL,
    error text NOT NULL
);
COMMENT ON TABLE airfleet.breaker_failure IS 'errors of tasks which say that a service is away';
CREATE INDEX breaker_failure_recent ON airfleet.breaker_failure (breaker, failed_at);

CREATE TABLE airfleet.breaker_task (
    breaker text NOT NULL,
    dag_id text NOT NULL,
    task_id text NOT NULL,
    PRIMARY KEY (breaker, dag_id, task_id)
);
COMMENT ON TABLE airfleet.breaker_task IS 'tasks that used the connection or the name of a breaker';

CREATE TABLE airfleet.breaker_probe (
    breaker text NOT NULL,
    generation bigint NOT NULL,
    instance uuid NOT NULL,
    outcome text NOT NULL DEFAULT 'chosen' CHECK (outcome IN ('chosen', 'passed', 'failed', 'other')),
    chosen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (breaker, generation, instance)
);
COMMENT ON TABLE airfleet.breaker_probe IS 'the task instances that a half-open breaker lets through';
