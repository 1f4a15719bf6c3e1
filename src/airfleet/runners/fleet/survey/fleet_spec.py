"""The spec of a fleet: fleet.yaml and the records of the state folder, with all secrets."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from airfleet.components.host_model import FleetCredentials, Objects
from airfleet.components.hosts import haproxy
from airfleet.errors import AirfleetError, UsageError
from airfleet.peers import sources
from airfleet.runners.fleet.transport import database_cluster
from airfleet.spec.fleet import Fleet
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.secrets import Secret, resolve
from airfleet.spec.topology import Host
from airfleet.workspace import airflow_version, credentials
from airfleet.workspace.project import (
    find_project,
    find_state,
    read_fleet,
    resolve_access,
    resolve_connection,
    resolve_directory,
    resolve_notifications,
    resolve_openlineage,
    resolve_tracing,
    resolve_value,
)
from airfleet.workspace.rotation import RotationLedger
from airfleet.workspace.state_folder import StateFolder

# Whoever reaches the port may try passwords.
LEAST_PASSWORD = 16


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """The desired state of one fleet, with its secrets. `leaving` are removed hosts whose workers still drain.

    `airflow` is the version for all hosts. During an upgrade, some may still run the version `beside`. A host with an
    unknown SSH key is left out unless `accept_new_hosts`. `rotations` holds the steps of the rotations of secrets.
    """

    fleet: Fleet
    project: Path
    credentials: FleetCredentials
    objects: Objects
    rotations: RotationLedger
    airflow: str
    beside: str = ""
    leaving: tuple[Host, ...] = ()
    accept_new_hosts: bool = False


def open_folder(project: Path, state: Path | None) -> StateFolder:
    """Return the state folder of a fleet, and create it if needed.

    Raises:
        AirfleetError: fleet.yaml names no hosts.
    """
    project = find_project(project)
    if not read_fleet(project).hosts:
        hint = "name them under `hosts`; for this machine alone there is `airfleet up`"
        raise AirfleetError("fleet.yaml names no hosts", where=str(project), hint=hint)
    folder = find_state(project, state)
    folder.create()
    return folder


def read_spec(project: Path, state: Path | None, *, accept_new_hosts: bool = False) -> FleetSpec:
    """Return the spec of a project's fleet.

    A command that changes hosts must read the spec while it keeps other commands out: they may promote a host or rotate
    a secret.

    Raises:
        UsageError: fleet.yaml is wrong, or a secret cannot be fetched.
        AirfleetError: fleet.yaml names no hosts.
    """
    folder = open_folder(project, state)
    project = find_project(project)
    fleet = read_fleet(project)
    running = airflow_version.read(folder)
    rotations = RotationLedger(folder.secrets)
    environ = os.environ

    def value(thing: object, place: str) -> object:
        return resolve_value(thing, project, f"fleet.yaml: {place}")

    tls = None
    if fleet.tls:
        certificate = resolve_file(project, fleet.tls.certificate)
        key = resolve(SecretRef(file=fleet.tls.key), environ=environ, project=project, where="fleet.yaml: tls.key")
        tls = haproxy.join_tls(certificate, key)
    return FleetSpec(
        fleet=database_cluster.refresh(fleet, folder, project),
        project=project,
        credentials=replace(
            credentials.read(folder, rotations, fleet),
            database=sources.read_database(fleet, project),
            broker=sources.read_broker(fleet, project),
        ),
        objects=Objects(
            connections={key: resolve_connection(key, one, project) for key, one in fleet.connections.items()},
            variables={key: value(one, f"variables.{key}") for key, one in fleet.variables.items()},
            environment={
                key: Secret(str(value(one, f"env.{key}"))) if isinstance(one, SecretRef) else one
                for key, one in fleet.env.items()
            },
            versions="",
            tls=tls,
            notifications=resolve_notifications(fleet, project),
            reporting=_resolve_reporting(fleet, project),
            access=resolve_access(fleet, project, folder),
            directory=resolve_directory(fleet, project),
            opensearch=_find_opensearch(fleet, project),
            tracing=resolve_tracing(fleet, project),
            openlineage=resolve_openlineage(fleet, project),
        ),
        rotations=rotations,
        airflow=running.version,
        beside=running.target,
        accept_new_hosts=accept_new_hosts,
    )


def _resolve_reporting(fleet: Fleet, project: Path) -> Secret | None:
    if fleet.reporting is None:
        return None
    where = "fleet.yaml: reporting.password"
    password = resolve(fleet.reporting.password, environ=os.environ, project=project, where=where)
    if len(password.reveal()) < LEAST_PASSWORD or not password.reveal().isprintable():
        what = f"the password has fewer than {LEAST_PASSWORD} characters, or one that cannot be printed"
        raise UsageError(what, where=where, hint="make one with: openssl rand -base64 24")
    return password


def _find_opensearch(fleet: Fleet, project: Path) -> Secret | None:
    found = fleet.logs.opensearch
    return (
        resolve(found.url, environ=os.environ, project=project, where="fleet.yaml: logs.opensearch") if found else None
    )


def resolve_file(project: Path, name: str) -> str:
    """Return the text of a file of the project that is not secret.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        return (project / Path(name).expanduser()).read_text()
    except OSError as error:
        hint = "`tls.certificate` in fleet.yaml names it"
        raise AirfleetError(
            f"the file {name} cannot be read: {error.strerror}", where=str(project), hint=hint
        ) from None
