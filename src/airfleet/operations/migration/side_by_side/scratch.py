"""An Airflow 3 that lives as long as a comparison: its database, and a process for each run. No platform notices it.

A Dag gets the connections and variables that the caller has named in the environment, and no others. So it cannot write
where nobody meant it to.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from airfleet.errors import AirfleetError
from airfleet.operations.backup.embedded.cluster import Cluster
from airfleet.operations.migration import confinement, metadata_copy
from airfleet.operations.migration.confinement import ProcessConfinement
from airfleet.operations.migration.rehearsal import INHERITED, upgrade
from airfleet.operations.migration.side_by_side.outcomes import FormerRun, RepeatedRun, RunOutcome, collect
from airfleet_provider.contract.statements import Statements

SQL = Statements(__package__, "scratch")
PROGRAM = Path(__file__).with_name("run_dag.py")
# What a Dag gets of the caller's environment: what the caller has named for it.
NAMED = ("AIRFLOW_CONN_", "AIRFLOW_VAR_")
LOGS = "rehearsal_logs"
NO_DAG = 3


@dataclass(frozen=True, slots=True)
class ScratchAirflow:
    """The Airflow of a comparison."""

    dsn: str
    project: Path
    python: Path
    home: Path
    logs: Path
    environment: Mapping[str, str]
    confined: ProcessConfinement

    def repeat(self, run: FormerRun, number: int, timeout_s: float) -> RepeatedRun:
        """Run a Dag as a former run did. Its output goes into a file.

        Raises:
            AirfleetError: The project has no such Dag, or its file does not load.
        """
        log = self.logs / f"{number:03}.log"
        request = {
            "dag_id": run.dag_id,
            "logical_date": run.logical_date.isoformat(),
            "interval": [one.isoformat() for one in run.interval] if run.interval else None,
            "conf": run.conf,
            "parent": os.getpid(),
        }
        begun = time.monotonic()
        problem = ""
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*self.confined.words, str(self.python), "-I", str(PROGRAM), str(self.project)],
                env=dict(self.environment),
                cwd=self.home,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self.confined.arguments,
            )
            try:
                process.communicate(json.dumps(request).encode(), timeout=timeout_s)
            except subprocess.TimeoutExpired:
                problem = f"it has not ended in {timeout_s:.0f} s"
            finally:
                # The tasks too, also after Ctrl-C.
                _end(process)
        if process.returncode == NO_DAG:
            last = log.read_text(errors="replace").strip().splitlines()[-2:]
            raise AirfleetError("\n".join(last), hint=f"airfleet release check --project {self.project}")
        if process.returncode and not problem:
            problem = f"Airflow ended with {process.returncode}"
        return RepeatedRun(self._read(run), time.monotonic() - begun, str(log), problem)

    def _read(self, run: FormerRun) -> RunOutcome:
        key = (run.dag_id, run.logical_date)
        with metadata_copy.connect(self.dsn) as connection:
            tasks = connection.execute(SQL["tasks"], key).fetchall()
            xcoms = connection.execute(SQL["xcoms"], key).fetchall()
        return collect(
            {(str(task), int(index)): state for task, index, state in tasks},
            {(str(task), int(index), str(name)): str(value).encode() for task, index, name, value in xcoms},
        )


@contextmanager
def serve(
    cluster: Cluster,
    folder: Path,
    project: Path,
    python: Path,
    environment: Mapping[str, str],
    settings: Mapping[str, str],
    tell: Callable[[str], None],
) -> Iterator[ScratchAirflow]:
    """Make the database of an Airflow, and yield the Airflow. Everything but the logs of its runs is gone at the end.

    `settings` are options of Airflow as environment variables.

    Raises:
        AirfleetError: The database does not start, or Airflow cannot fill it.
    """
    sockets = folder if confinement.fits(folder) else None
    with metadata_copy.serve_copy(cluster, folder, sockets) as dsn:
        home = folder / "airflow"
        home.mkdir()
        cluster.own(home)
        tell("makes a database of Airflow 3")
        confined = confinement.confine(python, home, sockets)
        upgrade(python, dsn, sockets, home, environment, confined)
        state = home / "state"
        state.mkdir()
        cluster.own(state)
        logs = folder.parent / LOGS
        logs.mkdir(mode=0o700, exist_ok=True)
        for former in logs.glob("*.log"):
            former.unlink()
        own = {
            **{name: environment[name] for name in INHERITED if name in environment},
            **{name: value for name, value in environment.items() if name.startswith(NAMED)},
            **settings,
            "HOME": str(home),
            "TMPDIR": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": dsn.replace("postgresql://", "postgresql+psycopg2://", 1),
            "AIRFLEET_PROJECT": str(project),
            "AIRFLEET_STATE": str(state),
        }
        # A Dag calls services, so it has the network.
        dag_user = confinement.confine(python, home, None, project=project)
        for one in dag_user.remains:
            tell(one)
        yield ScratchAirflow(dsn, project, python, home, logs, own, dag_user)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
