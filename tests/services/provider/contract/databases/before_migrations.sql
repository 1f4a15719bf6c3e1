-- airfleet's own tables as the commits 61ca4ca to 93f03a7 made them, run by the superuser (job) and by the role airflow.
CREATE SCHEMA IF NOT EXISTS airfleet AUTHORIZATION airflow;
CREATE TABLE IF NOT EXISTS airfleet.job (
    name text PRIMARY KEY,
    fingerprint text NOT NULL,
    ended_at timestamptz NOT NULL
);
ALTER TABLE airfleet.job OWNER TO airflow;
SET ROLE airflow;
BEGIN;
SELECT pg_advisory_xact_lock(4707001);
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE TABLE IF NOT EXISTS airfleet.release (
    id text PRIMARY KEY,
    bundle text NOT NULL,
    manifest jsonb NOT NULL,
    archive bytea,
    location text,
    keys text[],
    dags jsonb,
    built_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz NOT NULL DEFAULT now(),
    collected_at timestamptz,
    built_by text,
    message text,
    pinned boolean NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS airfleet.pointer (
    bundle text PRIMARY KEY,
    live text NOT NULL,
    previous text,
    moved_at timestamptz NOT NULL DEFAULT now(),
    moved_by text,
    reason text
);
CREATE TABLE IF NOT EXISTS airfleet.parsed (
    key text PRIMARY KEY,
    result jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS airfleet.deployment (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    bundle text NOT NULL,
    release text,
    action text NOT NULL CHECK (action IN ('check', 'promote', 'rollback', 'prune')),
    state text NOT NULL DEFAULT 'requested'
        CHECK (state IN ('requested', 'parsing', 'publishing', 'watching', 'done', 'failed')),
    actor text,
    reason text,
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    live_at timestamptz,
    watch_until timestamptz,
    finished_at timestamptz,
    verdict text,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS deployment_unfinished ON airfleet.deployment (id)
    WHERE state IN ('requested', 'parsing', 'publishing', 'watching');
CREATE OR REPLACE FUNCTION airfleet.announce_deployment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.state IS DISTINCT FROM OLD.state THEN
        PERFORM pg_notify('airfleet_release', NEW.id::text);
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE ON airfleet.deployment
    FOR EACH ROW EXECUTE FUNCTION airfleet.announce_deployment();
COMMIT;
BEGIN;
SELECT pg_advisory_xact_lock(4707001);
CREATE SCHEMA IF NOT EXISTS airfleet;
CREATE TABLE IF NOT EXISTS airfleet.lease (
    name text PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    holder text NOT NULL DEFAULT '',
    renewed_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL DEFAULT now(),
    requested bigint
);
COMMENT ON COLUMN airfleet.lease.requested IS 'the epoch whose holder is asked to hand over';
CREATE TABLE IF NOT EXISTS airfleet.tenure (
    epoch bigint PRIMARY KEY,
    seat text NOT NULL,
    holder text NOT NULL,
    machine text NOT NULL,
    session int NOT NULL,
    session_started bigint NOT NULL,
    why text NOT NULL,
    taken_at timestamptz NOT NULL,
    began_at timestamptz,
    ended_at timestamptz,
    fenced_at timestamptz
);
CREATE TABLE IF NOT EXISTS airfleet.seat (
    name text PRIMARY KEY,
    holder text NOT NULL,
    host text NOT NULL,
    state text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO airfleet.lease (name) VALUES ('scheduler') ON CONFLICT DO NOTHING;
COMMIT;
RESET ROLE;
