"""The content of the metadata database before the first component starts: schema, users, fleet.yaml's objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from airfleet.components.base import DEAD_PEER, LOOPBACK, Component, Credentials, File, Process, Site, reveal
from airfleet.spec.fleet import SlotPool
from airfleet.spec.secrets import Secret

ADMIN = "admin"


def describe(
    site: Site,
    credentials: Credentials,
    *,
    connections: Mapping[str, object],
    variables: Mapping[str, object],
    slot_pools: Mapping[str, SlotPool],
    versions: str,
) -> Component:
    """One job that runs Airflow's own commands in turn; it may be repeated, and touches no object fleet.yaml lacks.

    The values of connections and variables are given with their secrets resolved. `versions` names all that the
    schema depends on; while it, the commands and the objects stay the same, the job need not run again.
    """
    folder = site.state / "secrets"
    pools = {
        name: {"slots": pool.slots, "description": pool.description, "include_deferred": pool.include_deferred}
        for name, pool in slot_pools.items()
    }
    imports: tuple[tuple[str, Mapping[str, object], tuple[str, ...]], ...] = (
        ("connections", connections, ("--overwrite",)),
        ("variables", variables, ("--action-on-existing-key", "overwrite")),
        ("pools", pools, ()),
    )
    commands: list[tuple[str | Secret, ...]] = [("airflow", "db", "migrate"), _create_admin(credentials)]
    files: list[File] = []
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
        env={"AIRFLOW__FAB__UPDATE_FAB_PERMS": "True"},
    )
    return Component(name="metadata", processes=(job,), files=tuple(files))


def _fingerprint(commands: list[tuple[str | Secret, ...]], files: list[File], versions: str) -> str:
    words = [reveal(word) for command in commands for word in command]
    return hashlib.sha256("\0".join([versions, *words, *(reveal(file.content) for file in files)]).encode()).hexdigest()


def _create_admin(credentials: Credentials) -> tuple[str | Secret, ...]:
    # Airflow changes nothing when the user exists; the command line stays inside a forked process.
    # In one word, as a password that begins with a dash would be taken for an option.
    password = Secret(f"--password={credentials.admin.reveal()}")
    return (
        *("airflow", "users", "create", "--username", ADMIN, password),
        *("--role", "Admin", "--firstname", "Fleet", "--lastname", "Admin", "--email", "admin@localhost"),
    )


def connect_database(site: Site, credentials: Credentials, name: str) -> dict[str, object]:
    """The Airflow connection to one of the project's own databases on the embedded server."""
    is_local = site.database_hosts == (LOOPBACK,)
    return {
        "conn_type": "postgres",
        "host": ",".join(site.database_hosts),
        "port": site.database_port,
        "schema": name,
        "login": name,
        "password": credentials.databases[name].reveal(),
        "description": "made by airfleet: fleet.yaml, databases",
        **({} if is_local else {"extra": {"target_session_attrs": "read-write", **DEAD_PEER}}),
    }
