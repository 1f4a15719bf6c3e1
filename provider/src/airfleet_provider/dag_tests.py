"""`airflow airfleet dag-test`: one run of one Dag in this process, in a database that ends with it.

Airflow's own `dag.test` runs the tasks here, one after another, without a scheduler. What a run leaves in a metadata
database, it leaves in one that nobody else has: no platform gets a run, a Dag version or an XCom of a test.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.listeners import hookimpl

from airfleet_provider.compat.calls import own_metadata
from airfleet_provider.compat.patches.one_version import build_one_version
from airfleet_provider.compat.patches.patch import change_constants
from airfleet_provider.contract.dag_test_request import DagTestRequest
from airfleet_provider.contract.environment import DAG_TEST
from airfleet_provider.contract.text import many_lines, one_line
from airfleet_provider.processes import bytecode, lifecycle

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG

# The exit code if there was no run: no such Dag, or a `conf` that its params refuse.
NO_RUN = 2
INTERRUPTED = 130
# Dags that are named if the wanted one is not there.
DAGS_SHOWN = 10
# Airflow's name of the bundle that is `core.dags_folder`.
BUNDLE = "dags-folder"
# What Airflow itself logs of a run in one process. The lines of tasks, and of all else that they call, stay.
QUIET = (
    *("airflow.sdk.definitions.dag", "airflow.dag_processing", "airflow.serialization", "airflow.models", "task"),
    *("airflow.api_fastapi", "airflow.utils", "airflow.providers.fab", "airflow.plugins_manager", "alembic", "httpx"),
)
# It logs an error for each answer that ends a list of XComs. A real error it raises too.
SILENT = ("airflow.sdk.api.client",)


class DagTestError(Exception):
    """There can be no run. The text says why."""


def run_command(_: argparse.Namespace) -> None:
    """Run the Dag that the environment names, and exit with 0 if the run succeeded and with 1 if not."""
    request = DagTestRequest.from_json(os.environ.pop(DAG_TEST))
    if request.parent is not None:
        lifecycle.die_with(request.parent)  # Airflow's task runner catches SIGTERM, and goes on
    signal.signal(signal.SIGINT, _interrupt)
    results = os.dup(1)
    if request.as_json:
        # Tasks print what they like. A program that reads the result reads nothing else.
        os.dup2(2, 1)
    try:
        own_metadata.forget_configuration(change_constants, quiet=QUIET, silent=SILENT)
        # A fork of a platform whose Dags come from releases does not have it.
        if (project := str(Path(request.dags).parent)) not in sys.path:
            sys.path.insert(0, project)
        bytecode.compare_nanoseconds(Path(project))
        own_metadata.create(Path(request.database), Path(request.templates))
        dag = find_dag(Path(request.dags), request.dag)
        result = run_dag(dag, request, lambda line: print(line, file=sys.stderr, flush=True))
    except DagTestError as error:
        raise SystemExit(_refuse(error)) from None
    if request.as_json:
        os.write(results, f"{json.dumps(result, indent=2)}\n".encode())
    raise SystemExit(0 if result["state"] == "success" else 1)


def _interrupt(_: int, __: object) -> NoReturn:
    """End at once: Airflow would take a KeyboardInterrupt for the failure of one task, and go on with the next."""
    print("airfleet: interrupted", file=sys.stderr, flush=True)
    os._exit(INTERRUPTED)


def _refuse(error: DagTestError) -> int:
    print(f"airfleet: {many_lines(error)}", file=sys.stderr, flush=True)
    return NO_RUN


def find_dag(folder: Path, dag_id: str) -> DAG:
    """Return a Dag. Files that have its id as a word of their text are parsed first: most often one is enough.

    Raises:
        DagTestError: No file has the Dag. The text has the errors of files that do not load.
    """
    from airflow.dag_processing.dagbag import BundleDagBag  # noqa: PLC0415 - slow to import

    errors: dict[str, str] = {}
    for place in (*_find_files(folder, dag_id), folder):
        bag = BundleDagBag(dag_folder=str(place), bundle_path=folder, bundle_name=BUNDLE)
        if (dag := bag.dags.get(dag_id)) is not None:
            return dag
        errors.update(bag.import_errors)
    lines = [f"{file}: {error.strip().splitlines()[-1]}" for file, error in errors.items()]
    if bag.dags:
        lines.append(f"\nhint: there are {', '.join(sorted(bag.dags)[:DAGS_SHOWN])}")
    raise DagTestError("\n".join([f"no Dag {dag_id} in {folder}", *lines]))


def _find_files(folder: Path, dag_id: str) -> Iterator[Path]:
    word = dag_id.encode()
    for file in sorted(folder.rglob("*.py")):
        try:
            if word in file.read_bytes():
                yield file
        except OSError:
            continue  # the whole folder is parsed at last, and names it


def run_dag(dag: DAG, request: DagTestRequest, say: Callable[[str], None]) -> dict[str, Any]:
    """Run a Dag, show its tasks, and return the run and its tasks.

    Raises:
        DagTestError: The Dag is wrong, or its params refuse the `conf`.
    """
    from airflow.sdk.exceptions import ParamValidationError  # noqa: PLC0415 - slow to import
    from airflow.sdk.listener import get_listener_manager  # noqa: PLC0415

    if not request.retries:
        for task in dag.tasks:
            task.retries = 0
    build_one_version()
    begun = time.monotonic()
    narrator = TaskNarrator(say)
    get_listener_manager().add_listener(narrator)
    moment = datetime.fromisoformat(request.logical_date) if request.logical_date else datetime.now(UTC)
    try:
        run = dag.test(logical_date=moment, run_conf=request.conf)
    except (ParamValidationError, ValueError) as error:
        raise DagTestError(f"{dag.dag_id}: {error}") from None
    tasks = list_tasks(run)
    for task in tasks:
        if task["key"] not in narrator.ended:
            say(f"  {one_line(task['key'])} {task['state']}")
    say(f"{one_line(dag.dag_id)}: {run.state}, {time.monotonic() - begun:.1f} s")
    return {
        "dag": dag.dag_id,
        "state": str(run.state),
        "seconds": round(time.monotonic() - begun, 3),
        "tasks": [{key: value for key, value in task.items() if key != "key"} for task in tasks],
    }


def list_tasks(run: DagRun) -> list[dict[str, Any]]:
    """Return the tasks of a run that has ended, in the order in which they began."""
    found = sorted(run.get_task_instances(), key=lambda one: (one.end_date is None, one.end_date, one.task_id))
    return [
        {
            "key": _name(one.task_id, one.map_index),
            "task": one.task_id,
            "map_index": one.map_index,
            "state": str(one.state) if one.state else "not run",
            "seconds": one.duration,
        }
        for one in found
    ]


def _name(task: str, map_index: int) -> str:
    return task if map_index < 0 else f"{task}[{map_index}]"


class TaskNarrator:
    """A listener of Airflow that shows each task when it begins and when it ends."""

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._clock = say, clock
        self._began: dict[str, float] = {}
        self.ended: set[str] = set()

    @hookimpl  # type: ignore[untyped-decorator]
    def on_task_instance_running(self, previous_state: object, task_instance: Any) -> None:  # noqa: ANN401
        """Airflow calls it."""
        name = _name(task_instance.task_id, task_instance.map_index)
        self._began[name] = self._clock()
        self._say(f"  {one_line(name)} running")

    @hookimpl  # type: ignore[untyped-decorator]
    def on_task_instance_success(self, previous_state: object, task_instance: Any) -> None:  # noqa: ANN401
        """Airflow calls it."""
        self._end(task_instance, "success")

    @hookimpl  # type: ignore[untyped-decorator]
    def on_task_instance_failed(self, previous_state: object, task_instance: Any, error: object) -> None:  # noqa: ANN401
        """Airflow calls it, also if the task is tried again."""
        self._end(task_instance, "failed")

    @hookimpl  # type: ignore[untyped-decorator]
    def on_task_instance_skipped(self, previous_state: object, task_instance: Any) -> None:  # noqa: ANN401
        """Airflow calls it."""
        self._end(task_instance, "skipped")

    def _end(self, task_instance: Any, state: str) -> None:  # noqa: ANN401
        name = _name(task_instance.task_id, task_instance.map_index)
        took = f", {self._clock() - self._began[name]:.1f} s" if name in self._began else ""
        self.ended.add(name)
        self._say(f"  {one_line(name)} {state}{took}")
