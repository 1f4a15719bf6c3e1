"""The job that fills the metadata database before the first component starts: schema, users, objects of fleet.yaml."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from airfleet.components.health import LOOPBACK
from airfleet.components.model import DEAD_PEER, Component, Credentials, File, Process, Site, reveal
from airfleet.spec.fleet import SlotPool
from airfleet.spec.secrets import Rotating, Secret, find_login

ADMIN = "admin"


def describe(
    site: Site,
    credentials: Credentials,
    *,
    connections: Mapping[str, object],
    variables: Mapping[str, object],
    slot_pools: Mapping[str, SlotPool],
    versions: str,
    access: Secret | None = None,
    migrate_own: bool = False,
) -> Component:
    """Describe the job. It runs Airflow's own commands, may be repeated, and changes no object that fleet.yaml lacks.

    `connections`, `variables` and `access` hold their secrets in plain text; without `access`, users and roles stay as
    they are, but those of a former directory end. `versions` names everything that the schema depends
    on: if `versions`, the commands and the objects stay the same, the job need not run again. With `migrate_own`, the
    job also migrates airfleet's own tables; otherwise its caller does that before.
    """
    folder = site.state / "secrets" / "inputs"
    pools = {
        name: {"slots": pool.slots, "description": pool.description, "include_deferred": pool.include_deferred}
        for name, pool in slot_pools.items()
    }
    imports: tuple[tuple[str, Mapping[str, object], tuple[str, ...]], ...] = (
        ("connections", connections, ("--overwrite",)),
        ("variables", variables, ("--action-on-existing-key", "overwrite")),
        ("pools", pools, ()),
    )
    password = File(folder / "admin_password", credentials.admin)
    # Nobody confirms users of a directory that fleet.yaml does not name.
    no_directory = ("--no-directory",) if access is None else ()
    commands: list[tuple[str, ...]] = [
        # A migration may expect the index that `airfleet db care` drops.
        ("airflow", "airfleet", "care", "give-back"),
        ("airflow", "db", "migrate"),
        ("airflow", "airfleet", "care", "take-again"),
        ("airflow", "airfleet", "care", "add-indexes"),
        *([("airflow", "airfleet", "migrate")] if migrate_own else []),
        ("airflow", "airfleet", "admin", "--username", ADMIN, "--password-file", str(password.path), *no_directory),
    ]
    files = [password]
    if access is not None:
        users = File(folder / "access.json", access)
        files.append(users)
        commands.append(("airflow", "airfleet", "access", "--file", str(users.path)))
    key = credentials.fernet_key
    if isinstance(key, Rotating) and key.is_settling:
        commands.append(("airflow", "rotate-fernet-key"))
    for kind, objects, flags in imports:
        if objects:
            path = folder / f"{kind}.json"
            files.append(File(path, Secret(json.dumps(objects))))
            commands.append(("airflow", kind, "import", str(path), *flags))
    job = Process(
        name="metadata",
        commands=tuple(commands),
        after=("databases",),
        once=True,
        fingerprint=_fingerprint(commands, files, versions),
        inputs=tuple(files),
        env={"AIRFLOW__FAB__UPDATE_FAB_PERMS": "True"},
        early=True,
    )
    return Component(name="metadata", processes=(job,))


def _fingerprint(commands: list[tuple[str, ...]], files: list[File], versions: str) -> str:
    words = [word for command in commands for word in command]
    return hashlib.sha256("\0".join([versions, *words, *(reveal(file.content) for file in files)]).encode()).hexdigest()


def connect_database(site: Site, credentials: Credentials, name: str) -> dict[str, object]:
    """Return the Airflow connection to one of the project's databases."""
    is_local = site.database_hosts == (LOOPBACK,)
    host = ",".join(site.database_hosts)
    return {
        **describe_connection(host, site.database_port, name, credentials.databases[name]),
        "description": "made by airfleet: fleet.yaml, databases",
        **({} if is_local else {"extra": {"target_session_attrs": "read-write", **DEAD_PEER, **site.tls}}),
    }


def describe_connection(host: str | None, port: int | None, name: str, password: Secret) -> dict[str, object]:
    """Return the Airflow connection to one of the project's databases on a server."""
    return {
        "conn_type": "postgres",
        "host": host,
        "port": port,
        "schema": name,
        "login": find_login(name, password),
        "password": password.reveal(),
    }
