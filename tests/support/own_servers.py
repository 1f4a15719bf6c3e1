"""A PostgreSQL that asks every login for its password, as one that somebody else runs, and a fleet that uses it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from airfleet.components.host_model import Place
from airfleet.components.model import OwnDatabase
from airfleet.spec.secrets import Secret
from places import NINE, parse, place
from servers import Server, serve

OWNER, PASSWORD = "team af", "p@ss/w:rd%"
# The fleet of nine hosts, whose database somebody else runs.
OUTSIDE = (
    NINE.replace("databases: [warehouse]\n", "database: {url: {env: MY_DATABASE}}\n")
    .replace("roles: [database, broker]", "roles: [broker]")
    .replace("data1", "broker1")
)


@contextlib.contextmanager
def serve_with_passwords() -> Iterator[Server]:
    """Run a server that trusts only `postgres`."""
    with serve() as own:
        (own.folder / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        )
        own.query("SELECT pg_reload_conf()")
        yield own


@contextlib.contextmanager
def make_owned(server: Server, rights: str = "") -> Iterator[OwnDatabase]:
    """Make a database with an owner, as a DBA does, and drop it with what a fleet has made beside it."""
    server.query(f"CREATE ROLE \"{OWNER}\" LOGIN {rights} PASSWORD '{PASSWORD}'")
    server.query(f'CREATE DATABASE metadata OWNER "{OWNER}"')
    yield OwnDatabase("127.0.0.1", server.port, "metadata", OWNER, Secret(PASSWORD))
    for name in ("metadata", "metadata_results"):
        server.query(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    for [role] in server.query("SELECT rolname FROM pg_roles WHERE rolname LIKE 'metadata%%' ORDER BY 1 DESC"):
        server.query(f'DROP ROLE "{role}"')
    server.query(f'DROP ROLE "{OWNER}"')


def place_with(database: OwnDatabase, name: str = "sched1", text: str = OUTSIDE) -> Place:
    """Return a host of a fleet whose database somebody else runs."""
    where = place(parse(text), name)
    return replace(where, credentials=replace(where.credentials, database=database))
