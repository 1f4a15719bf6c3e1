"""`airfleet dag test`: one run of one Dag on this machine, in a process and a database of its own."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from airfleet.components import metadata
from airfleet.errors import UsageError
from airfleet.runners.local import inherited, warm
from airfleet.spec.fleet import Fleet
from airfleet.workspace import file_lock
from airfleet.workspace.project import resolve_connection, resolve_value
from airfleet.workspace.state_folder import StateFolder
from airfleet_provider.contract.dag_test_request import DagTestRequest
from airfleet_provider.contract.environment import DAG_TEST

COMMAND = ("airfleet", "dag-test")
TEMPLATES = "dag_tests"


@dataclass(frozen=True, slots=True)
class DagTest:
    """A test that can begin: its environment and what it runs."""

    folder: StateFolder
    environment: Mapping[str, str]
    request: DagTestRequest

    def run_warm(self) -> int | None:
        """Run it as a fork of the platform's warm process, and return the exit code; None if there is no platform."""
        return warm.run(self.folder, COMMAND, self._complete(self.request))

    def run_cold(self) -> int:
        """Run it in a new process of Airflow, and return the exit code."""
        request = replace(self.request, parent=os.getpid())
        # -P: no module of the folder that the user is in takes the place of another, as for the command `airflow`.
        words = [sys.executable, "-P", "-m", "airflow", *COMMAND]
        with subprocess.Popen(words, env=self._complete(request)) as process:
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process too, which ends by it
            try:
                code = process.wait()
            finally:
                signal.signal(signal.SIGINT, before)
        return code if code >= 0 else 128 - code

    def _complete(self, request: DagTestRequest) -> dict[str, str]:
        return {**self.environment, DAG_TEST: request.to_json()}


@contextmanager
def prepare(
    fleet: Fleet,
    project: Path,
    folder: StateFolder,
    request: DagTestRequest,
    warn: Callable[[str], None],
) -> Iterator[DagTest]:
    """Yield a test. Its database and its files are gone at the end.

    The Dag gets the variables, connections and databases of fleet.yaml. `warn` gets a line for each that cannot be had.
    """
    templates = folder.root / TEMPLATES
    # A mode holds for the last folder alone, and a test may be the first command that needs the state folder.
    for place in (folder.root, templates):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _make_scratch(templates) as scratch:
        own = {key: str(value) for key, value in _resolve(fleet.env, "env", project, warn).items()}
        environment = {
            **inherited.build_environment(inherited.choose_inherited(os.environ), own, project, scratch),
            **_list_values(fleet, project, folder, warn),
            **fleet.airflow_environment,
            "AIRFLOW__CORE__DAGS_FOLDER": request.dags,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{scratch / 'metadata.db'}",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(scratch / "logs"),
        }
        whole = replace(request, database=str(scratch / "metadata.db"), templates=str(templates))
        yield DagTest(folder, environment, whole)


@contextmanager
def _make_scratch(place: Path) -> Iterator[Path]:
    """Yield a folder that is removed at the end. Remove the folders of tests whose command was killed."""
    runs = place / "runs"
    runs.mkdir(mode=0o700, exist_ok=True)
    # The lock keeps others from a folder that is made, and not locked yet.
    with file_lock.wait_and_hold(place / "lock"):
        for former in runs.iterdir():
            descriptor = os.open(former, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(former, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(descriptor)
        scratch = Path(tempfile.mkdtemp(dir=runs))
        held = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(held)


def _list_values(fleet: Fleet, project: Path, folder: StateFolder, warn: Callable[[str], None]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, connection in fleet.connections.items():
        try:
            told = resolve_connection(name, connection, project)
        except UsageError as error:
            warn(f"warning: {error}")
            continue
        found[f"AIRFLOW_CONN_{name.upper()}"] = told if isinstance(told, str) else json.dumps(told)
    for name, value in _resolve(fleet.variables, "variables", project, warn).items():
        found[f"AIRFLOW_VAR_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    return found | _list_databases(fleet, folder, warn)


def _resolve(values: Mapping[str, object], key: str, project: Path, warn: Callable[[str], None]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in values.items():
        try:
            found[name] = resolve_value(value, project, f"fleet.yaml: {key}.{name}")
        except UsageError as error:
            warn(f"warning: {error}")
    return found


def _list_databases(fleet: Fleet, folder: StateFolder, warn: Callable[[str], None]) -> dict[str, str]:
    """Return the connections to the project's databases, which are there while a platform of this machine is up."""
    dsn = folder.read_dsn()
    if not fleet.databases or fleet.hosts or dsn is None or not folder.is_held():
        for name in fleet.databases:
            warn(f"warning: no platform is up on this machine, so the Dag has no connection {name}")
        return {}
    server = urlsplit(dsn.reveal())
    found = {}
    for name in fleet.databases:
        password = folder.keep_secret(f"postgres_{name}")
        connection = metadata.describe_connection(server.hostname, server.port, name, password)
        found[f"AIRFLOW_CONN_{name.upper()}"] = json.dumps(connection)
    return found
