"""Create the roles and databases of a platform on its embedded server. The program may run any number of times."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from airfleet.components.postgresql import result_database
from airfleet_provider.contract import gate
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, MigrationError, MigrationKind


def main() -> None:
    """Create the databases and set the passwords that the environment names."""
    gate.wait(os.environ)
    with connect(json.loads(os.environ["AIRFLEET_SUPERUSER_DSNS"])) as connection:
        password = sql.Literal(os.environ["AIRFLEET_SUPERUSER"])
        connection.execute(sql.SQL("SET log_min_error_statement = panic"))  # it may hold a password
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(password))
        for name, password in json.loads(os.environ["AIRFLEET_DATABASES"]).items():
            ensure(connection, name, password)
    password = json.loads(os.environ["AIRFLEET_DATABASES"])["airflow"]
    migrate(json.loads(os.environ["AIRFLEET_SUPERUSER_DSNS"]), password)
    if passwords := json.loads(os.environ["AIRFLEET_RESULTS"]):
        ensure_results(json.loads(os.environ["AIRFLEET_SUPERUSER_DSNS"]), passwords)


def migrate(dsns: Sequence[str], password: str) -> None:
    """Migrate airfleet's own tables to this version, as their owner. No process of an older version may run.

    Raises:
        SystemExit: A migration is refused; its reason is printed.
    """
    with connect(dsns, dbname="airflow", user="airflow", password=password) as connection:
        _apply(connection, MigratedDatabase.METADATA)


def _apply(connection: psycopg.Connection, database: MigratedDatabase) -> None:
    try:
        runner.migrate(
            runner.execute_on(connection), runner.read_own(database), kinds=(MigrationKind.PRE, MigrationKind.POST)
        )
    except MigrationError as refusal:
        raise SystemExit(f"airfleet: {refusal}") from None


def ensure_results(dsns: Sequence[str], passwords: Mapping[str, str]) -> None:
    """Create the result database, which neither workers nor schedulers own, and drop the one of earlier versions."""
    with connect(dsns) as connection:
        connection.execute("SET log_min_error_statement = panic")  # it may hold a password
        for name, password in passwords.items():
            ensure_role(connection, name, password)
        if not connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (result_database.DATABASE,)
        ).fetchone():
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(result_database.DATABASE)))
        # No worker runs while this program runs.
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(result_database.FORMER))
        )
        connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(result_database.FORMER)))
        for name in passwords:
            words = sql.Identifier(result_database.DATABASE), sql.Identifier(name)
            connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(words[0]))
            connection.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*words))
    with connect(dsns, dbname=result_database.DATABASE) as connection:
        _apply(connection, MigratedDatabase.RESULTS)
        connection.execute(result_database.RIGHTS)


def ensure_role(connection: psycopg.Connection, name: str, password: str) -> None:
    """Create a role, or set its password. It logs in with this password."""
    role = sql.Identifier(name)
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(role, sql.Literal(password)))


def connect(dsns: Sequence[str], dbname: str = "postgres", **login: str) -> psycopg.Connection:
    """Connect with the first login that the server accepts. `login` may override `user` and `password` of the URLs.

    Raises:
        psycopg.OperationalError: The server accepts none; it is the error of the first login.
        ValueError: There is no login.
    """
    refused: psycopg.OperationalError | None = None
    for dsn in dsns:
        try:
            return psycopg.connect(make_conninfo(dsn, dbname=dbname, **login), autocommit=True)
        except psycopg.OperationalError as error:
            refused = refused or error
    raise refused or ValueError("no login is given")


def ensure(connection: psycopg.Connection, name: str, password: str) -> None:
    """Create a database, owned by a role of the same name. The role logs in with this password to no other database."""
    role = sql.Identifier(name)
    ensure_role(connection, name, password)
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(role))
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(role))


if __name__ == "__main__":
    main()
