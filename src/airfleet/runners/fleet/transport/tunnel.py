"""An SSH tunnel from the control machine to the metadata database of a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airfleet.components.host_model import POSTGRES
from airfleet.peers import sources
from airfleet.runners.fleet.transport import database_cluster
from airfleet.runners.fleet.transport.connection import HostConnection
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import Secret, find_login
from airfleet.workspace import credentials
from airfleet.workspace.project import find_state
from airfleet.workspace.rotation import RotationLedger


@contextmanager
def open_database(fleet: Fleet, project: Path, state: Path | None) -> Iterator[Secret]:
    """Open a tunnel to the database, and yield its URL. The database listens only on the loopback of its host.

    A database that somebody else runs is reached from the first scheduler host.

    Raises:
        AirfleetError: The host does not answer.
    """
    folder = find_state(project, state)
    folder.create()
    if own := sources.read_database(fleet, project):
        connection = HostConnection(fleet.primary, project)
        connection.open()
        try:
            with connection.forward(own.host, own.port) as port:
                yield own.through(port)
        finally:
            connection.close()
        return
    password = credentials.read(folder, RotationLedger(folder.secrets), fleet).platform.airflow
    login = f"{find_login('airflow', password)}:{password.reveal()}"
    connection = HostConnection(database_cluster.refresh(fleet, folder, project).primary, project)
    connection.open()
    try:
        with connection.forward("127.0.0.1", POSTGRES) as port:
            yield Secret(f"postgresql://{login}@127.0.0.1:{port}/airflow")
    finally:
        connection.close()
