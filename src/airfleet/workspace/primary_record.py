"""The record of the last promotion, `database.json` in the state folder: it says which database host is the primary."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from airfleet.errors import AirfleetError
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Promoted
from airfleet.workspace.state_folder import StateFolder, read_record, write_file

NAME = "database.json"


def read(folder: StateFolder) -> Promoted:
    """Return the last promotion, or an empty record if there was none."""
    return read_record(Promoted, folder.root / NAME) or Promoted()


def write(folder: StateFolder, promoted: Promoted) -> None:
    """Record a promotion, atomically."""
    write_file(folder.root / NAME, json.dumps(asdict(promoted)))


def check_settled(folder: StateFolder) -> None:
    """Make sure that no promotion is under way, because then it is not known which host accepts writes.

    Raises:
        AirfleetError: A promotion has started and has not finished.
    """
    promoted = read(folder)
    if (target := promoted.target) not in ("", promoted.primary):
        raise AirfleetError(
            f"the promotion of {target} was started and is not finished",
            where=str(folder.root / NAME),
            hint="airfleet failover --database finishes it; --to with the host that was the primary gives it up",
        )


def apply_to(fleet: Fleet, folder: StateFolder) -> Fleet:
    """Return the fleet with the primary of the last promotion."""
    return replace(fleet, promoted=read(folder))
