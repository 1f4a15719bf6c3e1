-- Why: how many tasks start in a minute and run at once is counted for all hosts, so the counts are rows (ADR 76).
CREATE TABLE airfleet.service_limit (
    name text PRIMARY KEY,
    starts_per_minute int,
    at_once int,
    tokens float8 NOT NULL DEFAULT 1,
    refilled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    active int NOT NULL DEFAULT 0,
    waiting int NOT NULL DEFAULT 0,
    waiting_tasks jsonb NOT NULL DEFAULT '[]',
    held_until timestamptz
) WITH (fillfactor = 70);
COMMENT ON TABLE airfleet.service_limit IS 'the limits of fleet.yaml on the tasks that call a service';
COMMENT ON COLUMN airfleet.service_limit.tokens IS 'starts that were allowed at refilled_at; more come with time';
COMMENT ON COLUMN airfleet.service_limit.active IS 'tasks that are queued, running or deferred';
COMMENT ON COLUMN airfleet.service_limit.waiting IS 'tasks that wait for it';
COMMENT ON COLUMN airfleet.service_limit.waiting_tasks IS 'pairs of the id of a Dag and of a task of it that waits';
COMMENT ON COLUMN airfleet.service_limit.held_until IS 'when a task was last seen to wait for it';

CREATE TABLE airfleet.service_grant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    limit_name text NOT NULL,
    dag_id text NOT NULL,
    instance uuid NOT NULL,
    outcome text NOT NULL DEFAULT 'open' CHECK (outcome IN ('open', 'used', 'expired')),
    granted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    queued_before timestamptz,
    started_at timestamptz,
    started_for timestamptz
);
COMMENT ON TABLE airfleet.service_grant IS 'starts that a limit has allowed: one row for one start of a task instance';
COMMENT ON COLUMN airfleet.service_grant.queued_before IS 'when the instance had last been queued before';
COMMENT ON COLUMN airfleet.service_grant.started_for IS 'when the instance was queued for the start that used it';
CREATE INDEX service_grant_open ON airfleet.service_grant (limit_name) WHERE outcome = 'open';
CREATE INDEX service_grant_recent ON airfleet.service_grant (limit_name, granted_at);
CREATE INDEX service_grant_started ON airfleet.service_grant (limit_name, started_at);
CREATE INDEX service_grant_instance ON airfleet.service_grant (instance, limit_name);
