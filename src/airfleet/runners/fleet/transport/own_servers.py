"""Servers that somebody else runs, as a fleet of hosts reaches them: through its first scheduler host."""

from __future__ import annotations

import os
from pathlib import Path

from airfleet.components.model import OwnDatabase
from airfleet.spec.fleet import Fleet
from airfleet.spec.secrets import resolve


def read_database(fleet: Fleet, project: Path) -> OwnDatabase | None:
    """Return the metadata database that `database` in fleet.yaml names, or None where airfleet runs PostgreSQL itself.

    Raises:
        UsageError: The reference leads to no URL that hosts could use. The text never has the URL.
    """
    if fleet.database is None:
        return None
    from airfleet.peers import database  # noqa: PLC0415 - the driver costs other fleets 0.1 s

    return database.read_for_hosts(resolve(fleet.database, environ=os.environ, project=project, where=database.WHERE))
