"""The URLs at which the processes of a host reach the metadata database and the results of tasks."""

from __future__ import annotations

from dataclasses import replace

from airfleet.components.host_model import ETC, POSTGRES, Place
from airfleet.components.postgresql import result_database
from airfleet.spec.secrets import Secret, find_login

HOME = "server"
# The file with the URL for processes that hold sessions.
SESSION = ETC / HOME / "session.env"
# The name under which PgBouncer has sessions for the calls of tasks.
CALLS = "airflow_calls"


def results_dsn(place: Place, role: str) -> Secret:
    """Return the URL of the result database for a database role."""
    password = place.credentials.results.by_role[role]
    if own := place.site(HOME).own_database:
        names = result_database.name_beside(own.name)
        name = names.writer if role == result_database.WRITER else names.reader
        login = replace(own, name=names.database, user=find_login(name, password), password=password)
        return login.dsn(driver="psycopg2")
    return place.site(HOME).dsn(result_database.DATABASE, role, password, driver="psycopg2")


def session_dsn(place: Place, driver: str) -> str:
    """Return the URL at which a process may hold a session: PgBouncer has a pool of sessions with this name."""
    return (
        place.site(HOME).dsn("airflow_session", "airflow", place.credentials.platform.airflow, driver=driver).reveal()
    )


def direct_dsn(place: Place) -> str:
    """Return the URL of PostgreSQL itself, for scheduler hosts: a session lock does not survive in a pooler."""
    site = replace(place.site(HOME), database_port=POSTGRES)
    dsn = site.dsn("airflow", "airflow", place.credentials.platform.airflow, driver="psycopg2").reveal()
    # With a fixed order, a scheduler agent would wait for a dead host at each connection if that host is the first.
    return f"{dsn}&load_balance_hosts=random" if len(site.database_hosts) > 1 else dsn
