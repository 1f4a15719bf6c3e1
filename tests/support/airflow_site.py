"""What a program that is Airflow's API needs first: Airflow's tables and airfleet's, roles and administrators."""

from __future__ import annotations

import os
from typing import Any

# Airflow is imported after its settings are made.
# ruff: noqa: PLC0415


def make_site(*admins: str, password: str) -> Any:  # noqa: ANN401 - a psycopg2 connection, which has no types
    """Make the tables, the roles, and administrators with a password in Airflow's database. Return a connection to it.

    The program has made all other settings of Airflow before.
    """
    os.environ["AIRFLOW__CORE__AUTH_MANAGER"] = "airfleet_provider.access.manager.FabAuthManager"
    from airflow.utils import db

    from airfleet_provider.compat.calls import metadata_db, users
    from airfleet_provider.contract.migrations import runner

    db.initdb()
    connection = metadata_db.connect()
    runner.migrate(runner.execute_on(connection), runner.read_own())
    with users.open_users() as found:
        found._manager.sync_roles()
        for name in admins:
            found.create_admin(name, password)
    return connection
