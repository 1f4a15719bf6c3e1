"""A project folder: its fleet.yaml, its state folder, and the secrets that fleet.yaml refers to."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from airfleet.errors import UsageError
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.secrets import Secret, resolve
from airfleet.workspace.state_folder import StateFolder

if TYPE_CHECKING:
    from airfleet.spec.access import AccessUser
    from airfleet.spec.fleet import Connection, Fleet
    from airfleet.spec.notifications import Fetch
    from airfleet_provider.contract.notification_policy import NotificationPolicy
    from airfleet_provider.contract.openlineage_policy import OpenLineagePolicy
    from airfleet_provider.contract.tracing_policy import TracingPolicy

STATE_FOLDER = ".airfleet"
# Characters that a password of a user has at least.
LEAST_PASSWORD = 8


def find_project(folder: Path) -> Path:
    """Return the absolute path of a project folder.

    Raises:
        UsageError: The folder does not exist, or has no dags/ folder.
    """
    if not folder.is_dir():
        raise UsageError("no such project folder", where=str(folder), hint="give a folder with a dags/ folder in it")
    if not (folder / "dags").is_dir():
        raise UsageError(
            "this folder has no dags/ folder, so it is no project",
            where=str(folder.resolve()),
            hint="a project is a folder with dags/ in it; airfleet init my-project makes one",
        )
    return folder.resolve()


def find_state(project: Path, state: Path | None) -> StateFolder:
    """Return the state folder of a project: `state`, or `.airfleet` in the project."""
    return StateFolder((state or project / STATE_FOLDER).resolve())


def read_fleet(project: Path) -> Fleet:
    """Return the fleet of a project's fleet.yaml, or a fleet of defaults if there is none. It changes nothing.

    Raises:
        UsageError: fleet.yaml cannot be read or is wrong.
    """
    from airfleet.spec import load  # noqa: PLC0415 - it takes a quarter of a second, and few commands do without

    return load.read(project, cpus=os.cpu_count() or 1)


def digest_settings(project: Path) -> str:
    """Return a digest of the text of fleet.yaml, or "" if it cannot be read. Without a file, the text is empty."""
    path = project / "fleet.yaml"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if path.with_suffix(".yml").exists():  # which is a mistake that the reader explains
            return ""
        text = b""
    except OSError:
        return ""
    return hashlib.sha256(text).hexdigest()


def note_start(folder: StateFolder, fleet: Fleet, digest: str) -> None:
    """Note the digest of the fleet.yaml with which the platform of this machine starts.

    Nothing is noted of one that names hosts: other commands are then about the fleet, and read it each time.
    """
    folder.note_settings("" if fleet.hosts else digest)


def has_releases(project: Path) -> bool:
    """Return whether fleet.yaml says `dags: releases`. No rule for fleet.yaml is checked.

    Raises:
        SpecError: fleet.yaml is not YAML.
    """
    from airfleet.spec import yaml_document  # noqa: PLC0415 - few commands need it

    path = project / "fleet.yaml"
    try:
        text = path.read_bytes().decode(errors="replace")
    except OSError:
        return False
    return yaml_document.parse(text, file=str(path)).data.get("dags") == "releases"


def find_fleet(project: Path, folder: StateFolder, warn: Callable[[str], None]) -> Fleet | None:
    """Return the fleet if fleet.yaml names hosts, or None for one machine.

    To read all of fleet.yaml takes longer than most commands. The text with which the platform of this machine was
    started last has no mistake and names no hosts, so it is not read again. A mistake that fleet.yaml got since is a
    warning: the platform that is up can be seen and stopped all the same.

    Raises:
        UsageError: fleet.yaml cannot be read or is wrong, and no platform of this machine is up.
    """
    if not project.is_dir() or folder.started_with(digest_settings(project)):
        return None
    try:
        fleet = read_fleet(project)
    except UsageError as error:
        if not folder.is_held() or folder.read_snapshot() is None:
            raise
        warn(f"warning: {error}")
        return None
    return fleet if fleet.hosts else None


def resolve_value(value: object, project: Path, where: str = "fleet.yaml") -> object:
    """Return the value itself, or the secret that it refers to. `where` names the place of the value in errors.

    Raises:
        UsageError: The secret cannot be fetched.
    """
    if not isinstance(value, SecretRef):
        return value
    return resolve(value, environ=os.environ, project=project, where=where).reveal()


def resolve_connection(name: str, connection: Connection, project: Path) -> object:
    """Return a connection in the form that Airflow imports, with its secrets in plain text.

    Raises:
        UsageError: A secret cannot be fetched.
    """
    where = f"fleet.yaml: connections.{name}"
    if connection.uri is not None:
        return resolve_value(connection.uri, project, f"{where}.uri")
    extra = {key: resolve_value(value, project, f"{where}.extra.{key}") for key, value in connection.extra.items()}
    fields = {
        "conn_type": connection.type,
        "host": connection.host,
        "login": connection.login,
        "password": resolve_value(connection.password, project, f"{where}.password"),
        "schema": connection.schema,
        "port": connection.port,
        "extra": extra or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def resolve_access(fleet: Fleet, project: Path, folder: StateFolder) -> Secret | None:
    """Return what `access` of fleet.yaml says, in the form that the provider reads, with the passwords of the users.

    A user without a reference gets a password, which stays in a file of the state folder.

    Raises:
        UsageError: A password cannot be fetched, or is too short.
    """
    if fleet.access is None:
        return None

    def find_password(name: str, user: AccessUser) -> str:
        if user.password is None:
            return folder.keep_secret(name_password_file(name), lambda: secrets.token_urlsafe(12)).reveal()
        where = f"fleet.yaml: access.users.{name}.password"
        password = resolve(user.password, environ=os.environ, project=project, where=where).reveal()
        if len(password) < LEAST_PASSWORD:
            hint = "make one with: openssl rand -base64 15"
            raise UsageError(f"the password has fewer than {LEAST_PASSWORD} characters", where=where, hint=hint)
        return password

    return Secret(fleet.access.resolve(find_password).to_text())


def resolve_directory(fleet: Fleet, project: Path) -> Secret | None:
    """Return where users are who are not in fleet.yaml, with the secret, in the form that web hosts read.

    Raises:
        UsageError: The secret cannot be fetched, or the file with certificates cannot be read.
    """
    access = fleet.access
    if access is None or (login := access.login) is None:
        return None
    secret = resolve(login.secret, environ=os.environ, project=project, where=f"fleet.yaml: {login.where}").reveal()
    if not secret.strip():
        raise UsageError("the secret is empty", where=f"fleet.yaml: {login.where}", hint="let its source give one line")
    authority = ""
    if login.authority_file:
        where = "fleet.yaml: access.login, authority"
        try:
            authority = (project / Path(login.authority_file).expanduser()).read_text()
        except (OSError, UnicodeDecodeError) as error:
            hint = "name a file with certificates in PEM"
            raise UsageError(f"{login.authority_file} cannot be read: {error}", where=where, hint=hint) from None
        if "BEGIN CERTIFICATE" not in authority:
            raise UsageError(
                f"{login.authority_file} has no certificate in PEM", where=where, hint="openssl x509 -in FILE"
            )
    local = frozenset(access.users)
    groups = dict(access.directory_groups)
    return Secret(login.complete(secret=secret, authority=authority, groups=groups, local=local).to_text())


def name_password_file(user: str) -> str:
    """Return the name of the file of secrets with the password that airfleet made for a user."""
    return f"user_{user}"


def list_references(fleet: Fleet) -> Iterator[tuple[str, SecretRef]]:
    """Yield each secret that a start on one machine fetches, with its place. Those of servers are left out."""
    found: list[tuple[str, object]] = []
    for name, one in fleet.connections.items():
        found += [(f"connections.{name}.uri", one.uri), (f"connections.{name}.password", one.password)]
        found += [(f"connections.{name}.extra.{key}", value) for key, value in one.extra.items()]
    found += [(f"variables.{name}", value) for name, value in fleet.variables.items()]
    found += [(f"env.{name}", value) for name, value in fleet.env.items()]
    for receiver in fleet.notifications.receivers:
        place = f"notifications.receivers.{receiver.receiver.name}"
        found += [(place, receiver.url), (place, receiver.secret)]
    found.append(("notifications.ping", fleet.notifications.ping_url))
    if fleet.access:
        found += [(f"access.users.{name}.password", one.password) for name, one in fleet.access.users.items()]
        if fleet.access.login:
            found.append((fleet.access.login.where, fleet.access.login.secret))
    if fleet.tracing:
        found += [(f"tracing.headers.{name}", ref) for name, ref in fleet.tracing.secrets.items()]
    if fleet.openlineage:
        found += [(f"openlineage.backends.{name}.token", ref) for name, ref in fleet.openlineage.tokens.items()]
    yield from ((place, value) for place, value in found if isinstance(value, SecretRef))


_ONE_LINE = "let its source give one line of ASCII"


def resolve_notifications(fleet: Fleet, project: Path) -> NotificationPolicy:
    """Return who is notified, with the secrets of the receivers.

    Raises:
        UsageError: A secret cannot be fetched.
    """
    return fleet.notifications.fetch(_fetch_from(project))


def resolve_tracing(fleet: Fleet, project: Path) -> TracingPolicy | None:
    """Return where traces go, with the secrets in the headers, or None if they go nowhere.

    Raises:
        UsageError: A secret cannot be fetched, or no header may have it.
    """
    if fleet.tracing is None:
        return None
    policy = fleet.tracing.fetch(_fetch_from(project))
    for name, value in policy.headers.items():
        if not value.isascii() or not value.isprintable():
            where = f"fleet.yaml: tracing.headers.{name}"
            raise UsageError("the secret has a character that no header may have", where=where, hint=_ONE_LINE)
    return policy


def resolve_openlineage(fleet: Fleet, project: Path) -> OpenLineagePolicy | None:
    """Return which backends get events of OpenLineage, with their tokens, or None if no task writes any.

    Raises:
        UsageError: A secret cannot be fetched, or no header may have it.
    """
    if fleet.openlineage is None:
        return None
    policy = fleet.openlineage.fetch(_fetch_from(project))
    for one in policy.backends:
        if not one.token.isascii() or not (one.token or "-").isprintable():
            where = f"fleet.yaml: openlineage.backends.{one.name}.token"
            raise UsageError("the secret has a character that no header may have", where=where, hint=_ONE_LINE)
    return policy


def _fetch_from(project: Path) -> Fetch:
    def fetch(ref: SecretRef, where: str) -> str:
        return resolve(ref, environ=os.environ, project=project, where=where).reveal()

    return fetch
