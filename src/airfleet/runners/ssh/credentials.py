"""The secrets of one fleet: made once on the control machine, kept in the project's state folder."""

from __future__ import annotations

import hashlib
import secrets

from airfleet.components.hosts.base import FleetCredentials
from airfleet.runners.local.state import StateFolder, write_file
from airfleet.spec.secrets import Secret

BYTES = 24


def read(folder: StateFolder, databases: tuple[str, ...]) -> FleetCredentials:
    """All secrets, each made when it is first asked for; to remove a file is to rotate its secret."""

    def keep(name: str) -> Secret:
        path = folder.secrets / name
        if not path.exists():
            write_file(path, secrets.token_urlsafe(BYTES))
        return Secret(path.read_text().strip())

    return FleetCredentials(
        platform=folder.read_credentials(databases),
        celery=keep("postgres_celery"),
        replication=keep("postgres_replicator"),
        monitor=keep("postgres_monitor"),
        broker_scheduler=keep("rabbitmq_scheduler"),
        broker_worker=keep("rabbitmq_worker"),
        erlang_cookie=keep("erlang_cookie"),
    )


def identify(credentials: FleetCredentials) -> str:
    """A word that is the same for the same fleet and tells nothing about its secrets: of the key that never changes."""
    return hashlib.sha256(b"airfleet " + credentials.platform.fernet_key.reveal().encode()).hexdigest()[:16]
