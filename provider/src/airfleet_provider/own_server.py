"""`python -m airfleet_provider.own_server`: what a fleet needs on a PostgreSQL that somebody else runs (ADR 53).

It reads its order as JSON from standard input, because the order holds passwords. It may run any number of times.
`… own_server -c SQL` prints the rows of a query of the metadata database, as `psql -At` does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from airfleet_provider.contract import database_claim, own_server
from airfleet_provider.contract.database_claim import ClaimedError
from airfleet_provider.contract.migrations import runner
from airfleet_provider.contract.migrations.runner import MigratedDatabase, MigrationError, MigrationKind
from airfleet_provider.contract.text import one_line
from airfleet_provider.liveness import wait_for_database

CONNECT_S = 10
RIGHTS = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"


def main() -> None:
    """Carry out the order on standard input, or ask the metadata database.

    Raises:
        SystemExit: The server refuses something; the reason is printed, without a password.
    """
    try:
        if sys.argv[1:2] == ["-c"]:
            show(wait_for_database.read_url(os.environ), sys.argv[2])
        else:
            prepare(json.load(sys.stdin))
    except (psycopg.Error, MigrationError, ClaimedError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SystemExit(f"airfleet: {one_line(said)}") from None


def show(url: str, query: str) -> None:
    """Print the rows of a query, a line for each. `url` is that of Airflow, with the name of a driver."""
    with psycopg.connect(url.replace("+psycopg2:", ":", 1), autocommit=True, connect_timeout=CONNECT_S) as connection:
        for row in connection.execute(query.encode()).fetchall():
            print("|".join("" if one is None else str(one) for one in row))


def prepare(order: Mapping[str, Any]) -> None:
    """Claim the metadata database, and make the result database with its two roles.

    Roles and databases are made only where the login may make them. Otherwise the owner of the server has made them.
    """
    results = order["results"]
    with psycopg.connect(order["metadata"], autocommit=True, connect_timeout=CONNECT_S) as connection:
        execute = runner.execute_on(connection)
        database_claim.claim(execute, order["platform"])
        database_claim.speak_utc(execute)
        if _ask(connection, RIGHTS):
            for role, logins in results["roles"].items():
                _make_role(connection, role, logins)
        if not _ask(connection, "SELECT count(*) FROM pg_database WHERE datname = %s", results["database"]):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(results["database"])))
    with psycopg.connect(results["url"], autocommit=True, connect_timeout=CONNECT_S) as connection:
        runner.migrate(
            runner.execute_on(connection),
            runner.read_own(MigratedDatabase.RESULTS),
            kinds=tuple(map(MigrationKind, order["kinds"])),
        )
        for statement in own_server.protect_database(results["database"], results["roles"]):
            connection.execute(statement.encode())
        connection.execute(results["rights"].encode())


def _make_role(connection: psycopg.Connection, role: str, logins: Mapping[str, str]) -> None:
    rows = connection.execute(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = %s OR starts_with(rolname, %s)", [role, f"{role}."]
    ).fetchall()
    there, able = {name for name, _ in rows}, {name for name, can_log_in in rows if can_log_in}
    # Only a verifier is sent: a statement may end up in the server's log.
    hidden = {login: encrypt(connection, login, password) for login, password in logins.items()}
    for statement in (*own_server.make_logins(role, hidden, there), *own_server.end_logins(role, logins, able)):
        connection.execute(statement.encode())


def encrypt(connection: psycopg.Connection, login: str, password: str) -> str:
    """Return the verifier of a password, which PostgreSQL keeps in its place."""
    return connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()


def _ask(connection: psycopg.Connection, query: str, *words: object) -> Any:  # noqa: ANN401
    row = connection.execute(query.encode(), words or None).fetchone()
    return row[0] if row else None


if __name__ == "__main__":
    main()
