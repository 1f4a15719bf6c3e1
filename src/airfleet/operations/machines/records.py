"""The machines that airfleet made: a record in the state folder, written before each deed and after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from airfleet.workspace.state_folder import build_record, read_records, write_records

NAME, LOCK = "machines.json", "machines.lock"


class MachineState(StrEnum):
    """How far a machine is."""

    CREATING = "creating"
    MADE = "made"
    DESTROYING = "destroying"


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """One machine. `id` and `address` are empty until the driver has said them."""

    name: str
    group: str
    key: str
    state: MachineState
    id: str = ""
    address: str = ""


def read(state: Path) -> dict[str, MachineRecord]:
    """Return the records by the names of the machines.

    Raises:
        AirfleetError: The record cannot be read.
    """
    path = state / NAME
    hint = "it says which machines airfleet made; bring it back from a backup of the state folder"

    def build(body: object) -> MachineRecord:
        one = build_record(MachineRecord, body, path)
        return replace(one, state=MachineState(one.state))

    return {one.name: one for one in read_records(path, build, hint)}


def write(state: Path, records: Mapping[str, MachineRecord]) -> None:
    """Replace the records, atomically and durably."""
    write_records(state / NAME, records.values())
