"""Make airfleet's own tables in a database that somebody else runs. The program may run any number of times."""

from __future__ import annotations

import os

import psycopg
from psycopg import sql

from airfleet.peers import database as own_database
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, MigrationError, MigrationKind


def main() -> None:
    """Migrate the tables, let this login's sessions speak UTC there, and note which platform works with the database.

    Raises:
        SystemExit: A migration is refused; its reason is printed.
    """
    with psycopg.connect(os.environ["AIRFLEET_OWN_DATABASE"], autocommit=True) as connection:
        name = sql.Identifier(connection.info.dbname)
        # A role may do this for itself, on every server.
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET timezone TO 'UTC'").format(name))
        try:
            runner.migrate(
                runner.execute_on(connection),
                runner.read_own(MigratedDatabase.METADATA),
                kinds=(MigrationKind.PRE, MigrationKind.POST),
            )
        except MigrationError as refusal:
            raise SystemExit(f"airfleet: {refusal}") from None
        own_database.claim(connection, os.environ["AIRFLEET_OWN_INSTANCE"])


if __name__ == "__main__":
    main()
