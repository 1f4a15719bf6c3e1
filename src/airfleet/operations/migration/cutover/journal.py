"""How far each Dag's cut-over is: a record in the state folder, written before each deed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from airfleet.workspace.state_folder import build_record, read_records, write_records

NAME, LOCK = "cutover.json", "cutover.lock"


class CutoverPhase(StrEnum):
    """How far a Dag is."""

    WAITING = "waiting"  # for the runs of Airflow 2 to end; the Dag is paused there then
    SEEDING = "seeding"  # the last run there is made known here
    STARTING = "starting"  # it is unpaused here
    MOVED = "moved"  # it runs here
    RETURNING = "returning"  # on its way back


@dataclass(frozen=True, slots=True)
class DagRecord:
    """One Dag. `last` is the logical date of the last run in Airflow 2, or empty if there was none."""

    dag_id: str
    phase: CutoverPhase
    was_paused: bool
    last: str = ""


def read(state: Path) -> dict[str, DagRecord]:
    """Return the records by the ids of the Dags.

    Raises:
        AirfleetError: The record cannot be read.
    """
    path = state / NAME
    hint = "it says which Dags run where; bring it back from a backup of the state folder"

    def build(body: object) -> DagRecord:
        one = build_record(DagRecord, body, path)
        return replace(one, phase=CutoverPhase(one.phase))

    return {one.dag_id: one for one in read_records(path, build, hint)}


def write(state: Path, records: Mapping[str, DagRecord]) -> None:
    """Replace the records, atomically and durably."""
    write_records(state / NAME, records.values())
