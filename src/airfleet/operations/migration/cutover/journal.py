"""How far each Dag's cut-over is: a record in the state folder, written before each deed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.workspace.state_folder import build_record, write_file

NAME, LOCK = "cutover.json", "cutover.lock"


class Phase(StrEnum):
    """How far a Dag is."""

    WAITING = "waiting"  # for the runs of Airflow 2 to end; the Dag is paused there then
    SEEDING = "seeding"  # the last run there is made known here
    MOVED = "moved"  # it runs here
    RETURNING = "returning"  # on its way back


@dataclass(frozen=True, slots=True)
class Record:
    """One Dag. `last` is the logical date of the last run in Airflow 2, or empty if there was none."""

    dag_id: str
    phase: Phase
    was_paused: bool
    last: str = ""


def read(state: Path) -> dict[str, Record]:
    """Return the records by the ids of the Dags.

    Raises:
        AirfleetError: The record cannot be read.
    """
    path = state / NAME
    try:
        found = [build_record(Record, one, path) for one in json.loads(path.read_text())]
        return {one.dag_id: Record(one.dag_id, Phase(one.phase), one.was_paused, one.last) for one in found}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        hint = "it says which Dags run where; bring it back from a backup of the state folder"
        raise AirfleetError(f"cannot be read: {error}", where=str(path), hint=hint) from None


def write(state: Path, records: Mapping[str, Record]) -> None:
    """Replace the records, atomically and durably."""
    write_file(state / NAME, json.dumps([asdict(one) for one in records.values()], indent=1))
