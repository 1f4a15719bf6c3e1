"""Where fleet.yaml says that the servers of somebody else are."""

from __future__ import annotations

import os
from pathlib import Path

from airfleet.components.model import OwnBroker, OwnDatabase
from airfleet.spec.fleet import Fleet
from airfleet.spec.secret_ref import SecretRef
from airfleet.spec.secrets import Secret, resolve


def read_database(fleet: Fleet, project: Path) -> OwnDatabase | None:
    """Return the metadata database that `database` in fleet.yaml names, or None where airfleet runs PostgreSQL itself.

    Raises:
        UsageError: The reference leads to no URL that hosts could use. The text never has the URL.
    """
    if fleet.database is None:
        return None
    from airfleet.peers import database  # noqa: PLC0415 - the driver costs other fleets 0.1 s

    return database.read_for_hosts(resolve(fleet.database, environ=os.environ, project=project, where=database.WHERE))


def read_broker(fleet: Fleet, project: Path) -> OwnBroker | None:
    """Return the broker that `broker` in fleet.yaml names, or None where airfleet runs RabbitMQ itself.

    Raises:
        UsageError: A reference leads to no URL that hosts could use. The text never has the URL.
    """
    if (source := fleet.broker) is None:
        return None
    from airfleet.peers import broker  # noqa: PLC0415 - the driver costs other fleets time

    def fetch(ref: SecretRef, where: str) -> Secret:
        return resolve(ref, environ=os.environ, project=project, where=where)

    return broker.read(
        fetch(source.url, broker.WHERE),
        fetch(source.management, "fleet.yaml: broker.management") if source.management else None,
        project / Path(source.authorities).expanduser() if source.authorities else None,
    )
