"""`airflow airfleet admin`: creates the administrator, sets the password from a file, ends users of no directory."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from airfleet_provider.access import apply
from airfleet_provider.compat.calls import fab_access, metadata_db, users
from airfleet_provider.contract import job_schema

KNOWN = "SELECT fingerprint FROM airfleet.job WHERE name = %s"
OF_DIRECTORIES = "SELECT count(*) FROM airfleet.directory_user WHERE NOT is_ended"
NOTE = (
    "INSERT INTO airfleet.job (name, fingerprint, ended_at) VALUES (%s, %s, clock_timestamp())"
    " ON CONFLICT (name) DO UPDATE SET fingerprint = EXCLUDED.fingerprint, ended_at = EXCLUDED.ended_at"
)


def run_command(arguments: argparse.Namespace) -> None:
    """Create the user with the password from the file; change the password if the file has changed since the last run.

    A password that the user chose in the UI stays until the file changes. A change ends the user's sessions. Where
    fleet.yaml says nothing of access, users of a former directory end too, as nobody confirms them any more.
    """
    _keep_administrator(arguments)
    if arguments.no_directory and _count_users_of_directories():
        # Before, nobody pays for the start of FAB's application.
        with fab_access.open_access() as access:
            for change in apply.end_directory_users(access):
                print(change)


def _keep_administrator(arguments: argparse.Namespace) -> None:
    password = Path(arguments.password_file).read_text()
    with closing(metadata_db.connect()) as connection:
        known = _read(connection)
        hashed = None
        with users.open_users() as found:
            if not found.exists(arguments.username):
                hashed = found.create_admin(arguments.username, password)
            elif known is None or not users.is_hash_of(known, password):
                if found.has_password(arguments.username, password):
                    print(f"{arguments.username} has this password already")
                else:
                    found.set_password(arguments.username, password)
                    print(f"the password of {arguments.username} was changed, and the user's sessions have ended")
            else:
                return
        with connection.cursor() as cursor:
            cursor.execute(NOTE, (job_schema.ADMIN_PASSWORD, hashed or users.make_hash(password)))


def _read(connection: Any) -> str | None:  # noqa: ANN401 - a psycopg2 connection, which has no types
    with connection.cursor() as cursor:
        cursor.execute(KNOWN, (job_schema.ADMIN_PASSWORD,))
        row = cursor.fetchone()
    return str(row[0]) if row else None


def _count_users_of_directories() -> int:
    with closing(metadata_db.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(OF_DIRECTORIES)
        return int(cursor.fetchone()[0])
