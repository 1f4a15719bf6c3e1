"""The tables that releases live in, beside Airflow's own in the metadata database."""

from __future__ import annotations

CHANNEL = "airfleet_release"
# Shared by who puts a release somewhere, exclusive for who removes one.
COLLECT_LOCK = 4_707_004
# Taken by the one releaser that works, for as long as its connection lives.
AGENT_LOCK = 4_707_002
UNFINISHED = ("requested", "parsing", "publishing", "watching")

# May be run at any time by anybody, also by several at once; holds no parameter and no percent sign.
SQL = """
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
"""
