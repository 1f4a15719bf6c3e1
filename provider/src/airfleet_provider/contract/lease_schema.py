"""The tables of the scheduler's lease, beside Airflow's own in the metadata database.

`airfleet.tenure` has one row for each term of a scheduler, `airfleet.seat` one for each candidate that lives.
"""

from __future__ import annotations

from enum import StrEnum

from airfleet_provider.contract.locks import SCHEMA_LOCK

# Announces that the lease is free, or that its holder is asked to hand over.
CHANNEL = "airfleet_lease"
# The name of the one lease that there is.
SCHEDULER = "scheduler"


class CandidateState(StrEnum):
    """What a candidate for the lease does."""

    WARMING = "warming"
    STANDBY = "standby"
    TAKING_OVER = "taking over"
    ACTIVE = "active"


# May be run at any time by anybody, also by several at once; holds no parameter and no percent sign.
SQL = f"""
BEGIN;
SELECT pg_advisory_xact_lock({SCHEMA_LOCK});
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
INSERT INTO airfleet.lease (name) VALUES ('{SCHEDULER}') ON CONFLICT DO NOTHING;
COMMIT;
"""  # noqa: S608 - constants of this package
