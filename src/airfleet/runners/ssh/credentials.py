"""The secrets of one fleet: made once on the control machine, kept in the project's state folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from airfleet.components.hosts.base import FleetCredentials
from airfleet.components.results import Logins
from airfleet.runners.local.state import StateFolder
from airfleet.runners.rotation import Ledger, present
from airfleet.spec.secrets import Secret

# What earlier versions called the logins of all workers and of the scheduler; the first is a mark, too.
FORMER_RESULTS = "postgres_celery"
FORMER = ("rabbitmq_worker", "rabbitmq_scheduler", FORMER_RESULTS)


def read(folder: StateFolder, ledger: Ledger, databases: tuple[str, ...], pools: Iterable[str]) -> FleetCredentials:
    """All secrets, each made when it is first asked for; to remove a file is to rotate its secret.

    A secret whose file has another value than the hosts have is given as the present step of its rotation wants it.
    """

    def show(name: str, secret: Secret) -> Secret:
        return present(ledger.notice(name, secret))

    def keep(name: str) -> Secret:
        return show(name, folder.keep_secret(name))

    platform = folder.read_credentials(databases, show)
    credentials = FleetCredentials(
        platform=platform,
        replication=keep("postgres_replicator"),
        monitor=keep("postgres_monitor"),
        erlang_cookie=keep("erlang_cookie"),
        # Of the key that the first hosts were made with; it stays when that key is rotated, and tells nothing about it.
        identity=folder.keep_secret("identity", lambda: _identify(platform.fernet_key)).reveal(),
        results=Logins(keep("postgres_results_writer"), keep("postgres_results_reader")),
        publisher=keep("rabbitmq_publisher"),
        consumers={pool: keep(f"rabbitmq_pool_{pool}") for pool in pools},
        signing=keep("signing_key"),
        former_results=folder.keep_secret(FORMER_RESULTS) if has_former(folder) else None,
    )
    ledger.write()
    return credentials


def _identify(key: Secret) -> str:
    return hashlib.sha256(b"airfleet " + key.reveal().encode()).hexdigest()[:16]


def has_former(folder: StateFolder) -> bool:
    """Whether some host may still use the logins of an earlier version."""
    return (folder.secrets / FORMER_RESULTS).exists()


def retire_former(folder: StateFolder) -> None:
    """Forget those logins, once every host has its new ones; the next steps remove them from broker and database."""
    for name in FORMER:
        (folder.secrets / name).unlink(missing_ok=True)
