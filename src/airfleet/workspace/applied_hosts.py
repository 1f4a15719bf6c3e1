"""The hosts of the last apply, kept so that airfleet can still stop a host that was removed from fleet.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airfleet.errors import AirfleetError, UsageError
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Host, Ssh
from airfleet.workspace.state_folder import build_record, write_file

NAME = "hosts.json"
# This file exists once a fleet has used a PostgreSQL that somebody else runs.
OUTSIDE = "outside-database"


def read(state: Path) -> tuple[Host, ...]:
    """Return the hosts of the last apply; none before the first apply.

    Raises:
        AirfleetError: The record cannot be read.
    """
    path = state / NAME
    try:
        return tuple(_build(one, path) for one in json.loads(path.read_text()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "it names the hosts of the last apply; without it, airfleet cannot stop hosts that were removed"
        raise AirfleetError(f"cannot be read: {error}", where=str(path), hint=hint) from None


def _build(one: dict[str, Any], path: Path) -> Host:
    ssh = build_record(Ssh, one["ssh"], path)
    words = {key: tuple(value) if isinstance(value, list) else value for key, value in one.items()}
    return build_record(Host, {**words, "ssh": ssh}, path)


def write(state: Path, hosts: Iterable[Host]) -> None:
    """Record the hosts, each address once. If the record does not change, the file is not written."""
    known = {host.address: host for host in reversed(tuple(hosts))}
    text = json.dumps([asdict(host) for host in reversed(known.values())], indent=1)
    path = state / NAME
    if not path.exists() or path.read_text() != text:
        write_file(path, text)


def find_gone(known: Iterable[Host], fleet: Fleet) -> tuple[Host, ...]:
    """Return the hosts of the last apply whose address fleet.yaml no longer has. A host with a new name is not gone."""
    addresses = {host.address for host in fleet.hosts}
    return tuple(host for host in known if host.address not in addresses)


def check_primary(known: Iterable[Host], fleet: Fleet) -> None:
    """Make sure that the primary database stays on the host that it is on: on another host it would be empty.

    Raises:
        UsageError: fleet.yaml would put the primary on another host.
    """
    stores = [host for host in known if "database" in host.roles]
    if fleet.database and stores:
        what = f"the tables are on {stores[0].name} ({stores[0].address}), and `database` names another server"
        hint = f"once they are moved there (docs/guides/own-database.md): airfleet apply --forget {stores[0].name}"
        raise UsageError(what, where="fleet.yaml: database", hint=hint)
    promoted = [host for host in stores if host.name == fleet.promoted.primary]
    before = next(iter([*promoted, *stores]), None)
    after = fleet.primary
    if before is not None and before.address != after.address:
        what = f"{after.name} ({after.address}) would start an empty database;"
        what += f" the data is on {before.name} ({before.address})"
        hint = f"list {before.name} first; to give its data up: airfleet apply --forget {before.name}"
        if after.address in {host.address for host in stores}:
            what = f"{before.name} ({before.address}) is the primary of the database, and would leave the fleet"
            hint = f"with {before.name} in fleet.yaml as before: airfleet failover --database --to {after.name}"
        raise UsageError(what, where="fleet.yaml: hosts", hint=hint)


def check_outside(state: Path, fleet: Fleet) -> None:
    """Make sure that a fleet whose tables are on a server that somebody else runs goes on with that server.

    Raises:
        UsageError: fleet.yaml would begin with an empty database of its own.
    """
    mark = state / OUTSIDE
    if mark.exists() and not fleet.database:
        what = f"{fleet.primary.name} would start an empty database; the tables are on a server that somebody else runs"
        hint = f"put `database` back; or begin anew: once their owner has kept what you need of them, remove {mark}"
        raise UsageError(what, where="fleet.yaml: hosts", hint=hint)


def note_outside(state: Path, fleet: Fleet) -> None:
    """Record that the tables are on a server that somebody else runs, if they are."""
    if fleet.database and not (state / OUTSIDE).exists():
        write_file(state / OUTSIDE, "")
