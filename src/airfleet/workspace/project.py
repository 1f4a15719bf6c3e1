"""A project folder: its fleet.yaml, its state folder, and the secrets that fleet.yaml refers to."""

from __future__ import annotations

import os
from pathlib import Path

from airfleet.errors import UsageError
from airfleet.spec import load
from airfleet.spec.fleet import Connection, Fleet
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.secrets import resolve
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.notification_policy import Policy

STATE_FOLDER = ".airfleet"


def find_project(folder: Path) -> Path:
    """Return the absolute path of a project folder.

    Raises:
        UsageError: The folder does not exist, or has no dags/ folder.
    """
    if not folder.is_dir():
        raise UsageError("no such project folder", where=str(folder), hint="give a folder with a dags/ folder in it")
    if not (folder / "dags").is_dir():
        raise UsageError("this folder has no dags/ folder, so it is no project", where=str(folder), hint="mkdir dags")
    return folder.resolve()


def find_state(project: Path, state: Path | None) -> StateFolder:
    """Return the state folder of a project: `state`, or `.airfleet` in the project."""
    return StateFolder((state or project / STATE_FOLDER).resolve())


def read_fleet(project: Path) -> Fleet:
    """Return the fleet of a project's fleet.yaml, or a fleet of defaults if there is none. It changes nothing.

    Raises:
        UsageError: fleet.yaml cannot be read or is wrong.
    """
    return load.read(project, cpus=os.cpu_count() or 1)


def resolve_value(value: object, project: Path) -> object:
    """Return the value itself, or the secret that it refers to.

    Raises:
        UsageError: The secret cannot be fetched.
    """
    return resolve(value, environ=os.environ, project=project).reveal() if isinstance(value, SecretRef) else value


def resolve_connection(connection: Connection, project: Path) -> object:
    """Return a connection in the form that Airflow imports, with its secrets in plain text.

    Raises:
        UsageError: A secret cannot be fetched.
    """
    if connection.uri is not None:
        return resolve_value(connection.uri, project)
    fields = {
        "conn_type": connection.type,
        "host": connection.host,
        "login": connection.login,
        "password": resolve_value(connection.password, project),
        "schema": connection.schema,
        "port": connection.port,
        "extra": {key: resolve_value(value, project) for key, value in connection.extra.items()} or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def resolve_notifications(fleet: Fleet, project: Path) -> Policy:
    """Return who is notified, with the secrets of the receivers.

    Raises:
        UsageError: A secret cannot be fetched.
    """

    def fetch(ref: SecretRef, where: str) -> str:
        return resolve(ref, environ=os.environ, project=project, where=where).reveal()

    return fleet.notifications.fetch(fetch)
