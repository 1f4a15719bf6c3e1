"""The table of jobs that ended well: what airfleet does once, or again when its input has changed."""

from __future__ import annotations

# The job that gives airfleet's administrator the password of a file.
ADMIN_PASSWORD = "admin-password"  # noqa: S105 - the name of a job
# For a superuser connected to the metadata database; may be run at any time.
SQL = """
CREATE SCHEMA IF NOT EXISTS airfleet AUTHORIZATION airflow;
CREATE TABLE IF NOT EXISTS airfleet.job (
    name text PRIMARY KEY,
    fingerprint text NOT NULL,
    ended_at timestamptz NOT NULL
);
ALTER TABLE airfleet.job OWNER TO airflow;
"""
