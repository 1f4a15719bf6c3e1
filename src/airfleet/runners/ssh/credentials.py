"""The secrets of one fleet: made once on the control machine, kept in the project's state folder."""

from __future__ import annotations

import hashlib

from airfleet.components.hosts.base import FleetCredentials
from airfleet.runners.local.state import StateFolder
from airfleet.runners.rotation import Ledger, present
from airfleet.spec.secrets import Secret


def read(folder: StateFolder, databases: tuple[str, ...]) -> FleetCredentials:
    """All secrets, each made when it is first asked for; to remove a file is to rotate its secret.

    A secret whose file has another value than the hosts have is given as the present step of its rotation wants it.
    """
    ledger = Ledger(folder.secrets)

    def show(name: str, secret: Secret) -> Secret:
        return present(ledger.notice(name, secret))

    def keep(name: str) -> Secret:
        return show(name, folder.keep_secret(name))

    platform = folder.read_credentials(databases, show)
    credentials = FleetCredentials(
        platform=platform,
        celery=keep("postgres_celery"),
        replication=keep("postgres_replicator"),
        monitor=keep("postgres_monitor"),
        broker_scheduler=keep("rabbitmq_scheduler"),
        broker_worker=keep("rabbitmq_worker"),
        erlang_cookie=keep("erlang_cookie"),
        # Of the key that the first hosts were made with; it stays when that key is rotated, and tells nothing about it.
        identity=folder.keep_secret("identity", lambda: _identify(platform.fernet_key)).reveal(),
    )
    ledger.write()
    return credentials


def _identify(key: Secret) -> str:
    return hashlib.sha256(b"airfleet " + key.reveal().encode()).hexdigest()[:16]
