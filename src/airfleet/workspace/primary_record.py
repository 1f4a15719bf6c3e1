"""Which database host was the primary when somebody last looked, kept beside the secrets for when no host answers."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from airfleet.errors import AirfleetError
from airfleet.spec.fleet import Fleet
from airfleet.spec.topology import Promoted
from airfleet.workspace.state_folder import StateFolder, build_record, read_fields, write_file

NAME = "database.json"


def read(folder: StateFolder) -> Promoted:
    """What was seen last; nothing yet where nothing is written."""
    path = folder.root / NAME
    body = read_fields(path)
    if body is None:
        return Promoted()
    # Earlier versions counted promotions.
    return build_record(Promoted, {key: value for key, value in body.items() if key != "turn"}, path)


def write(folder: StateFolder, promoted: Promoted) -> None:
    """Keep what was seen; a kill leaves what was before."""
    if read(folder) != promoted:
        write_file(folder.root / NAME, json.dumps(asdict(promoted)))


def check_settled(folder: StateFolder) -> None:
    """Raise AirfleetError while a promotion that an earlier version began is half done."""
    promoted = read(folder)
    if (target := promoted.target) not in ("", promoted.primary):
        raise AirfleetError(
            f"an earlier version of airfleet began to promote {target}, and did not finish",
            where=str(folder.root / NAME),
            hint="end it with that version: airfleet failover --database; then apply with this one",
        )


def apply_to(fleet: Fleet, folder: StateFolder) -> Fleet:
    """The fleet with the primary that was seen last."""
    return replace(fleet, promoted=read(folder))
