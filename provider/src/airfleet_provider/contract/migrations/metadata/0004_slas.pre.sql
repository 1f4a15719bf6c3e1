-- Why: the instances of SLAs are rows, so that they survive a fail-over and can be reported for months (ADR 46).
CREATE TABLE airfleet.sla_instance (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('finished-by', 'no-longer-than', 'starts-within', 'fresh-by', 'must-run')),
    dag_id text NOT NULL DEFAULT '',
    task_id text NOT NULL DEFAULT '',
    asset text NOT NULL DEFAULT '',
    occasion text NOT NULL,
    run_id text,
    state text NOT NULL CHECK (state IN ('due', 'at-risk', 'late', 'missed', 'met')),
    starts_at timestamptz NOT NULL,
    due_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    expected_at timestamptz,
    reason text NOT NULL DEFAULT '',
    fulfilled_at timestamptz,
    ended_at timestamptz,
    is_alerting boolean NOT NULL DEFAULT false,
    UNIQUE (rule, kind, dag_id, task_id, asset, occasion)
);
COMMENT ON COLUMN airfleet.sla_instance.occasion IS 'a local day, the id of a run, or the moment at which it began';
COMMENT ON COLUMN airfleet.sla_instance.fulfilled_at IS 'when what was promised happened, in time or late';
COMMENT ON COLUMN airfleet.sla_instance.is_alerting IS 'an alert is open because of this row';
CREATE INDEX sla_instance_open ON airfleet.sla_instance (id) WHERE ended_at IS NULL OR is_alerting;
CREATE INDEX sla_instance_ended ON airfleet.sla_instance (ended_at);
CREATE INDEX sla_instance_daily ON airfleet.sla_instance (due_at) WHERE kind IN ('finished-by', 'fresh-by');
CREATE INDEX sla_instance_due ON airfleet.sla_instance (due_at);

CREATE TABLE airfleet.sla_profile (
    dag_id text PRIMARY KEY,
    samples jsonb NOT NULL,
    learned_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE airfleet.sla_profile IS 'how long the last successful runs of a Dag and their tasks took';

CREATE TABLE airfleet.sla_engine (
    id boolean PRIMARY KEY DEFAULT true CHECK (id),
    evaluated_at timestamptz,
    last_run bigint NOT NULL DEFAULT 0,
    rules jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON COLUMN airfleet.sla_engine.last_run IS 'runs with a larger id have not been seen';
COMMENT ON COLUMN airfleet.sla_engine.rules IS 'the rules, each with the moment from which it counts';
