"""The version of Airflow that a fleet runs (`airflow.json` in the state folder), and the locks of all versions."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from packaging.version import Version

import airfleet
from airfleet.errors import AirfleetError
from airfleet.workspace.state_folder import StateFolder, read_record, write_file

NAME = "airflow.json"
GO_ON = "`airfleet upgrade` continues the move, `airfleet upgrade --back` reverses it"
LOCK = re.compile(r"airflow-(\d+\.\d+\.\d+)\.txt")


@dataclass(frozen=True, slots=True)
class Running:
    """The version of Airflow that a fleet runs.

    During a move to another version, `target` is that version. After a move, `before` is the version before it.
    `backup` is the backup that was made before the move changed anything.
    """

    version: str
    target: str = ""
    before: str = ""
    backup: str = ""


def find_locks() -> dict[str, Path]:
    """The lock of each version that this airfleet was tested with, oldest first."""
    found = {match[1]: path for path in _find_folder().glob("*") if (match := LOCK.fullmatch(path.name))}
    return {version: found[version] for version in sorted(found, key=Version)}


def read_lock(name: str) -> str:
    """The lock of something else than Airflow."""
    return (_find_folder() / f"{name}.txt").read_text()


def _find_folder() -> Path:
    here = Path(airfleet.__file__).parent
    for folder in (here / "constraints", here.parents[1] / "constraints"):
        if any(LOCK.fullmatch(path.name) for path in folder.glob("*")):
            return folder
    raise AirfleetError("no lock of Airflow is installed with airfleet", hint="install airfleet again")


def explain_lock() -> str:
    """Return the command, as a hint, that installs the newest lock into the environment of this process."""
    try:
        lock = [*find_locks().values()][-1]
    except AirfleetError as error:
        return error.hint
    return f"uv pip install --python {sys.executable} --require-hashes --requirement {lock}"


def find_installed() -> str:
    """Return the version of the Airflow that is installed beside airfleet, without an import of it.

    Raises:
        AirfleetError: Airflow is not installed.
    """
    try:
        return metadata.version("apache-airflow-core")
    except metadata.PackageNotFoundError as error:
        raise AirfleetError(
            "Apache Airflow is not installed beside airfleet", where=sys.prefix, hint=explain_lock()
        ) from error


def find_lock(version: str) -> Path:
    """Return the lock of one Airflow version.

    Raises:
        AirfleetError: This airfleet was not tested with the version.
    """
    locks = find_locks()
    if version not in locks:
        hint = "airfleet upgrade; or install the airfleet that this fleet was applied with"
        raise AirfleetError(f"this airfleet knows Airflow {', '.join(locks)}, and not {version}", hint=hint)
    return locks[version]


def read(folder: StateFolder) -> Running:
    """Return what the fleet runs. Before the first apply, that is the newest version of Airflow that has a lock."""
    return read_record(Running, folder.root / NAME) or Running([*find_locks()][-1])


def write(folder: StateFolder, running: Running) -> None:
    """Write the version to the state folder, atomically."""
    write_file(folder.root / NAME, json.dumps(asdict(running)))


def keep(folder: StateFolder) -> None:
    """Record the version that a fleet is first applied with, so that a newer airfleet does not upgrade it unasked."""
    if not (folder.root / NAME).exists():
        write(folder, read(folder))


def check_settled(folder: StateFolder) -> None:
    """Make sure that no upgrade is under way, because another change of the fleet would mix with it.

    Raises:
        AirfleetError: An upgrade has started and has not finished.
    """
    running = read(folder)
    if running.target:
        raise AirfleetError(
            f"this fleet is moving from Airflow {running.version} to {running.target}",
            where=str(folder.root / NAME),
            hint=GO_ON,
        )
