"""The record of the last promotion: which database host is the primary, kept beside the secrets for later commands."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from airfleet.errors import AirfleetError
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Promoted
from airfleet.workspace.state_folder import StateFolder, read_record, write_file

NAME = "database.json"


def read(folder: StateFolder) -> Promoted:
    """The last promotion; none yet where nothing is written."""
    return read_record(Promoted, folder.root / NAME) or Promoted()


def write(folder: StateFolder, promoted: Promoted) -> None:
    """Keep a promotion; a kill leaves the one before."""
    write_file(folder.root / NAME, json.dumps(asdict(promoted)))


def check_settled(folder: StateFolder) -> None:
    """Raise AirfleetError while a promotion is half done: nobody knows which host takes writes."""
    promoted = read(folder)
    if (target := promoted.target) not in ("", promoted.primary):
        raise AirfleetError(
            f"the promotion of {target} was started and is not finished",
            where=str(folder.root / NAME),
            hint="airfleet failover --database ends it; with --to and the host that was the primary it is given up",
        )


def apply_to(fleet: Fleet, folder: StateFolder) -> Fleet:
    """The fleet with the primary that it has now."""
    return replace(fleet, promoted=read(folder))
