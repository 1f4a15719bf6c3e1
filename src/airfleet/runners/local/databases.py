"""Make the roles and databases of one platform on its embedded server: a program that may run any number of times."""

from __future__ import annotations

import json
import os

import psycopg
from psycopg import sql

# airfleet's own memory, beside Airflow's tables: which jobs ended well, and with what.
OWN_TABLES = """
CREATE SCHEMA IF NOT EXISTS airfleet AUTHORIZATION airflow;
CREATE TABLE IF NOT EXISTS airfleet.job (
    name text PRIMARY KEY,
    fingerprint text NOT NULL,
    ended_at timestamptz NOT NULL
);
ALTER TABLE airfleet.job OWNER TO airflow;
"""


def main() -> None:
    """Converge the server to the databases and passwords that the environment names."""
    with psycopg.connect(os.environ["AIRFLEET_SUPERUSER_DSN"], autocommit=True) as connection:
        for name, password in json.loads(os.environ["AIRFLEET_DATABASES"]).items():
            ensure(connection, name, password)
    with psycopg.connect(os.environ["AIRFLEET_SUPERUSER_DSN"], dbname="airflow", autocommit=True) as connection:
        connection.execute(OWN_TABLES)


def ensure(connection: psycopg.Connection, name: str, password: str) -> None:
    """One database, owned by a role of the same name that logs in with this password and sees no other database."""
    role = sql.Identifier(name)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(role))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))


if __name__ == "__main__":
    main()
