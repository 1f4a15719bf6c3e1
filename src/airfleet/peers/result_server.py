"""The result database on a PostgreSQL that somebody else runs: what is missing there, with the SQL that makes it.

Where the login may make roles and databases, a job of the fleet makes them, and nothing is missing. Statements hold
verifiers in place of passwords.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import psycopg

from airfleet.components.model import OwnDatabase
from airfleet.components.postgresql import own_server as job
from airfleet.components.postgresql import result_database
from airfleet.components.postgresql.result_database import ResultLogins
from airfleet.peers.connection import ask, connect, say
from airfleet.spec.secrets import Secret
from airfleet.workspace.diagnosis import Diagnosis
from airfleet_provider.contract import own_server


def examine(
    connection: psycopg.Connection, metadata: OwnDatabase, logins: ResultLogins, way: int
) -> Iterator[Diagnosis]:
    """Yield what is missing. `way` is a port of this machine that leads to the server, or 0."""
    names = result_database.name_beside(metadata.name)
    may_make_roles, may_make_databases = ask(
        connection,
        "SELECT rolsuper OR rolcreaterole, rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = current_user",
    )
    [is_there] = ask(connection, "SELECT count(*) FROM pg_database WHERE datname = %s", names.database)
    missing = []
    if is_there:
        missing += _list_of_database(connection, names.database)
    elif not may_make_databases:
        missing.append(f'CREATE DATABASE "{names.database}" OWNER "{metadata.user}"')
    if not may_make_roles:
        reached = metadata.beside(names.database) if is_there else None
        for role, valid in job.list_logins(names, logins).items():
            missing += _list_of_role(connection, role, valid, reached, way)
    if missing:
        what = f"the results of tasks need the database {names.database} with two logins of few rights"
        yield say("error", what, "; ".join(missing))
    if ask(connection, "SELECT has_database_privilege('public', current_database(), 'CONNECT')")[0]:
        what = f"every login of this server may connect to {metadata.name}, also that of the workers"
        yield say("warning", what, f'REVOKE CONNECT ON DATABASE "{metadata.name}" FROM PUBLIC')


def _list_of_database(connection: psycopg.Connection, name: str) -> list[str]:
    user, is_owner = ask(
        connection,
        "SELECT current_user, pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = %s",
        name,
    )
    return [] if is_owner else [f'ALTER DATABASE "{name}" OWNER TO "{user}"']


def _list_of_role(
    connection: psycopg.Connection, role: str, valid: Mapping[str, Secret], reached: OwnDatabase | None, way: int
) -> list[str]:
    """Return SQL for the logins of a role that are missing, or do not get into the result database `reached`."""
    rows = connection.execute(
        "SELECT rolname, rolcanlogin FROM pg_roles WHERE rolname = %s OR starts_with(rolname, %s)", [role, f"{role}."]
    ).fetchall()
    there, able = {name for name, _ in rows}, {name for name, can_log_in in rows if can_log_in}
    wrong = {
        login: _encrypt(connection, login, password)
        for login, password in valid.items()
        if login not in able or (reached and not _gets_in(replace(reached, user=login, password=password), way))
    }
    return [*own_server.make_logins(role, wrong, there), *own_server.end_logins(role, valid, able)]


def _gets_in(database: OwnDatabase, way: int) -> bool:
    try:
        connect(database, way).close()
    except psycopg.OperationalError:
        return False
    return True


def _encrypt(connection: psycopg.Connection, login: str, password: Secret) -> str:
    word = password.reveal().encode()
    return connection.pgconn.encrypt_password(word, login.encode(), b"scram-sha-256").decode()
