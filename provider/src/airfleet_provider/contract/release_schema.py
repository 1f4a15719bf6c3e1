"""The tables of releases and their deployments, beside Airflow's own in the metadata database."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from airfleet_provider.contract.locks import SCHEMA_LOCK

# Announces the id of a deployment that was asked for or has changed its state.
CHANNEL = "airfleet_release"
# The actor of a rollback that nobody asked for.
AUTOMATIC_ACTOR = "airfleet"


class DeploymentAction(StrEnum):
    """What a deployment was asked for."""

    CHECK = "check"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    PRUNE = "prune"


class DeploymentState(StrEnum):
    """How far a deployment has come."""

    REQUESTED = "requested"
    PARSING = "parsing"
    PUBLISHING = "publishing"
    WATCHING = "watching"
    DONE = "done"
    FAILED = "failed"


# The release agent has still to do something before the release is live.
PENDING = (DeploymentState.REQUESTED, DeploymentState.PARSING, DeploymentState.PUBLISHING)
UNFINISHED = (*PENDING, DeploymentState.WATCHING)
FINISHED = frozenset({DeploymentState.DONE, DeploymentState.FAILED})


def quote(words: Iterable[str]) -> str:
    """States or actions as a list for `IN (...)`; none of them holds a quote."""
    return ", ".join(f"'{word}'" for word in words)


# May be run at any time by anybody, also by several at once; holds no parameter and no percent sign.
SQL = f"""
BEGIN;
SELECT pg_advisory_xact_lock({SCHEMA_LOCK});
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
    action text NOT NULL CHECK (action IN ({quote(DeploymentAction)})),
    state text NOT NULL DEFAULT '{DeploymentState.REQUESTED}'
        CHECK (state IN ({quote(DeploymentState)})),
    actor text,
    reason text,
    requested_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    live_at timestamptz,
    watch_until timestamptz,
    finished_at timestamptz,
    verdict text,
    detail jsonb NOT NULL DEFAULT '{{}}'
);
CREATE INDEX IF NOT EXISTS deployment_unfinished ON airfleet.deployment (id)
    WHERE state IN ({quote(UNFINISHED)});
CREATE OR REPLACE FUNCTION airfleet.announce_deployment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.state IS DISTINCT FROM OLD.state THEN
        PERFORM pg_notify('{CHANNEL}', NEW.id::text);
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER announce AFTER INSERT OR UPDATE ON airfleet.deployment
    FOR EACH ROW EXECUTE FUNCTION airfleet.announce_deployment();
COMMIT;
"""  # noqa: S608 - constants of this package
