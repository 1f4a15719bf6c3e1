"""Make airfleet's own tables in a database that somebody else runs. The program may run any number of times."""

from __future__ import annotations

import os

import psycopg

from airfleet_provider.contract import database_claim
from airfleet_provider.contract.database_claim import ClaimedError
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, MigrationError, MigrationKind


def main() -> None:
    """Note which platform works with the database, let this login's sessions speak UTC there, and migrate the tables.

    Raises:
        SystemExit: Another platform works there, or a migration is refused; the reason is printed.
    """
    with psycopg.connect(os.environ["AIRFLEET_OWN_DATABASE"], autocommit=True) as connection:
        execute = runner.execute_on(connection)
        try:
            database_claim.claim(execute, os.environ["AIRFLEET_OWN_INSTANCE"])
            database_claim.speak_utc(execute)
            runner.migrate(
                execute,
                runner.read_own(MigratedDatabase.METADATA),
                kinds=(MigrationKind.PRE, MigrationKind.POST),
            )
        except (ClaimedError, MigrationError) as refusal:
            raise SystemExit(f"airfleet: {refusal}") from None


if __name__ == "__main__":
    main()
