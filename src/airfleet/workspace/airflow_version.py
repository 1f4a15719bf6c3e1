"""Which version of Airflow a fleet runs: the locks that come with airfleet, and a file beside the fleet's secrets."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import airfleet
from airfleet.errors import AirfleetError
from airfleet.workspace.state_folder import StateFolder, read_record, write_file

NAME = "airflow.json"
GO_ON = "`airfleet upgrade` continues the move, `airfleet upgrade --back` reverses it"
LOCK = re.compile(r"airflow-(\d+\.\d+\.\d+)\.txt")


@dataclass(frozen=True, slots=True)
class Running:
    """What a fleet runs. While it moves there is a `target`, with the backup that was made before anything changed."""

    version: str
    target: str = ""
    before: str = ""
    backup: str = ""


def order(version: str) -> tuple[int, ...]:
    """What versions are compared by."""
    return tuple(map(int, version.split(".")))


def find_locks() -> dict[str, Path]:
    """The lock of each version that this airfleet was tested with, oldest first."""
    here = Path(airfleet.__file__).parent
    for folder in (here / "constraints", here.parents[1] / "constraints"):
        found = {match[1]: path for path in folder.glob("*") if (match := LOCK.fullmatch(path.name))}
        if found:
            return {version: found[version] for version in sorted(found, key=order)}
    raise AirfleetError("no lock of Airflow is installed with airfleet", hint="install airfleet anew")


def find_lock(version: str) -> Path:
    """The lock of one version; raises AirfleetError where this airfleet was not tested with it."""
    locks = find_locks()
    if version not in locks:
        hint = "airfleet upgrade; or install the airfleet that this fleet was applied with"
        raise AirfleetError(f"this airfleet knows Airflow {', '.join(locks)}, and not {version}", hint=hint)
    return locks[version]


def read(folder: StateFolder) -> Running:
    """What the fleet runs; the newest version before its first apply."""
    return read_record(Running, folder.root / NAME) or Running([*find_locks()][-1])


def write(folder: StateFolder, running: Running) -> None:
    """Keep it; a kill leaves what was there before."""
    write_file(folder.root / NAME, json.dumps(asdict(running)))


def keep(folder: StateFolder) -> None:
    """Write down what a fleet is first applied with, so that another airfleet does not move it by the way."""
    if not (folder.root / NAME).exists():
        write(folder, read(folder))


def check_settled(folder: StateFolder) -> None:
    """Raise AirfleetError while an upgrade is half done: what else is applied would mix with it."""
    running = read(folder)
    if running.target:
        raise AirfleetError(
            f"this fleet is moving from Airflow {running.version} to {running.target}",
            where=str(folder.root / NAME),
            hint=GO_ON,
        )
