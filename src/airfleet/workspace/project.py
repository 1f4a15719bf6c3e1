"""A project folder: its fleet.yaml, its state folder, and the secrets that fleet.yaml refers to."""

from __future__ import annotations

import os
from pathlib import Path

from airfleet.errors import UsageError
from airfleet.spec import load
from airfleet.spec.fleet import Connection, Fleet, SecretRef
from airfleet.spec.secrets import resolve
from airfleet.workspace.state_folder import StateFolder

STATE_FOLDER = ".airfleet"


def find_project(folder: Path) -> Path:
    """The absolute project folder; raises UsageError when it is none."""
    if not folder.is_dir():
        raise UsageError("no such project folder", where=str(folder), hint="give a folder with a dags/ folder in it")
    if not (folder / "dags").is_dir():
        raise UsageError("this folder has no dags/ folder, so it is no project", where=str(folder), hint="mkdir dags")
    return folder.resolve()


def find_state(project: Path, state: Path | None) -> StateFolder:
    """The state folder of a project: beside its Dags, unless the user named another."""
    return StateFolder((state or project / STATE_FOLDER).resolve())


def read_fleet(project: Path) -> Fleet:
    """What fleet.yaml says, or the defaults; raises UsageError, and has touched nothing."""
    return load.read(project, cpus=os.cpu_count() or 1)


def resolve_value(value: object, project: Path) -> object:
    """The value itself, or the secret that it refers to."""
    return resolve(value, environ=os.environ, project=project).reveal() if isinstance(value, SecretRef) else value


def resolve_connection(connection: Connection, project: Path) -> object:
    """A connection as Airflow imports it, its secrets resolved."""
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
