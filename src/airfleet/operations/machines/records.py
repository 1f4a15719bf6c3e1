"""The machines that airfleet made: a record in the state folder, written before each deed and after it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.workspace.state_folder import build_record, write_file

NAME, LOCK = "machines.json", "machines.lock"


class State(StrEnum):
    """How far a machine is."""

    CREATING = "creating"
    MADE = "made"
    DESTROYING = "destroying"


@dataclass(frozen=True, slots=True)
class Record:
    """One machine. `id` and `address` are empty until the driver has said them."""

    name: str
    group: str
    key: str
    state: State
    id: str = ""
    address: str = ""


def read(state: Path) -> dict[str, Record]:
    """Return the records by the names of the machines.

    Raises:
        AirfleetError: The record cannot be read.
    """
    path = state / NAME
    try:
        found = [build_record(Record, one, path) for one in json.loads(path.read_text())]
        return {one.name: Record(one.name, one.group, one.key, State(one.state), one.id, one.address) for one in found}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        hint = "it says which machines airfleet made; bring it back from a backup of the state folder"
        raise AirfleetError(f"cannot be read: {error}", where=str(path), hint=hint) from None


def write(state: Path, records: Mapping[str, Record]) -> None:
    """Replace the records, atomically and durably."""
    write_file(state / NAME, json.dumps([asdict(one) for one in records.values()], indent=1))
